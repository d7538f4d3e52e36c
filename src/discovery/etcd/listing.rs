//! Everything below a prefix, as it was at one revision.

use etcd_client::{GetOptions, KeyValue, KvClient};

use super::error::Error;

/// In one answer, so that none is too large.
const PAGE: i64 = 500;
/// More keys below a prefix are refused: what was known stays.
pub(super) const MOST_KEYS: usize = 20_000;

/// All keys and values of a prefix.
pub(super) struct Listing {
    pub(super) pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// When it was so.
    pub(super) revision: i64,
    pub(super) cluster: u64,
    pub(super) term: u64,
}

/// Lists a prefix page by page, all at the revision of the first one.
pub(super) async fn list(mut kv: KvClient, prefix: &[u8]) -> Result<Listing, Error> {
    let end = end_of(prefix);
    let mut listing = Listing {
        pairs: Vec::new(),
        revision: 0,
        cluster: 0,
        term: 0,
    };
    let mut from = prefix.to_vec();
    loop {
        let options = GetOptions::new()
            .with_range(end.clone())
            .with_limit(PAGE)
            .with_revision(listing.revision);
        let mut page = kv.get(from, Some(options)).await?;
        if listing.revision == 0
            && let Some(header) = page.header()
        {
            listing.revision = header.revision();
            listing.cluster = header.cluster_id();
            listing.term = header.raft_term();
        }
        let pairs = page.take_kvs().into_iter().map(KeyValue::into_key_value);
        listing.pairs.extend(pairs);
        if listing.pairs.len() > MOST_KEYS {
            return Err(Error::TooMany);
        }
        let Some((last, _)) = listing.pairs.last().filter(|_| page.more()) else {
            return Ok(listing);
        };
        // The key right behind it.
        from = [last, &[0][..]].concat();
    }
}

/// The first key behind all that begin with the prefix; `\0` stands for the end of all keys.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let kept = prefix.iter().rposition(|&byte| byte < 0xff);
    let Some(kept) = kept.and_then(|last| prefix.get(..=last)) else {
        return vec![0];
    };
    let mut end = kept.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_prefixes() {
        let check = |prefix: &[u8], end: &[u8]| assert_eq!(end_of(prefix), end, "{prefix:?}");
        check(b"/users/", b"/users0");
        check(b"a\xff", b"b");
        check(b"\xff\xff", b"\0");
        check(b"", b"\0");
    }
}
