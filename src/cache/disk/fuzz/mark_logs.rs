//! The log of marks: what cannot be relied on is never taken for whole.

use super::super::marks::{encode, header, read};
use super::{WORDS, damage, steps};
use crate::text::fuzz::fuzz;

/// Lines of what is logged, and then of what is done to the file.
#[test]
fn fuzz_mark_logs() {
    fuzz("cache_mark_logs", &WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        let steps = steps(&text);
        let logged = steps.iter().filter(|step| step.word == "log");
        let records: Vec<Vec<u8>> = logged.map(|step| step.rest.into()).collect();
        let log = |identity| [header(identity), encode(&records).unwrap()].concat();
        let (whole, other) = (log(77), log(78));
        let mut bytes = whole.clone();
        let mut done = Vec::new();
        for step in &steps {
            let before = bytes.clone();
            damage(&mut bytes, &other, step);
            if bytes != before {
                done.push(step.word);
            }
        }
        // Anything at all, behind the header and without it.
        for any in [input, &[&whole[..HEADER_OF_LOG], input].concat()] {
            check_log(any);
        }
        let there = check_log(&bytes);
        match done[..] {
            [] => assert_eq!(there.as_ref(), Some(&records)),
            ["flip"] => assert_eq!(there, None, "nobody knows what it was"),
            ["cut"] => {
                let there = there.as_deref().unwrap_or_default();
                let fits = |count: &usize| {
                    let length = encode(&records[..*count]).unwrap().len();
                    HEADER_OF_LOG + length <= bytes.len()
                };
                let expected = (0..=records.len()).filter(fits).count();
                assert_eq!(there, &records[..expected.saturating_sub(1)]);
            }
            _ => {}
        }
        (
            records.len(),
            done.join(" "),
            there.map(|there| there.len()),
        )
    });
}

const HEADER_OF_LOG: usize = 24;

/// What is read is what was written, as far as it goes; and half a record at the end, and no more, may be left out.
fn check_log(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (identity, records, end) = read(bytes).ok()?;
    let again = [header(identity), encode(&records).unwrap()].concat();
    assert_eq!(bytes[..end], again);
    Some(records)
}
