//! Finding a key among many by its hash.

use std::sync::Arc;

use subtle::ConditionallySelectable;

use super::hash::KeyHash;
use crate::identity::Identity;
use crate::text::Timestamp;

/// All keys that are known, in a table that is never changed.
///
/// A look-up costs the same with ten keys and with a hundred thousand: two places in memory are read, where the bucket
/// of the hash begins and the bucket itself, which has one key on average. Hashes spread by themselves, since nobody
/// can choose what SHA-256 makes of a key.
pub(super) struct Index {
    /// By hash.
    keys: Box<[Proof]>,
    /// Where each bucket begins in `keys`, and one more for the end of the last.
    starts: Box<[u32]>,
    /// How many of a hash's leading bits are not its bucket's number.
    shift: u32,
}

/// A key that proves a consumer.
pub struct Proof {
    pub hash: KeyHash,
    /// From then on the key is good no more.
    pub expires: Option<Timestamp>,
    pub identity: Arc<Identity>,
}

impl Index {
    /// No two keys have the same hash.
    pub(super) fn new(mut keys: Vec<Proof>) -> Index {
        keys.sort_unstable_by_key(|one| one.hash);
        let bits = keys.len().max(1).ilog2().min(24);
        let shift = u32::BITS - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (at, key) in keys.iter().enumerate() {
            let bucket = bucket(&key.hash, shift);
            while starts.len() <= bucket {
                starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
        starts.resize(
            (1 << bits) + 1,
            u32::try_from(keys.len()).unwrap_or(u32::MAX),
        );
        Index {
            keys: keys.into(),
            starts: starts.into(),
            shift,
        }
    }

    /// The key of this hash. The time it takes does not tell how much of a known hash was guessed: every key of the
    /// bucket is compared whole, and where there is none the hash is compared with itself.
    pub(super) fn find(&self, hash: &KeyHash) -> Option<&Proof> {
        let bucket = bucket(hash, self.shift);
        let start = self.starts.get(bucket).copied().unwrap_or_default() as usize;
        let end = self.starts.get(bucket + 1).copied().unwrap_or_default() as usize;
        let keys = self.keys.get(start..end).unwrap_or_default();
        let mut found = u32::MAX;
        for (at, key) in (0..).zip(keys) {
            found.conditional_assign(&at, key.hash.is(hash));
        }
        if keys.is_empty() {
            let _ = std::hint::black_box(hash.is(std::hint::black_box(hash)));
        }
        keys.get(found as usize)
    }
}

fn bucket(hash: &KeyHash, shift: u32) -> usize {
    // A shift by all 32 bits is that of the only bucket.
    hash.head().checked_shr(shift).unwrap_or_default() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(count: u32) -> Index {
        let keys = (0..count).map(|number| Proof {
            hash: KeyHash::of(&number.to_le_bytes()),
            expires: Timestamp::from_unix(number.into()),
            identity: Arc::default(),
        });
        Index::new(keys.collect())
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        for count in [0, 1, 2, 3, 4, 7, 8, 100, 1000, 20_000] {
            let index = index(count);
            for number in 0..count {
                let found = index.find(&KeyHash::of(&number.to_le_bytes()));
                assert_eq!(
                    found.and_then(|key| key.expires),
                    Timestamp::from_unix(number.into()),
                    "of {count}"
                );
            }
            for number in count..count + 2000 {
                let hash = KeyHash::of(&number.to_le_bytes());
                assert!(index.find(&hash).is_none(), "{number} of {count}");
            }
        }
    }

    #[test]
    fn buckets_are_small() {
        let index = index(100_000);
        let sizes = index.starts.windows(2).map(|pair| pair[1] - pair[0]);
        // 1.5 on average; the chance of a bucket of 16 is one in a billion.
        assert!(sizes.max() < Some(16));
        assert_eq!(index.starts.len(), 65_537);
    }
}
