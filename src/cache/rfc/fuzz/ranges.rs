//! Any range of any length, and what is framed taken apart again.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::super::{ContentRange, Frames, Part, Wanted, wanted};
use super::{headers, lines};
use crate::text::fuzz::fuzz;

const WORDS: [&str; 28] = [
    "range: ",
    "content-range: ",
    "content-length: ",
    "content-type: ",
    "\n",
    "bytes=",
    "bytes ",
    "BYTES=",
    "=",
    "-",
    ",",
    ", ",
    "/",
    "*",
    " ",
    "\t",
    "+",
    "0",
    "0-0",
    "9",
    "99-",
    "-5",
    "500-999",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "text/plain",
    "--00000000000000000000000000000007",
];

const MOST_PARTS: usize = 16;
/// What is taken apart again is at most so long.
const SMALL: u64 = 4096;

#[test]
fn fuzz_ranges() {
    fuzz("ranges", &WORDS, |input| {
        let headers = headers(input);
        let length = headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<i64>().ok());
        // No body is longer than half of what a number can say.
        let length = length.map_or(1000, |length| length.unsigned_abs() & (u64::MAX >> 1));
        let is_wanted = wanted(&headers, length);
        let parts = check_wanted(&headers, &is_wanted, length);
        if !parts.is_empty() {
            check_frames(&parts, length, headers.get(CONTENT_TYPE));
        }
        let ranges = headers.get_all(CONTENT_RANGE).iter();
        let kept = ranges
            .take(4)
            .map(|value| check_kept(&headers, value))
            .collect::<Vec<_>>();
        let kind = std::mem::discriminant(&is_wanted);
        (kind, parts.len(), length.min(4), kept)
    });
}

fn check_wanted(headers: &HeaderMap, is_wanted: &Wanted, length: u64) -> SmallVec<[Part; 4]> {
    let parts = match is_wanted {
        Wanted::Whole | Wanted::Nothing => SmallVec::new(),
        Wanted::One(part) => SmallVec::from_slice(&[*part]),
        Wanted::Several(parts) => {
            assert!((2..=MOST_PARTS).contains(&parts.len()));
            parts.clone()
        }
    };
    let mut sum = 0u128;
    for part in &parts {
        assert!(
            part.first <= part.last && part.last < length,
            "{part:?} of {length}"
        );
        sum += u128::from(part.length());
    }
    // More than the whole is never sent for a part of it.
    assert!(sum <= length.into());
    if let [line] = *lines(headers, RANGE.as_str())
        && let Some(specs) = by_grammar(line)
    {
        assert_eq!(*is_wanted, expected(&specs, length), "of {length}");
    }
    parts
}

/// A range as RFC 9110 section 14.1.2 has it: either of its numbers may be missing.
type Spec = (Option<u128>, Option<u128>);

/// `None` where it is not of the grammar.
fn by_grammar(line: &[u8]) -> Option<Vec<Spec>> {
    let text = std::str::from_utf8(line).ok()?;
    let (unit, set) = text.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case("bytes=") {
        return None;
    }
    let number = |digits: &str| match digits {
        "" => Some(None),
        // Larger ones are all as large: behind every end.
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = digits.parse().unwrap_or(u128::MAX);
            Some(Some(number.min(u64::MAX.into())))
        }
        _ => None,
    };
    let specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t']));
    let specs = specs.filter(|spec| !spec.is_empty()).map(|spec| {
        let (first, last) = spec.split_once('-')?;
        Some((number(first)?, number(last)?))
    });
    let specs = specs.collect::<Option<Vec<Spec>>>()?;
    let is_legal = |spec: &Spec| match *spec {
        (Some(first), Some(last)) => first <= last,
        spec => spec != (None, None),
    };
    (!specs.is_empty() && specs.iter().all(is_legal)).then_some(specs)
}

fn expected(specs: &[Spec], length: u64) -> Wanted {
    if specs.len() > MOST_PARTS {
        return Wanted::Whole;
    }
    let length = u128::from(length);
    let parts = specs.iter().map(|spec| match *spec {
        (Some(first), last) => first..last.map_or(length, |last| (last + 1).min(length)),
        (None, last) => length.saturating_sub(last.unwrap_or(0))..length,
    });
    let parts: SmallVec<[Part; 4]> = parts
        .filter(|part| !part.is_empty())
        .map(|part| Part {
            first: part.start as u64,
            last: (part.end - 1) as u64,
        })
        .collect();
    let sum: u128 = parts.iter().map(|part| u128::from(part.length())).sum();
    match *parts {
        [] => Wanted::Nothing,
        [part] => Wanted::One(part),
        _ if sum > length => Wanted::Whole,
        _ => Wanted::Several(parts),
    }
}

/// They are as long as they say, and whoever reads them gets the parts.
fn check_frames(parts: &[Part], length: u64, content_type: Option<&HeaderValue>) {
    let boundary = 7;
    let frames = Frames::of(parts, length, content_type, boundary);
    assert_eq!(frames.before.len(), parts.len());
    let texts: usize = frames.before.iter().map(String::len).sum();
    let sum: u64 = parts.iter().map(|part| part.length()).sum();
    let all = texts as u64 + sum + frames.after.len() as u64;
    assert_eq!(frames.length, all);
    if length > SMALL {
        return;
    }
    // No line of it is a boundary.
    let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
    let slice = |part: &Part| &body[part.first as usize..=part.last as usize];
    let mut sent = Vec::new();
    for (text, part) in frames.before.iter().zip(parts) {
        sent.extend_from_slice(text.as_bytes());
        sent.extend_from_slice(slice(part));
    }
    sent.extend_from_slice(frames.after.as_bytes());
    assert_eq!(sent.len() as u64, frames.length);
    let mut rest = &sent[..];
    let dashed = format!("--{boundary:032x}\r\n");
    for (place, part) in parts.iter().enumerate() {
        let before = if place == 0 { "" } else { "\r\n" };
        rest = after(rest, format!("{before}{dashed}").as_bytes());
        let end = rest.windows(4).position(|it| it == b"\r\n\r\n");
        let (head, body) = rest.split_at(end.expect("a head has an end") + 4);
        let head = headers(head);
        let range = ContentRange::parse(head.get(CONTENT_RANGE).expect("it says which part"));
        let of = |part| ContentRange {
            part,
            length: Some(length),
        };
        assert_eq!(range, Some(of(*part)));
        // What is no text is left out.
        let expected = content_type.filter(|it| it.to_str().is_ok());
        assert_eq!(head.get(CONTENT_TYPE), expected);
        assert_eq!(head.len(), 1 + usize::from(expected.is_some()));
        rest = after(body, slice(part));
    }
    assert_eq!(rest, format!("\r\n--{boundary:032x}--\r\n").as_bytes());
}

fn after<'b>(bytes: &'b [u8], beginning: &[u8]) -> &'b [u8] {
    bytes.strip_prefix(beginning).expect("it begins so")
}

/// What a 206 says that it has.
fn check_kept(headers: &HeaderMap, value: &HeaderValue) -> Option<(bool, Option<bool>)> {
    let range = ContentRange::parse(value)?;
    let ContentRange { part, length } = range;
    assert!(part.first <= part.last && length.is_none_or(|length| part.last < length));
    assert!(part.length() > 0);
    if let Some(length) = length {
        let written = ContentRange::write(part, length);
        assert_eq!(ContentRange::parse(&written), Some(range), "{value:?}");
    }
    assert_eq!(
        ContentRange::parse(&ContentRange::unsatisfied(part.last)),
        None
    );
    let has = range.has(headers);
    if let Some(has) = has {
        assert!(part.first <= has.first && has.first <= has.last && has.last <= part.last);
        if let (Some(length), 1) = (length, lines(headers, RANGE.as_str()).len()) {
            assert_eq!(wanted(headers, length), Wanted::One(has), "{value:?}");
        }
    }
    Some((length.is_some(), has.map(|has| has == part)))
}
