//! Keys that the gateway makes: `PREFIX_ID_SECRET` and a checksum.
//!
//! ```text
//! ng_4fT0cWq9Lm_Xw81…………………………………kQ2b7LmA
//! │  │          │                    └ 6 digits: CRC-32 of all before it
//! │  │          └ 32 digits: 190 bits from the operating system
//! │  └ 10 digits: the id, which is no secret
//! └ says whose key it is, to people and to scanners for secrets
//! ```
//!
//! Digits are those of base 62, so that a double click selects all of it and no shell, URL or header has to escape it.
//! The checksum proves nothing, since anyone can compute it: it tells what was mistyped or cut off.

use std::fmt;
use std::str::FromStr;

use rand::TryRngCore;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use crate::text::{ParsedText, parsed_text};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID: usize = 10;
const SECRET: usize = 32;
const CHECKSUM: usize = 6;
/// All that follows the prefix and its `_`.
const REST: usize = ID + 1 + SECRET + CHECKSUM;
const LONGEST_PREFIX: usize = 20;

/// What keys begin with: 1 to 20 of `[a-z0-9_]`, a letter first, no `_` at the end.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix(Box<str>);

/// Why a prefix is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "must be 1 to {LONGEST_PREFIX} small letters, digits or \"_\", beginning with a letter and not ending with \"_\""
)]
pub struct InvalidPrefix;

impl Prefix {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    fn default() -> Prefix {
        Prefix("ng".into())
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Prefix, InvalidPrefix> {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_good = text.len() <= LONGEST_PREFIX
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && !text.ends_with('_')
            && text.bytes().all(is_allowed);
        is_good.then(|| Prefix(text.into())).ok_or(InvalidPrefix)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ParsedText for Prefix {
    const EXPECTED: &'static str = "a prefix such as \"ng\" or \"shop_live\"";
}

parsed_text!(
    Prefix,
    "string",
    r"^[a-z]([a-z0-9_]{0,18}[a-z0-9])?$",
    "What keys begin with, before a \"_\": 1 to 20 small letters, digits or \"_\", beginning with a letter and not ending with \"_\"."
);

/// A key that was just made.
pub struct NewKey {
    /// The key itself. Nobody keeps it but whom it is given to.
    pub text: Zeroizing<String>,
    /// No secret: what logs say of who uses the key.
    pub id: String,
}

/// The operating system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers: {0}")]
pub struct NoRandomness(#[from] rand::rand_core::OsError);

/// Makes a key that nobody has seen.
pub fn make(prefix: &Prefix) -> Result<NewKey, NoRandomness> {
    let mut text = Zeroizing::new(String::with_capacity(prefix.0.len() + 1 + REST));
    text.push_str(&prefix.0);
    text.push('_');
    let id = text.len();
    draw(&mut text, ID)?;
    let id = text.get(id..).unwrap_or_default().to_owned();
    text.push('_');
    draw(&mut text, SECRET)?;
    let sum = checksum(text.as_bytes());
    text.extend(sum.map(char::from));
    Ok(NewKey { text, id })
}

/// What a text that is shown as a key looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It is whole: it may be a key.
    Whole,
    /// It begins like a key of the gateway's and is none: mistyped, cut off, or made up.
    Mistyped,
    /// It does not begin like a key of the gateway's, so that nothing can be said of it.
    Foreign,
}

/// Costs some dozen nanoseconds, and no look-up.
pub fn shape(prefix: &Prefix, text: &[u8]) -> Shape {
    let rest = text.strip_prefix(prefix.0.as_bytes());
    let Some(rest) = rest.and_then(|rest| rest.strip_prefix(b"_")) else {
        return Shape::Foreign;
    };
    let is_formed = rest.len() == REST && rest.get(ID) == Some(&b'_');
    match text.split_last_chunk::<CHECKSUM>() {
        Some((before, sum)) if is_formed && *sum == checksum(before) => Shape::Whole,
        _ => Shape::Mistyped,
    }
}

/// Appends so many digits. Each is drawn evenly: bytes from 248 on, which would favour the first digits, are left out.
fn draw(text: &mut String, count: usize) -> Result<(), NoRandomness> {
    let end = text.len() + count;
    let mut bytes = Zeroizing::new([0; 64]);
    while text.len() < end {
        OsRng.try_fill_bytes(&mut *bytes)?;
        let digits = bytes
            .iter()
            .filter(|&&byte| usize::from(byte) < 4 * DIGITS.len());
        let digits = digits.filter_map(|&byte| DIGITS.get(usize::from(byte) % DIGITS.len()));
        text.extend(
            digits
                .map(|&digit| char::from(digit))
                .take(end - text.len()),
        );
    }
    Ok(())
}

/// CRC-32 in base 62, the largest digit first: 62^6 is more than 2^32.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(bytes) as usize;
    let mut digits = [0; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS.get(rest % DIGITS.len()).copied().unwrap_or_default();
        rest /= DIGITS.len();
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn keys_are_whole_and_differ() {
        let prefix = prefix("shop_live");
        let mut seen = HashSet::new();
        let mut digits = HashSet::new();
        for _ in 0..200 {
            let key = make(&prefix).expect("randomness");
            assert_eq!(key.text.len(), "shop_live_".len() + REST);
            assert!(key.text.starts_with(&format!("shop_live_{}_", key.id)));
            assert_eq!(shape(&prefix, key.text.as_bytes()), Shape::Whole);
            let secret = key.text.rsplit_once('_').expect("three parts").1;
            digits.extend(secret[..SECRET].bytes());
            assert!(seen.insert(key.id) && seen.insert(secret.to_owned()));
        }
        assert_eq!(digits.len(), 62, "every digit is drawn");
        // 32 digits of base 62.
        assert!(SECRET as f64 * 62f64.log2() >= 160.0);
    }

    #[test]
    fn the_checksum_is_that_of_the_documentation() {
        // CRC-32 of "123456789" is 0xCBF43926 in every table.
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
        assert_eq!(&checksum(b""), b"000000");
    }

    #[test]
    fn every_slip_shows() {
        let ng = Prefix::default();
        let key = make(&ng).expect("randomness").text;
        let check = |text: &str, expected: Shape| {
            assert_eq!(shape(&ng, text.as_bytes()), expected, "{text}");
        };
        check(&key, Shape::Whole);
        for at in 0..key.len() {
            // CRC-32 tells every change of one character.
            for other in ['0', 'a', 'Z', '_', '-', ' ', '\0'] {
                let mut changed = key.to_string();
                changed.replace_range(at..=at, &other.to_string());
                if changed != *key {
                    assert_ne!(shape(&ng, changed.as_bytes()), Shape::Whole, "{changed}");
                }
            }
            if at > 2 {
                check(&key[..at], Shape::Mistyped);
            }
        }
        check(&format!("{}x", *key), Shape::Mistyped);
        check(&format!("{} ", *key), Shape::Mistyped);
        check(&key.to_lowercase(), Shape::Mistyped);
        check(&key.to_uppercase(), Shape::Foreign);
        check("ng_", Shape::Mistyped);
        check("ng", Shape::Foreign);
        check("", Shape::Foreign);
        check("ngx_4fT0cWq9Lm", Shape::Foreign);
        check("sk_live_4eC39HqLyjWDarjtT1zdp7dc", Shape::Foreign);
    }

    #[test]
    fn prefixes() {
        for text in ["n", "ng", "sk_live", "a1", &"p".repeat(20)] {
            assert!(text.parse::<Prefix>().is_ok(), "{text}");
        }
        for text in [
            "",
            "_",
            "ng_",
            "_ng",
            "1a",
            "NG",
            "n-g",
            "é",
            "n g",
            &"p".repeat(21),
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
