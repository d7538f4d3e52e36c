//! Whether an object says what it said before, without keeping what it said.

use std::fmt;
use std::path::Path;

use ahash::RandomState;
use smallvec::SmallVec;
use toml::de::DeValue;

/// What a value means, in 128 bits: its tree of keys and values, whatever the order of the keys, the comments, and
/// the spelling of strings, numbers and tables. Two that differ mean different things; two that are equal mean the
/// same, but for one case in 2^128.
///
/// It is good within one process: another build, or another processor, may come to other numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The depth of the tree is bounded by `nesting`, so recursion is safe.
    pub(super) fn of(value: &DeValue<'_>) -> Fingerprint {
        let mut bytes = Vec::with_capacity(512);
        write(&mut bytes, value);
        Fingerprint(hash(&bytes))
    }

    /// Of several things and their names, in this order.
    pub fn of_all<'n>(parts: impl Iterator<Item = (&'n str, Fingerprint)>) -> Fingerprint {
        let mut bytes = Vec::new();
        for (name, Fingerprint(part)) in parts {
            write_text(&mut bytes, b'n', name);
            bytes.extend_from_slice(&part.to_le_bytes());
        }
        Fingerprint(hash(&bytes))
    }

    /// Of the same value where its paths are relative to this folder.
    #[must_use]
    pub fn within(self, folder: &Path) -> Fingerprint {
        let mut bytes = self.0.to_le_bytes().to_vec();
        bytes.extend_from_slice(folder.as_os_str().as_encoded_bytes());
        Fingerprint(hash(&bytes))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The same in every run of a program: nobody gains by two definitions of his own that are taken for one.
fn hash(bytes: &[u8]) -> u128 {
    let half = |seed: u64| RandomState::with_seeds(seed, !seed, seed << 7, 1).hash_one(bytes);
    u128::from(half(0x6e6f_7274)) << 64 | u128::from(half(0x6761_7465))
}

/// Writes a value so that no two values are written alike: each begins with its kind, and says how long it is.
fn write(bytes: &mut Vec<u8>, value: &DeValue<'_>) {
    match value {
        DeValue::String(text) => write_text(bytes, b's', text),
        DeValue::Integer(number) => {
            match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => {
                    bytes.push(b'i');
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                // Too long for every integer that is read: such a value is refused in any case.
                Err(_) => write_text(bytes, b'I', number.as_str()),
            }
        }
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) => {
                bytes.push(b'f');
                bytes.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Err(_) => write_text(bytes, b'F', number.as_str()),
        },
        DeValue::Boolean(value) => bytes.extend_from_slice(&[b'b', u8::from(*value)]),
        DeValue::Datetime(date) => write_text(bytes, b'd', &date.to_string()),
        DeValue::Array(elements) => {
            write_length(bytes, b'a', elements.len());
            for element in elements {
                write(bytes, element.get_ref());
            }
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| (&**key.get_ref(), value));
            let mut entries: SmallVec<[_; 16]> = entries.collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            write_length(bytes, b't', entries.len());
            for (key, value) in entries {
                write_text(bytes, b'k', key);
                write(bytes, value.get_ref());
            }
        }
    }
}

fn write_text(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    write_length(bytes, kind, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

fn write_length(bytes: &mut Vec<u8>, kind: u8, length: usize) {
    bytes.push(kind);
    bytes.extend_from_slice(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    fn of(text: &str) -> Fingerprint {
        let table = DeTable::parse(text).expect("it is TOML").into_inner();
        Fingerprint::of(&DeValue::Table(table))
    }

    #[test]
    fn spelling_does_not_matter() {
        for (one, other) in [
            ("a = 1\nb = 2", "b = 2 # two\n\n  a = 1"),
            ("a.b = 1\na.c = 2", "[a]\nc = 2\nb = 1"),
            ("a = { b = { c = 1 } }", "[a.b]\nc = 1"),
            ("a = \"x\\ty\"", "a = 'x\ty'"),
            ("a = 1_000", "a = 0x3e8"),
            ("a = 1.50", "a = 15e-1"),
            ("a = [1, 2]", "a = [\n1, # one\n2,\n]"),
            ("\"a\" = true", "a = true"),
            ("a = 2001-01-01T00:00:00Z", "a = 2001-01-01 00:00:00Z"),
        ] {
            assert_eq!(of(one), of(other), "{one} | {other}");
        }
    }

    #[test]
    fn meaning_does() {
        let texts = [
            "",
            "a = 1",
            "a = \"1\"",
            "a = 1.0",
            "a = -1",
            "a = true",
            "a = false",
            "a = [1]",
            "a = [[1]]",
            "a = []",
            "a = {}",
            "a = { a = 1 }",
            "a = [1, 2]",
            "a = [2, 1]",
            "a = [\"1\", \"2\"]",
            "a = [\"1, 2\"]",
            "a = \"\"",
            "a = \"ab\"\nb = \"\"",
            "a = \"a\"\nb = \"b\"",
            "b = 1",
            "a = 1\nb = 1",
            "a = 99999999999999999999999999999999999999999",
            "a = 99999999999999999999999999999999999999998",
            "a = 2001-01-01",
            "a = \"2001-01-01\"",
        ];
        for (index, one) in texts.iter().enumerate() {
            for other in texts.iter().take(index) {
                assert_ne!(of(one), of(other), "{one} | {other}");
            }
        }
    }

    #[test]
    fn folders_matter() {
        let (one, other) = (of("a = 1"), of("a = 2"));
        let folders = [Path::new(""), Path::new("a"), Path::new("a/b")];
        for folder in folders {
            assert_eq!(one.within(folder), of("a = 0x1").within(folder));
            assert_ne!(one.within(folder), other.within(folder));
        }
        assert_ne!(one.within(folders[0]), one.within(folders[1]));
        assert_ne!(one.within(folders[1]), one.within(folders[2]));
    }
}
