//! What a key is called where several gateways count it together.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::KeyParts;

/// A digest of what tells one key from another: the same in every gateway, and of the same length whatever a client sends.
/// Nobody who reads the store can tell what it is of, unless he can guess it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName(Box<str>);

/// 128 bits: two keys do not have one name by chance, and nobody can find two that do.
const LENGTH: usize = 16;

impl KeyName {
    /// Begins a name. It is for what leaves the process, and costs as much as ten of [`Key::hasher`](super::super::Key::hasher).
    pub fn hasher() -> KeyNameHasher {
        KeyNameHasher(Context::new(&SHA256))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that is being put together.
pub struct KeyNameHasher(Context);

impl KeyParts for KeyNameHasher {
    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn absent(&mut self) {
        self.0.update(&u64::MAX.to_be_bytes());
    }
}

impl KeyNameHasher {
    pub fn finish(self) -> KeyName {
        let digest = self.0.finish();
        let digest = digest.as_ref().get(..LENGTH).unwrap_or_default();
        KeyName(URL_SAFE_NO_PAD.encode(digest).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(parts: &[Option<&str>]) -> KeyName {
        let mut hasher = KeyName::hasher();
        for part in parts {
            match part {
                Some(part) => hasher.part(part.as_bytes()),
                None => hasher.absent(),
            }
        }
        hasher.finish()
    }

    #[test]
    fn parts_are_apart() {
        assert_eq!(name(&[Some("a"), None]), name(&[Some("a"), None]));
        assert_ne!(
            name(&[Some("ab"), Some("c")]),
            name(&[Some("a"), Some("bc")])
        );
        assert_ne!(name(&[Some("")]), name(&[None]));
        assert_ne!(name(&[Some("a")]), name(&[Some("a"), Some("")]));
    }

    #[test]
    fn it_is_the_same_in_every_gateway() {
        assert_eq!(
            name(&[Some("consumer"), Some("acme")]).to_string(),
            "4GD_EeKWkRPv-JzchmaO0g"
        );
    }
}
