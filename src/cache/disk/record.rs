//! The format on disk, to the byte. All numbers are little-endian; everything begins at a multiple of [`UNIT`].
//!
//! ```text
//!  region   header 48 │ record … record │ what was not used │ footer
//!  record   head 64 │ CRC-32 of each 64 KiB of the body │ meta │ body │ up to a multiple of 16
//!  footer   (name 8, place 8) of each record │ trailer 32
//! ```
//! A head carries the salt of its region, a number by chance that nobody outside knows: what a response says in its
//! body is never taken for a record, wherever it ends up. It carries its own place as well, so that what a disk writes in
//! the wrong place is found out.

use bytes::Bytes;

use super::place::Place;

/// What records are multiples of, in bytes.
pub(super) const UNIT: u64 = 16;
/// What has a checksum of its own, in bytes of a body.
pub(super) const BLOCK: usize = 64 << 10;
pub(super) const HEADER: usize = 48;
pub(super) const HEAD: usize = 64;
pub(super) const TRAILER: usize = 32;
/// Of one record in a footer.
pub(super) const ENTRY: usize = 16;
/// A head of a response is far from it; it is read in one piece.
pub(super) const MOST_META: usize = 1 << 20;

const REGION_MAGIC: [u8; 8] = *b"NGcache\n";
const FOOTER_MAGIC: [u8; 8] = *b"NGindex\n";
const RECORD_MAGIC: u32 = 0x4352_474e;
/// Another format has another number.
const VERSION: u32 = 1;

/// What an object is known by: 128 bits of a strong hash.
pub type Key = [u8; 16];

/// Half of a key: what the index in memory goes by. Whoever reads a record looks at the whole key.
pub(super) fn name_of(key: &Key) -> u64 {
    let (name, _) = key.split_at(8);
    u64_at(name, 0).unwrap_or_default()
}

/// How a region begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Regions are made one after the other.
    pub(super) sequence: u64,
    pub(super) salt: u64,
    /// The log of marks that it belongs to. Without that log nobody knows what of it was purged.
    pub(super) log: u64,
}

/// What the beginning of a file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    Region(Header),
    /// It is ours and cannot be read: of another version, damaged, or it was never begun.
    Unreadable,
    /// It is nothing that we have written.
    Foreign,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        put(&mut bytes, 0, &REGION_MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.sequence.to_le_bytes());
        put(&mut bytes, 24, &self.salt.to_le_bytes());
        put(&mut bytes, 32, &self.log.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// `bytes` are the first of the file, fewer where it is shorter.
    pub(super) fn decode(bytes: &[u8]) -> Beginning {
        let begun = bytes.len().min(REGION_MAGIC.len());
        if bytes.get(..begun) != REGION_MAGIC.get(..begun) {
            return Beginning::Foreign;
        }
        let read = || {
            let bytes = is_sealed(bytes.get(..HEADER)?)?;
            (u32_at(bytes, 8)? == VERSION).then_some(())?;
            Some(Header {
                sequence: u64_at(bytes, 16)?,
                salt: u64_at(bytes, 24)?,
                log: u64_at(bytes, 32)?,
            })
        };
        read().map_or(Beginning::Unreadable, Beginning::Region)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    /// There is no object of this key in what was written before.
    Removal,
}

/// How a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) salt: u64,
    pub(super) key: Key,
    pub(super) meta_length: u32,
    pub(super) body_length: u32,
    /// Of the table of checksums and of meta, which follow one another.
    pub(super) lead_crc: u32,
    /// Where in the region it begins.
    pub(super) offset: u32,
}

impl Head {
    pub(super) fn removal(key: Key) -> Head {
        Head {
            kind: Kind::Removal,
            salt: 0,
            key,
            meta_length: 0,
            body_length: 0,
            lead_crc: 0,
            offset: 0,
        }
    }

    pub(super) fn encode(&self) -> [u8; HEAD] {
        let kind: u32 = match self.kind {
            Kind::Object => 1,
            Kind::Removal => 2,
        };
        let mut bytes = [0; HEAD];
        put(&mut bytes, 0, &RECORD_MAGIC.to_le_bytes());
        put(&mut bytes, 4, &kind.to_le_bytes());
        put(&mut bytes, 8, &self.salt.to_le_bytes());
        put(&mut bytes, 16, &self.key);
        put(&mut bytes, 32, &self.meta_length.to_le_bytes());
        put(&mut bytes, 36, &self.body_length.to_le_bytes());
        put(&mut bytes, 40, &self.lead_crc.to_le_bytes());
        put(&mut bytes, 44, &self.offset.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// `None` for whatever is not whole, or is of another region or place.
    pub(super) fn decode(bytes: &[u8], salt: u64, offset: u32) -> Option<Head> {
        let bytes = is_sealed(bytes.get(..HEAD)?)?;
        (u32_at(bytes, 0)? == RECORD_MAGIC).then_some(())?;
        let head = Head {
            kind: match u32_at(bytes, 4)? {
                1 => Kind::Object,
                2 => Kind::Removal,
                _ => return None,
            },
            salt: u64_at(bytes, 8)?,
            key: bytes.get(16..32)?.try_into().ok()?,
            meta_length: u32_at(bytes, 32)?,
            body_length: u32_at(bytes, 36)?,
            lead_crc: u32_at(bytes, 40)?,
            offset: u32_at(bytes, 44)?,
        };
        let is_here = head.salt == salt && head.offset == offset;
        (is_here && head.meta_length as usize <= MOST_META).then_some(head)
    }

    pub(super) fn table_length(&self) -> usize {
        table_length(u64::from(self.body_length))
    }

    /// Where the body begins, from the beginning of the record.
    pub(super) fn body_offset(&self) -> usize {
        HEAD + self.table_length() + self.meta_length as usize
    }

    /// Of the whole record.
    pub(super) fn length(&self) -> u64 {
        padded(self.body_offset() as u64 + u64::from(self.body_length))
    }
}

/// Of a record, with all that belongs to it.
pub(super) fn record_length(meta: u64, body: u64) -> u64 {
    padded(HEAD as u64 + table_length(body) as u64 + meta + body)
}

fn table_length(body: u64) -> usize {
    4 * body.div_ceil(BLOCK as u64) as usize
}

pub(super) fn padded(length: u64) -> u64 {
    length.next_multiple_of(UNIT)
}

/// The checksums of a body's blocks, as they are written.
pub(super) fn table_of(parts: &[Bytes]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut hasher = crc32fast::Hasher::new();
    let mut room = BLOCK;
    for part in parts {
        let mut rest = part.as_ref();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(room));
            hasher.update(now);
            room -= now.len();
            rest = later;
            if room == 0 {
                let full = std::mem::take(&mut hasher);
                table.extend_from_slice(&full.finalize().to_le_bytes());
                room = BLOCK;
            }
        }
    }
    if room < BLOCK {
        table.extend_from_slice(&hasher.finalize().to_le_bytes());
    }
    table
}

/// Whether these bytes are the body's from this block on. They end at the end of a block or of the body.
pub(super) fn is_whole(table: &[u8], first_block: usize, bytes: &[u8]) -> bool {
    let mut blocks = bytes.chunks(BLOCK).enumerate();
    blocks.all(|(block, bytes)| {
        let crc = u32_at(table, 4 * (first_block + block));
        crc == Some(crc32fast::hash(bytes))
    })
}

/// What is known of a record without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: u64,
    pub(super) kind: Kind,
    /// In units.
    pub(super) offset: u32,
    pub(super) length: u32,
}

const REMOVAL_BIT: u64 = 1 << 63;

impl Entry {
    pub(super) fn of(name: u64, kind: Kind, place: Place) -> Entry {
        Entry {
            name,
            kind,
            offset: place.offset,
            length: place.length,
        }
    }

    /// Where its record ends, in bytes.
    pub(super) fn end(&self) -> u64 {
        UNIT * (u64::from(self.offset) + u64::from(self.length))
    }
}

/// Where the records of a region end, and which there are. Everything behind the records.
pub(super) fn encode_footer(header: &Header, end: u64, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY + TRAILER);
    for entry in entries {
        let removal = match entry.kind {
            Kind::Object => 0,
            Kind::Removal => REMOVAL_BIT,
        };
        let place = u64::from(entry.offset) << 32 | u64::from(entry.length) | removal;
        bytes.extend_from_slice(&entry.name.to_le_bytes());
        bytes.extend_from_slice(&place.to_le_bytes());
    }
    let mut trailer = [0; TRAILER];
    put(&mut trailer, 0, &FOOTER_MAGIC);
    put(&mut trailer, 8, &(entries.len() as u32).to_le_bytes());
    put(&mut trailer, 12, &((end / UNIT) as u32).to_le_bytes());
    put(&mut trailer, 16, &header.salt.to_le_bytes());
    put(&mut trailer, 24, &crc32fast::hash(&bytes).to_le_bytes());
    seal(&mut trailer);
    bytes.extend_from_slice(&trailer);
    bytes
}

/// What the last bytes of a sealed region say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) count: u32,
    /// Where the records end and the footer begins, in bytes.
    pub(super) end: u64,
    crc: u32,
}

impl Trailer {
    pub(super) fn decode(header: &Header, bytes: &[u8]) -> Option<Trailer> {
        let bytes = is_sealed(bytes.get(..TRAILER)?)?;
        let is_ours = bytes.starts_with(&FOOTER_MAGIC) && u64_at(bytes, 16)? == header.salt;
        is_ours.then_some(())?;
        Some(Trailer {
            count: u32_at(bytes, 8)?,
            end: UNIT * u64::from(u32_at(bytes, 12)?),
            crc: u32_at(bytes, 24)?,
        })
    }

    /// Of everything between the records and the trailer. `None` where it is not whole.
    pub(super) fn entries(&self, bytes: &[u8]) -> Option<Vec<Entry>> {
        let is_whole =
            bytes.len() == self.count as usize * ENTRY && crc32fast::hash(bytes) == self.crc;
        is_whole.then_some(())?;
        let mut entries = Vec::with_capacity(self.count as usize);
        for bytes in bytes.chunks_exact(ENTRY) {
            let place = u64_at(bytes, 8)?;
            let entry = Entry {
                name: u64_at(bytes, 0)?,
                kind: match place & REMOVAL_BIT {
                    0 => Kind::Object,
                    _ => Kind::Removal,
                },
                offset: ((place & !REMOVAL_BIT) >> 32) as u32,
                length: place as u32,
            };
            (entry.end() <= self.end && Place::fits(entry.offset, entry.length)).then_some(())?;
            entries.push(entry);
        }
        Some(entries)
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(what) {
        *to = *from;
    }
}

/// The last four bytes are the checksum of those before.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let (checked, _) = bytes.split_at(end);
    let crc = crc32fast::hash(checked);
    put(bytes, end, &crc.to_le_bytes());
}

fn is_sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (checked, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(checked) == u32::from_le_bytes(*crc)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_no_bit_of_it_may_change() {
        let header = Header {
            sequence: 7,
            salt: 0xfeed_beef_0123_4567,
            log: 3,
        };
        let head = Head {
            kind: Kind::Object,
            salt: header.salt,
            key: *b"0123456789abcdef",
            meta_length: 12,
            body_length: 3 << 20,
            lead_crc: 99,
            offset: 48,
        };
        let entry = Entry {
            name: 5,
            kind: Kind::Removal,
            offset: 3,
            length: 4,
        };
        let footer = encode_footer(&header, 112, &[entry]);
        let (entries, trailer) = footer.split_at(ENTRY);
        let decode_entries = |bytes: &[u8]| Trailer::decode(&header, trailer)?.entries(bytes);
        assert_eq!(Header::decode(&header.encode()), Beginning::Region(header));
        assert_eq!(Head::decode(&head.encode(), header.salt, 48), Some(head));
        assert_eq!(Head::decode(&head.encode(), header.salt, 64), None);
        assert_eq!(Head::decode(&head.encode(), 1, 48), None);
        assert_eq!(decode_entries(entries), Some(vec![entry]));
        check_flips(&header.encode(), |bytes| {
            matches!(Header::decode(bytes), Beginning::Region(_))
        });
        check_flips(&head.encode(), |bytes| {
            Head::decode(bytes, header.salt, 48).is_some()
        });
        check_flips(trailer, |bytes| Trailer::decode(&header, bytes).is_some());
        check_flips(entries, |bytes| decode_entries(bytes).is_some());
    }

    fn check_flips(bytes: &[u8], is_taken: impl Fn(&[u8]) -> bool) {
        assert!(is_taken(bytes));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_taken(&bytes), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(!is_taken(&bytes[..end]), "the first {end}");
        }
    }

    #[test]
    fn only_what_we_have_begun_is_ours() {
        for (bytes, expected) in [
            (&b""[..], Beginning::Unreadable),
            (b"NG", Beginning::Unreadable),
            (b"NGcache\n", Beginning::Unreadable),
            (b"NGcache\nand no more", Beginning::Unreadable),
            (b"notes", Beginning::Foreign),
            (
                b"NGcache is how one might begin a letter",
                Beginning::Foreign,
            ),
        ] {
            assert_eq!(Header::decode(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_table_is_of_the_body_however_it_is_cut() {
        let body: Vec<u8> = (0..3 * BLOCK as u32 + 7).map(|n| (n % 251) as u8).collect();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, body.len()] {
            let whole = Bytes::copy_from_slice(&body[..length]);
            let table = table_of(std::slice::from_ref(&whole));
            assert_eq!(table.len(), table_length(length as u64));
            assert!(is_whole(&table, 0, &whole));
            for size in [1000, BLOCK, 100_001] {
                let parts: Vec<Bytes> = body[..length]
                    .chunks(size)
                    .map(Bytes::copy_from_slice)
                    .collect();
                assert_eq!(table_of(&parts), table, "{length} in parts of {size}");
            }
            if length > BLOCK + 1 {
                assert!(is_whole(&table, 1, &whole[BLOCK..]));
                assert!(!is_whole(&table, 1, &whole[BLOCK..length - 1]));
                assert!(!is_whole(&table, 1, &whole[..BLOCK]));
            }
        }
    }
}
