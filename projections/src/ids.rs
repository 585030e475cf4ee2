//! Ids from natural keys: the same key gives the same id in every build of the read side.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The installation's secret, which keeps ids from being guessed from phone numbers.
#[derive(Clone)]
pub struct IdKey(Hmac<Sha256>);

impl IdKey {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length")))
    }

    pub fn contact(&self, party: &str) -> i64 {
        self.id("contact", party)
    }

    pub fn conversation(&self, party: &str) -> i64 {
        self.id("conversation", party)
    }

    pub fn message(&self, call_sid: &str) -> i64 {
        self.id("message", call_sid)
    }

    /// The first 63 bits of HMAC-SHA256 over `kind:key`.
    fn id(&self, kind: &str, key: &str) -> i64 {
        let mut mac = self.0.clone();
        mac.update(kind.as_bytes());
        mac.update(b":");
        mac.update(key.as_bytes());
        let digest = mac.finalize().into_bytes();
        let first = digest.first_chunk::<8>().copied().unwrap_or_default();
        (u64::from_be_bytes(first) >> 1).cast_signed()
    }
}

impl std::fmt::Debug for IdKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_the_kind_the_key_and_the_installation() {
        let (ours, theirs) = (IdKey::new(&[1; 32]), IdKey::new(&[2; 32]));
        assert_eq!(ours.contact("+15085140320"), ours.contact("+15085140320"));
        assert_ne!(ours.contact("+15085140320"), ours.conversation("+15085140320"));
        assert_ne!(ours.contact("+15085140320"), ours.contact("+15085140321"));
        assert_ne!(ours.contact("+15085140320"), theirs.contact("+15085140320"));
        assert!(ours.message("CA27d559117edb45aac8a0270ac2f97b10") > 0);
    }
}
