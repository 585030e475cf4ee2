//! The account's own numbers, each with its SID.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::shelf::Resource;
use crate::simulator::Account;

#[derive(Clone, Debug)]
pub struct OwnedNumber {
    sid: String,
    /// E.164.
    pub number: String,
}

impl OwnedNumber {
    /// All of an account; the SID of each is the same in every process.
    pub fn of(account: &Account) -> Vec<OwnedNumber> {
        let with_sid = |number: &String| {
            let digest = format!("{:x}", Sha256::digest(format!("{} {number}", account.sid)));
            OwnedNumber { sid: format!("PN{}", &digest[..32]), number: number.clone() }
        };
        account.owned_numbers.iter().map(with_sid).collect()
    }
}

impl Resource for OwnedNumber {
    fn sid(&self) -> &str {
        &self.sid
    }

    /// They came with the account, which was never made.
    fn created_at(&self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH
    }
}
