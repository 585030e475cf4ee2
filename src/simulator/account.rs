//! The simulated account: whose calls they are, and the token that signs their webhooks.
//!
//! Sid and token are random per data folder and kept there, so that a restarted callbook and a `callbook simulate`
//! beside it are the same account, and no log is ever shared with another one.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::RngExt;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// In the data folder.
pub const FILE_NAME: &str = "simulated-account.json";
const DEFAULT_OWNED_NUMBER: &str = "+16175006181";

/// An account of the simulated Twilio, with what callbook is configured to know as ours.
#[derive(Debug, Clone)]
pub struct Account {
    /// `AC` and 32 hex digits.
    pub sid: String,
    /// Signs every webhook, as the primary auth token of a real account does (CONTRACT §2).
    pub auth_token: SecretString,
    /// Our numbers in E.164; the first is the caller id of calls out.
    pub owned_numbers: Vec<String>,
    /// The SIP endpoint that dispatchers answer, `dispatcher` in `sip:dispatcher@…`.
    pub sip_user: String,
    /// `abchomes.sip.us1.twilio.com` in seed 000.
    pub sip_domain: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("the simulated account cannot be kept in {}", path.display())]
    Store { path: PathBuf, source: io::Error },
    #[error("{} does not hold a simulated account; restore it, or use another data folder", path.display())]
    Malformed { path: PathBuf, source: Option<serde_json::Error> },
}

/// What the file holds. The numbers are configuration and are not repeated here.
#[derive(Serialize, Deserialize)]
struct Stored {
    account_sid: String,
    auth_token: String,
}

impl Account {
    /// The account of `data_dir`, made up and stored there (mode 0600) the first time.
    ///
    /// Two processes that start together get the same account: the first to finish its file wins.
    pub fn load_or_create(
        data_dir: &Path,
        owned_numbers: Vec<String>,
        sip_user: &str,
        sip_domain: &str,
    ) -> Result<Account, AccountError> {
        let path = data_dir.join(FILE_NAME);
        let stored = match load(&path)? {
            Some(stored) => stored,
            None => create(&path)?,
        };
        Ok(Account::of(stored, owned_numbers, sip_user, sip_domain))
    }

    fn of(stored: Stored, owned_numbers: Vec<String>, sip_user: &str, sip_domain: &str) -> Account {
        Account {
            sid: stored.account_sid,
            auth_token: SecretString::from(stored.auth_token),
            owned_numbers,
            sip_user: sip_user.to_owned(),
            sip_domain: sip_domain.to_owned(),
        }
    }

    /// The account of a file of ours that was kept elsewhere, as in a backup.
    pub fn read(
        kept: &[u8],
        owned_numbers: Vec<String>,
        sip_user: &str,
        sip_domain: &str,
    ) -> Result<Account, AccountError> {
        let stored = parse(kept, Path::new("what was kept"))?;
        Ok(Account::of(stored, owned_numbers, sip_user, sip_domain))
    }

    /// Puts an account that was kept elsewhere in the place of the one of this folder, if there is one.
    pub fn replace(data_dir: &Path, kept: &[u8]) -> Result<(), AccountError> {
        let path = data_dir.join(FILE_NAME);
        let stored = parse(kept, &path)?;
        let draft = path.with_extension(format!("{:016x}.tmp", rand::rng().random::<u64>()));
        write_draft(&draft, &stored)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|source| AccountError::Store { path, source })
    }

    /// The number that customers see and call.
    pub fn owned_number(&self) -> &str {
        self.owned_numbers.first().map_or(DEFAULT_OWNED_NUMBER, String::as_str)
    }

    /// `sip:dispatcher@abchomes.sip.us1.twilio.com`.
    pub fn dispatcher(&self) -> String {
        self.sip_uri(&self.sip_user)
    }

    /// An address in our SIP domain.
    pub fn sip_uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.sip_domain)
    }
}

/// The stored account; `None` when there is no file.
fn load(path: &Path) -> Result<Option<Stored>, AccountError> {
    match fs::read(path) {
        Ok(kept) => parse(&kept, path).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AccountError::Store { path: path.to_owned(), source }),
    }
}

fn parse(kept: &[u8], path: &Path) -> Result<Stored, AccountError> {
    let stored: Stored = serde_json::from_slice(kept)
        .map_err(|source| AccountError::Malformed { path: path.to_owned(), source: Some(source) })?;
    if !is_account_sid(&stored.account_sid) || stored.auth_token.is_empty() {
        return Err(AccountError::Malformed { path: path.to_owned(), source: None });
    }
    Ok(stored)
}

fn create(path: &Path) -> Result<Stored, AccountError> {
    let mut rng = rand::rng();
    let made_up = Stored {
        account_sid: format!("AC{:032x}", rng.random::<u128>()),
        auth_token: format!("{:032x}", rng.random::<u128>()),
    };
    store(path, &made_up).map_err(|source| AccountError::Store { path: path.to_owned(), source })?;
    // Read back rather than returned, because another process may have been first.
    load(path)?.ok_or_else(|| AccountError::Malformed { path: path.to_owned(), source: None })
}

/// Puts the file in place complete or not at all, and leaves one that is already there as it is.
fn store(path: &Path, stored: &Stored) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{:016x}.tmp", rand::rng().random::<u64>()));
    let result = write_draft(&draft, stored).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no links; there the last of two processes wins, which a restart repairs.
        Err(_) => fs::rename(&draft, path),
        Ok(()) => Ok(()),
    });
    // After a rename there is nothing left to remove.
    let _ = fs::remove_file(&draft);
    result
}

fn write_draft(draft: &Path, stored: &Stored) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    // The mode above is cut by the umask; this one is exact.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(serde_json::to_string_pretty(stored)?.as_bytes())?;
    file.sync_all()
}

fn is_account_sid(sid: &str) -> bool {
    sid.strip_prefix("AC").is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn load_in(folder: &Path) -> Result<Account, AccountError> {
        Account::load_or_create(
            folder,
            vec!["+16175006181".into()],
            "dispatcher",
            "abchomes.sip.us1.twilio.com",
        )
    }

    #[test]
    fn an_account_is_made_up_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let first = load_in(&data_dir).unwrap();
        assert!(is_account_sid(&first.sid), "{}", first.sid);
        assert_eq!(first.auth_token.expose_secret().len(), 32);
        let again = load_in(&data_dir).unwrap();
        assert_eq!(again.sid, first.sid);
        assert_eq!(again.auth_token.expose_secret(), first.auth_token.expose_secret());
    }

    #[test]
    fn two_folders_are_two_accounts() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(load_in(a.path()).unwrap().sid, load_in(b.path()).unwrap().sid);
    }

    #[test]
    fn only_its_owner_can_read_the_file_and_no_draft_is_left() {
        let folder = tempfile::tempdir().unwrap();
        load_in(folder.path()).unwrap();
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn processes_that_start_together_get_the_same_account() {
        let folder = tempfile::tempdir().unwrap();
        let sids: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| load_in(folder.path()).unwrap().sid)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(sids.iter().all(|sid| *sid == sids[0]), "{sids:?}");
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        for text in ["", "{}", r#"{"account_sid":"AC1","auth_token":"x"}"#] {
            fs::write(&path, text).unwrap();
            let error = load_in(folder.path()).unwrap_err();
            assert!(matches!(error, AccountError::Malformed { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn the_token_never_shows_in_debug_output() {
        let folder = tempfile::tempdir().unwrap();
        let account = load_in(folder.path()).unwrap();
        assert!(!format!("{account:?}").contains(account.auth_token.expose_secret()));
    }
}
