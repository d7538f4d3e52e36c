//! Records that are written and read again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use bytes::Bytes;

use super::super::Key;
use super::super::record::{Entry, HEADER, Head, Header, Kind, name_of, table_of};
use super::super::region::{Active, Region};
use super::super::tests::{body, key};
use super::bench::{Bench, MOST_REGION};
use super::{Step, WORDS, damage, steps};
use crate::text::fuzz::fuzz;

const MOST_RECORDS: usize = 6;

/// Lines of what is put and removed, and then of what is done to the file.
#[test]
fn fuzz_regions() {
    let bench = Bench::new();
    let bodies = RefCell::new(Bodies::default());
    fuzz("cache_regions", &WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let steps = steps(&text);
        write(&bench, &mut bodies.borrow_mut(), 78, &steps);
        let other = fs::read(bench.path()).unwrap();
        let (written, is_sealed) = write(&bench, &mut bodies.borrow_mut(), 77, &steps);
        let whole = fs::read(bench.path()).unwrap();
        let mut bytes = whole.clone();
        for step in &steps {
            damage(&mut bytes, &other, step);
        }
        let is_damaged = bytes != whole;
        let Some((region, contents)) = bench.contents(&bytes) else {
            assert!(is_damaged);
            return (is_sealed, written.len(), None);
        };
        assert!(contents.end <= (bytes.len() as u64).max(HEADER as u64));
        let entries: Vec<Entry> = written.iter().map(|it| it.entry).collect();
        // From the records they are those before the first that is damaged; a footer has all of them or none.
        assert!(entries.starts_with(&contents.entries), "{contents:?}");
        if contents.is_sealed {
            assert!(is_sealed);
            assert_eq!(contents.entries, entries);
        }
        if !is_damaged {
            assert_eq!(
                (contents.is_sealed, contents.entries.len()),
                (is_sealed, entries.len())
            );
        }
        let mut there = 0;
        for written in &written {
            // Whoever has looked before the damage has places that are not listed any more.
            let found = bench.find(&region, &written.key, written.entry);
            assert!(is_damaged || found.is_some() == (written.entry.kind == Kind::Object));
            assert!(bench.find(&region, &[0; 16], written.entry).is_none());
            let Some((meta, body)) = found else { continue };
            assert!(meta == written.meta, "another meta");
            assert!(is_damaged || body.is_some());
            if let Some(body) = body {
                assert!(body == written.body, "another body");
                there += 1;
            }
        }
        (
            is_sealed,
            written.len(),
            Some((contents.entries.len(), there)),
        )
    });
}

/// What was written of a key.
#[derive(Debug)]
struct Written {
    entry: Entry,
    key: Key,
    meta: Bytes,
    body: Bytes,
}

/// Bodies are made once: that takes longer than all else.
#[derive(Default)]
struct Bodies(HashMap<(u64, usize), Bytes>);

impl Bodies {
    fn of(&mut self, seed: u64, length: usize) -> Bytes {
        let known = self.0.entry((seed, length));
        known.or_insert_with(|| body(seed, length)).clone()
    }
}

/// Writes a region, and says what is in it and whether it is sealed.
fn write(
    bench: &Bench,
    bodies: &mut Bodies,
    salt: u64,
    steps: &[Step<'_>],
) -> (Vec<Written>, bool) {
    let _ = fs::remove_file(bench.path());
    let header = Header {
        sequence: 1,
        salt,
        log: 3,
    };
    let region = Region::create(bench.folder.path(), 0, header).unwrap();
    let mut active = Active::new(Arc::new(region), MOST_REGION);
    let mut written: Vec<Written> = Vec::new();
    for step in steps {
        let [number, meta, length] = step.numbers;
        let (meta, length) = ((meta % 9000) as usize, (length % 250_000) as usize);
        let key = key(number % 16);
        let (meta, body) = (bodies.of(number ^ 1, meta), bodies.of(number, length));
        let table = table_of(std::slice::from_ref(&body));
        let head = match step.word {
            "put" => Head {
                kind: Kind::Object,
                meta_length: meta.len() as u32,
                body_length: body.len() as u32,
                lead_crc: crc32fast::hash(&[&table[..], &meta].concat()),
                ..Head::removal(key)
            },
            "remove" => Head::removal(key),
            "seal" => {
                active.seal().2.unwrap();
                return (written, true);
            }
            _ => continue,
        };
        if written.len() == MOST_RECORDS {
            continue;
        }
        let pieces: &[&[u8]] = match head.kind {
            Kind::Object => &[&table, &meta, &body],
            Kind::Removal => &[],
        };
        let place = active.append(head, pieces.iter().copied()).unwrap();
        written.push(Written {
            entry: Entry::of(name_of(&key), head.kind, place),
            key,
            meta,
            body,
        });
    }
    (written, false)
}
