//! An object that was found, and its body.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Inner;
use super::index::{Parcel, Whereabouts};
use super::place::Place;
use super::record::{BLOCK, HEAD, Head, Key, Kind, is_whole, name_of};
use super::region::Region;

/// What is read at first: a body of one block together with all that stands before it, where meta is not large.
const FIRST: u64 = BLOCK as u64 + (4 << 10);
/// What is read in one piece.
const MOST_BLOCKS: usize = 4;

/// An object: what was given with it, and a body that is read as it is needed. It stays what it is while the object is
/// removed, replaced or evicted; whether it may still be given out is for the caller to know.
#[derive(Debug)]
pub struct Found {
    meta: Bytes,
    body_length: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// On its way to the disk.
    Queued(Arc<Parcel>),
    /// All of it was read at first, and is what was written.
    Whole(Bytes),
    Written(Box<Written>),
}

#[derive(Debug)]
struct Written {
    inner: Arc<Inner>,
    region: Arc<Region>,
    place: Place,
    name: u64,
    /// Where the body begins in the region.
    from: u64,
    table: Bytes,
}

impl Found {
    /// `None` where it cannot be read or is not what was written; that is counted and told.
    pub(super) async fn open(inner: &Arc<Inner>, key: &Key, at: Whereabouts) -> Option<Found> {
        let (region, place) = match at {
            Whereabouts::Queued(parcel) => {
                return Some(Found {
                    meta: parcel.meta.clone(),
                    body_length: parcel.body_length,
                    body: Body::Queued(parcel),
                });
            }
            Whereabouts::Written(region, place) => (region, place),
        };
        let found = match read(inner, &region, place).await {
            Ok(found) => found,
            Err(error) => {
                inner.counters.cannot_read(&error);
                return None;
            }
        };
        let Some((head, found)) = found else {
            inner.forget(name_of(key), place);
            return None;
        };
        // Half of the key is the same by chance.
        (head.key == *key && head.kind == Kind::Object).then_some(found)
    }

    /// What was given with the body.
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// In bytes.
    pub fn body_length(&self) -> u64 {
        self.body_length
    }

    /// The body from `offset` on: at least one byte and at most `most`, none at its end. What comes out is what was
    /// written, or else there is an error; the object may be gone then. An object with a body up to about 64 KiB was read
    /// as a whole when it was found, and reading from it does not fail. Costs least where `offset` and `most` are multiples
    /// of 64 KiB, of which each has its checksum, and where `most` is no more than 256 KiB, which is all that one call gives.
    pub async fn read(&self, offset: u64, most: usize) -> io::Result<Bytes> {
        let end = offset.saturating_add(most as u64).min(self.body_length);
        if offset >= end {
            return Ok(Bytes::new());
        }
        match &self.body {
            Body::Queued(parcel) => Ok(part_of(parcel, offset, end)),
            Body::Whole(body) => {
                let (from, to) = (offset as usize, end as usize);
                Ok(body.slice(from.min(body.len())..to.min(body.len())))
            }
            Body::Written(written) => written.read(offset, end, self.body_length).await,
        }
    }
}

/// Of one part, as it is in memory.
fn part_of(parcel: &Parcel, mut offset: u64, end: u64) -> Bytes {
    let wanted = end - offset;
    for part in &parcel.parts {
        let length = part.len() as u64;
        if offset < length {
            let to = (offset + wanted).min(length);
            return part.slice(offset as usize..to as usize);
        }
        offset -= length;
    }
    Bytes::new()
}

/// The head of a record with all that belongs to it. The inner is `None` where it is not whole.
async fn read(
    inner: &Arc<Inner>,
    region: &Arc<Region>,
    place: Place,
) -> io::Result<Option<(Head, Found)>> {
    let first = place.length().min(FIRST) as usize;
    let mut bytes = inner.reads.read(region, place.offset(), first).await?;
    let salt = region.header.salt;
    let head = Head::decode(&bytes, salt, place.offset() as u32);
    let Some(head) = head.filter(|head| head.length() == place.length()) else {
        return Ok(None);
    };
    let body_offset = head.body_offset();
    if bytes.len() < body_offset {
        let from = place.offset() + bytes.len() as u64;
        let rest = inner.reads.read(region, from, body_offset - bytes.len());
        let mut longer = BytesMut::from(bytes);
        longer.extend_from_slice(&rest.await?);
        bytes = longer.freeze();
    }
    let body = bytes.split_off(body_offset);
    let lead = bytes.split_off(HEAD);
    if crc32fast::hash(&lead) != head.lead_crc {
        return Ok(None);
    }
    let table = lead.slice(..head.table_length());
    let meta = lead.slice(head.table_length()..);
    let body_length = u64::from(head.body_length);
    let body = if body.len() as u64 >= body_length {
        let body = body.slice(..body_length as usize);
        if !is_whole(&table, 0, &body) {
            return Ok(None);
        }
        Body::Whole(body)
    } else {
        Body::Written(Box::new(Written {
            inner: inner.clone(),
            region: region.clone(),
            place,
            name: name_of(&head.key),
            from: place.offset() + body_offset as u64,
            table,
        }))
    };
    let found = Found {
        meta,
        body_length,
        body,
    };
    Ok(Some((head, found)))
}

impl Written {
    async fn read(&self, offset: u64, end: u64, body_length: u64) -> io::Result<Bytes> {
        let block = BLOCK as u64;
        let first = offset / block;
        let last = end.div_ceil(block).min(first + MOST_BLOCKS as u64);
        let (from, to) = (first * block, (last * block).min(body_length));
        let length = (to - from) as usize;
        let read = self
            .inner
            .reads
            .read(&self.region, self.from + from, length);
        let bytes = read.await.inspect_err(|error| {
            self.inner.counters.cannot_read(error);
        })?;
        if !is_whole(&self.table, first as usize, &bytes) {
            self.inner.forget(self.name, self.place);
            return Err(io::Error::other("a block is not what was written"));
        }
        let (from, to) = (offset - from, to.min(end) - from);
        Ok(bytes.slice(from as usize..to as usize))
    }
}
