//! The user that the server runs as: us, or, as PostgreSQL refuses to run as root, somebody harmless.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, User};

use super::PostgresError;

/// In this order: the user that PostgreSQL's packages create, then the one that every system has.
const INSTEAD_OF_ROOT: [&str; 2] = ["postgres", "nobody"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub name: String,
    uid: u32,
    gid: u32,
    /// Whether this is somebody else than we are.
    switches: bool,
}

impl Account {
    /// Who runs the server on this cluster: the owner of its data, and for a cluster yet to come whoever exists.
    pub fn for_cluster(cluster: &Path) -> Result<Account, PostgresError> {
        if !Uid::effective().is_root() {
            return Ok(Account::ourselves());
        }
        // Stays with the data: a user `postgres` may have been created since `nobody` had to do.
        match fs::metadata(cluster.join("PG_VERSION")) {
            Ok(data) if data.uid() == 0 => Err(PostgresError::OwnedByRoot { cluster: cluster.to_owned() }),
            Ok(data) => Ok(Account::instead_of_root(data.uid(), data.gid())),
            Err(_) => INSTEAD_OF_ROOT
                .iter()
                .find_map(|name| User::from_name(name).ok()?)
                .map(|user| Account::instead_of_root(user.uid.as_raw(), user.gid.as_raw()))
                .ok_or(PostgresError::NoUser),
        }
    }

    fn ourselves() -> Account {
        let (uid, gid) = (Uid::effective().as_raw(), Gid::effective().as_raw());
        Account { name: name_of(uid), uid, gid, switches: false }
    }

    pub(super) fn instead_of_root(uid: u32, gid: u32) -> Account {
        Account { name: name_of(uid), uid, gid, switches: true }
    }

    /// Makes the child become this user: no supplementary groups, then the group, then the user.
    pub fn apply_to(&self, command: &mut Command) {
        if self.switches {
            // The standard library also drops the supplementary groups when root gives itself up this way.
            command.gid(self.gid).uid(self.uid);
        }
    }

    /// Gives a folder that we created to this user.
    pub fn give(&self, path: &Path) -> Result<(), PostgresError> {
        if self.switches {
            chown(path, Some(self.uid), Some(self.gid)).map_err(PostgresError::io("give away", path))?;
        }
        Ok(())
    }

    /// Whether a file with this owner is this user's, or ours to give.
    pub fn may_use_files_of(&self, owner: u32) -> bool {
        owner == self.uid || owner == Uid::effective().as_raw()
    }

    /// Refuses a folder that this user cannot reach, naming the one on the way that is closed.
    pub fn must_reach(&self, path: &Path) -> Result<(), PostgresError> {
        let mut on_the_way = path.ancestors().collect::<Vec<_>>();
        on_the_way.reverse();
        for folder in on_the_way {
            let metadata = fs::metadata(folder).map_err(PostgresError::io("look at", folder))?;
            let may_enter = match &metadata {
                folder if folder.uid() == self.uid => 0o100,
                folder if folder.gid() == self.gid => 0o010,
                _ => 0o001,
            };
            if self.switches && metadata.mode() & may_enter == 0 {
                return Err(PostgresError::NotTraversable {
                    folder: folder.to_owned(),
                    user: self.name.clone(),
                });
            }
        }
        Ok(())
    }
}

fn name_of(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}
