//! A hash that is the same on every gateway, in every run and in every version.

/// FNV-1a, with the finish of SplitMix64 so that every bit of the input reaches every bit of the hash. Gateways that
/// share nothing come to the same numbers, which is what it is for. Whoever chooses the input can choose the hash as
/// well: it must decide nothing but where something goes.
#[derive(Clone, Copy, Debug)]
pub struct StableHash(u64);

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl StableHash {
    pub fn new() -> StableHash {
        StableHash(OFFSET)
    }

    /// Adds a part. Parts are apart: `ab` and `c` are not `a` and `bc`.
    pub fn part(&mut self, bytes: &[u8]) {
        self.write(bytes);
        self.write(&(bytes.len() as u64).to_le_bytes());
    }

    pub fn finish(self) -> u64 {
        mix(self.0)
    }

    /// Adds bytes that go on from those before: `ab` and `c` are `a` and `bc`.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
}

impl Default for StableHash {
    fn default() -> StableHash {
        StableHash::new()
    }
}

/// The finish of SplitMix64 (Steele, Lea and Flood, 2014): one to one, and close numbers come out far apart.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(parts: &[&str]) -> u64 {
        let mut hash = StableHash::new();
        parts.iter().for_each(|part| hash.part(part.as_bytes()));
        hash.finish()
    }

    #[test]
    fn it_is_the_same_for_ever() {
        // Worked out by another program. With another number every client of a fleet would go elsewhere.
        assert_eq!(hash(&[]), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(hash(&["user-17"]), 0x3293_4474_1b43_eb51);
    }

    #[test]
    fn parts_are_apart() {
        let all = [
            hash(&["ab", "c"]),
            hash(&["a", "bc"]),
            hash(&["abc"]),
            hash(&["abc", ""]),
            hash(&[]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }
}
