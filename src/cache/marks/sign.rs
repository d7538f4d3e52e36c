//! What a URL, a host or a tag is known by.

use aws_lc_rs::digest::{Context, SHA256};

use crate::text::StableHash;

/// Stands for a URL, a host, a tag or a prefix: a hash that is the same on every gateway, in every run and in every
/// version, since marks are kept on disk and told to others. Two things with one sign are purged together, which is too
/// much and never too little.
///
/// But for prefixes it is the beginning of a SHA-256: whoever may choose a tag finds none with the sign of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sign(u64);

/// Of what a sign is. No two kinds share one by what they are made from.
const URL: &[u8] = b"url";
const HOST: &[u8] = b"host";
const TAG: &[u8] = b"tag";
const PREFIX: &[u8] = b"prefix";

impl Sign {
    /// Of a URL without its scheme. `rest` is path and query, as entries and purges agree to write them.
    pub fn url(host: &[u8], rest: &[u8]) -> Sign {
        Sign::digest(URL, &[&host.to_ascii_lowercase(), rest])
    }

    /// Of a host, whatever its case.
    pub fn host(host: &[u8]) -> Sign {
        Sign::digest(HOST, &[&host.to_ascii_lowercase()])
    }

    /// Of a tag, whatever its case: some who purge are used to that it does not matter.
    pub fn tag(tag: &[u8]) -> Sign {
        Sign::digest(TAG, &[&tag.to_ascii_lowercase()])
    }

    pub(in crate::cache) fn from_bytes(bytes: [u8; 8]) -> Sign {
        Sign(u64::from_be_bytes(bytes))
    }

    pub(in crate::cache) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Which part of all it is in, by its first bits.
    pub(super) fn part(self, shift: u32) -> usize {
        usize::try_from(self.0 >> shift).unwrap_or(usize::MAX)
    }

    /// One that is in that part.
    pub(super) fn of_part(part: usize, shift: u32) -> Sign {
        Sign((part as u64) << shift)
    }

    fn digest(kind: &[u8], parts: &[&[u8]]) -> Sign {
        let mut context = Context::new(&SHA256);
        context.update(kind);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let digest = context.finish();
        let first = digest.as_ref().first_chunk();
        Sign::from_bytes(*first.expect("a digest has 32 bytes"))
    }
}

/// The sign of a path's beginning, which can be asked for at each byte of it. It need not be hard to meet: whoever has
/// a path with the sign of somebody's prefix has nothing purged but his own.
#[derive(Clone, Copy)]
pub(super) struct Beginning(StableHash);

impl Beginning {
    /// Of paths of this host, or of any.
    pub(super) fn of(host: Option<Sign>) -> Beginning {
        let mut hash = StableHash::new();
        hash.part(PREFIX);
        match host {
            Some(host) => hash.part(&host.to_bytes()),
            None => hash.part(&[]),
        }
        Beginning(hash)
    }

    pub(super) fn go_on(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(super) fn sign(self) -> Sign {
        Sign(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_same_for_ever() {
        // Worked out by another program: with others nothing that was purged before an upgrade would be known after it.
        let check = |sign: Sign, expected: u64| assert_eq!(sign.0, expected, "{:016x}", sign.0);
        check(Sign::url(b"example.com", b"/a?b=c"), 0x9cff_d544_32dc_f9a5);
        check(Sign::host(b"Example.COM"), 0x964c_a00c_c991_db0a);
        check(Sign::tag(b"Product-17"), 0xff1e_9302_4799_ce86);
        let mut beginning = Beginning::of(None);
        beginning.go_on(b"/img");
        check(beginning.sign(), 0x7368_f1aa_7ebc_949e);
    }

    #[test]
    fn parts_are_apart_and_beginnings_are_not() {
        assert_ne!(Sign::url(b"a", b"b/c"), Sign::url(b"ab", b"/c"));
        assert_ne!(Sign::host(b"a"), Sign::tag(b"a"));
        let host = Some(Sign::host(b"a"));
        let sign = |host, parts: &[&[u8]]| {
            let mut beginning = Beginning::of(host);
            parts.iter().for_each(|part| beginning.go_on(part));
            beginning.sign()
        };
        assert_eq!(sign(host, &[b"/a", b"/b"]), sign(host, &[b"/a/b"]));
        assert_ne!(sign(host, &[b"/a"]), sign(None, &[b"/a"]));
        assert_ne!(sign(host, &[b"/a"]), sign(host, &[b"/a", b"/"]));
    }
}
