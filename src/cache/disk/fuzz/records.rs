//! Bytes that nobody has written.

use bytes::Bytes;

use super::super::record::{
    BLOCK, Beginning, ENTRY, HEAD, HEADER, Header, TRAILER, is_whole, table_of,
};
use super::bench::Bench;
use crate::text::fuzz::fuzz;

/// Any bytes behind the header of a region: as they are, and with all checksums put right that are looked at.
#[test]
fn fuzz_records() {
    let bench = Bench::new();
    let header = Header {
        sequence: 1,
        salt: 77,
        log: 3,
    };
    let words = [
        "\0",
        "\u{1}",
        "\u{2}",
        "\0\0\0\0",
        "\0\0\u{1}\0",
        "NGindex\n",
        "NGRC",
        "\u{7f}",
    ];
    fuzz("cache_records", &words, |input| {
        let is_header = matches!(Header::decode(input), Beginning::Region(_));
        assert!(!is_header || is_sealed(&input[..HEADER]));
        let plain = [&header.encode()[..], input].concat();
        let record = [&header.encode()[..], &repaired_record(input)].concat();
        let footer = [&header.encode()[..], &repaired_footer(input)].concat();
        let ends = [plain, record, footer].map(|bytes| {
            let (region, contents) = bench.contents(&bytes).expect("it has a header");
            assert!(contents.end <= bytes.len() as u64);
            let mut there = 0;
            for entry in contents.entries.iter().take(8) {
                assert!(entry.end() <= contents.end);
                let at = entry.offset as usize * 16;
                let Some(key) = bytes.get(at + 16..at + 32) else {
                    continue;
                };
                let key = key.try_into().expect("16 bytes");
                let Some((meta, body)) = bench.find(&region, &key, *entry) else {
                    continue;
                };
                check_record(&bytes[at..], &meta, body.as_deref());
                there += 1;
            }
            (contents.is_sealed, contents.entries.len().min(4), there)
        });
        (is_header, ends)
    });
}

/// Nothing was taken whose checksums are others, and nothing but what they are of.
fn check_record(bytes: &[u8], meta: &[u8], body: Option<&[u8]>) {
    assert!(is_sealed(&bytes[..HEAD]));
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (meta_length, body_length) = (number(32) as usize, number(36) as usize);
    let table_length = 4 * body_length.div_ceil(BLOCK);
    let (table, rest) = bytes[HEAD..].split_at(table_length);
    assert_eq!(
        crc32fast::hash(&bytes[HEAD..][..table_length + meta_length]),
        number(40)
    );
    assert_eq!(meta, &rest[..meta_length]);
    if let Some(body) = body {
        assert_eq!(body, &rest[meta_length..][..body_length]);
        assert!(is_whole(table, 0, body));
    }
}

fn is_sealed(bytes: &[u8]) -> bool {
    let (checked, crc) = bytes.split_last_chunk().expect("it has a checksum");
    crc32fast::hash(checked) == u32::from_le_bytes(*crc)
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + what.len()) {
        to.copy_from_slice(what);
    }
}

fn seal(bytes: &mut [u8]) {
    if let Some((checked, crc)) = bytes.split_last_chunk_mut() {
        *crc = crc32fast::hash(checked).to_le_bytes();
    }
}

/// As a record that begins behind the header, with whatever lengths it has.
fn repaired_record(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    if bytes.len() < HEAD {
        return bytes;
    }
    put(&mut bytes, 0, b"NGRC");
    put(&mut bytes, 8, &77u64.to_le_bytes());
    put(&mut bytes, 44, &(HEADER as u32).to_le_bytes());
    let number = |at: usize| u32::from_le_bytes(input[at..at + 4].try_into().unwrap()) as usize;
    let (meta, body) = (number(32), number(36));
    let table = 4 * body.div_ceil(BLOCK);
    let (from, end) = (HEAD + table + meta, HEAD + table + meta + body);
    if let Some(body) = bytes.get(from..end) {
        let right = table_of(&[Bytes::copy_from_slice(body)]);
        put(&mut bytes, HEAD, &right);
    }
    if let Some(lead) = bytes.get(HEAD..from) {
        let crc = crc32fast::hash(lead);
        put(&mut bytes, 40, &crc.to_le_bytes());
    }
    seal(&mut bytes[..HEAD]);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

/// As a footer, with whatever entries it has.
fn repaired_footer(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let Some(at) = bytes.len().checked_sub(TRAILER) else {
        return bytes;
    };
    let count = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize % 8;
    let end = at.saturating_sub(count * ENTRY) / 16 * 16;
    // So that entries stand between the end of the records and the trailer.
    let entries = bytes.split_off(end);
    let (entries, trailer) = entries.split_at(count * ENTRY.min(entries.len() / count.max(1)));
    let mut trailer: Vec<u8> = trailer.iter().copied().take(TRAILER).collect();
    trailer.resize(TRAILER, 0);
    put(&mut trailer, 0, b"NGindex\n");
    put(&mut trailer, 8, &(count as u32).to_le_bytes());
    put(
        &mut trailer,
        12,
        &(((HEADER + end) / 16) as u32).to_le_bytes(),
    );
    put(&mut trailer, 16, &77u64.to_le_bytes());
    put(&mut trailer, 24, &crc32fast::hash(entries).to_le_bytes());
    seal(&mut trailer);
    [&bytes[..], entries, &trailer].concat()
}
