//! The hash of a key.

use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What is asked for, in 128 bits that nobody can aim at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl Key {
    /// Of the first half of a digest; what is shorter is filled up with zeros.
    pub fn of_digest(digest: &[u8]) -> Key {
        let mut key = [0; 16];
        key.iter_mut()
            .zip(digest)
            .for_each(|(to, byte)| *to = *byte);
        Key(key)
    }

    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its last half, of which tables take what they need.
    pub(super) fn number(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number());
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) type ByKey = BuildHasherDefault<AsItIs>;
