//! What is kept of a key: its SHA-256.
//!
//! A key has more randomness than anybody can try, so a plain digest gives nothing away and costs a request a fraction
//! of a microsecond. That holds for no password; those are of the authenticator `basic`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use subtle::{Choice, ConstantTimeEq};

use crate::text::ParsedText;
use crate::text::parsed::deserialize_private;

/// The SHA-256 of a key. It is written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Of a key as it is sent, byte for byte.
    pub fn of(key: &[u8]) -> KeyHash {
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(digest(&SHA256, key).as_ref()) {
            *to = *from;
        }
        KeyHash(hash)
    }

    /// In a time that does not tell how much of it is equal.
    pub(super) fn is(&self, other: &KeyHash) -> Choice {
        // All bytes in a few steps of the processor; compared one by one they would cost more than the table's look-up.
        let bytes = self.0.iter().zip(&other.0);
        let difference = bytes.fold(0, |difference, (a, b)| difference | (a ^ b));
        difference.ct_eq(&0)
    }

    /// Its first bytes as a number, for finding it among others.
    pub(super) fn head(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// What logs call a key that has no id: `sha256:` and the first 12 digits, of which nobody can make the key.
    pub(super) fn name(&self) -> String {
        let mut text = self.to_string();
        text.truncate(PREFIX.len() + 12);
        text
    }
}

/// Why a text is no hash of a key. It does not tell the text, which may be the key itself.
#[derive(Debug, thiserror::Error)]
#[error(
    "must be \"sha256:\" and 64 hexadecimal digits\n`northgate key new` makes a key and its hash, `northgate key hash` the hash of a key that you have"
)]
pub struct InvalidHash;

const PREFIX: &str = "sha256:";

impl FromStr for KeyHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<KeyHash, InvalidHash> {
        let digits = text.strip_prefix(PREFIX).ok_or(InvalidHash)?.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return Err(InvalidHash);
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let mut digits = pair.iter().map(|&digit| char::from(digit).to_digit(16));
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(InvalidHash);
            };
            *byte = u8::try_from(high << 4 | low).map_err(|_| InvalidHash)?;
        }
        Ok(KeyHash(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl ParsedText for KeyHash {
    const EXPECTED: &'static str = "the hash of a key, such as \"sha256:9f86d081…\"";
}

// Somebody may write the key itself here, and then no message must show it.
impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_private(deserializer)
    }
}

impl JsonSchema for KeyHash {
    fn schema_name() -> Cow<'static, str> {
        "KeyHash".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^sha256:[0-9a-fA-F]{64}$",
            "description": "The SHA-256 of an API key: \"sha256:\" and 64 hexadecimal digits, as `northgate key` prints it.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4's example.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn hashes_are_read_as_they_are_printed() {
        let hash = KeyHash::of(b"abc");
        assert_eq!(hash.to_string(), ABC);
        let upper = format!("sha256:{}", ABC[7..].to_uppercase());
        for text in [ABC, &upper] {
            assert_eq!(text.parse::<KeyHash>().expect("a hash"), hash);
        }
        assert_eq!(format!("{hash:?}"), "sha256:ba7816bf8f01");
        assert_eq!(hash.head(), 0xba78_16bf);
        assert!(bool::from(hash.is(&KeyHash::of(b"abc"))));
        assert!(!bool::from(hash.is(&KeyHash::of(b"abd"))));
    }

    #[test]
    fn what_is_none_is_not_repeated() {
        let longer = format!("{ABC}0");
        for text in [
            "",
            "sha256:",
            &ABC[7..],
            &ABC[..70],
            &longer,
            "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ag",
            "sha256:é7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "ng_4fT0cWq9Lm_secret",
        ] {
            let error = text.parse::<KeyHash>().expect_err(text).to_string();
            assert!(
                text.is_empty() || !error.contains(text) || text == "sha256:",
                "{error}"
            );
        }
    }
}
