//! Parts of what is kept (RFC 9110 section 14).

use std::fmt::Write as _;

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use smallvec::SmallVec;

/// Whoever wants more parts gets the whole: it costs less (RFC 9110 section 17.15).
const MOST: usize = 16;

/// From the first byte to the last, both of them in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub first: u64,
    pub last: u64,
}

impl Part {
    /// In bytes; a part is never empty.
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a client wants of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    One(Part),
    /// In the order in which they are asked for.
    Several(SmallVec<[Part; 4]>),
    /// Nothing of it is there.
    Nothing,
}

/// What `Range` asks for of so many bytes. What is no range of bytes, or silly, is as if it were not there.
pub fn wanted(request: &HeaderMap, length: u64) -> Wanted {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Wanted::Whole;
    };
    let Some(specs) = specs(line) else {
        return Wanted::Whole;
    };
    let mut parts: SmallVec<[Part; 4]> = SmallVec::new();
    for spec in specs {
        parts.extend(spec.of(length));
    }
    let wanted: u64 = parts
        .iter()
        .map(|part| part.length())
        .fold(0, u64::saturating_add);
    match *parts {
        [] => Wanted::Nothing,
        [part] => Wanted::One(part),
        // They overlap.
        _ if wanted > length => Wanted::Whole,
        _ => Wanted::Several(parts),
    }
}

/// A range as it is asked for.
#[derive(Clone, Copy, Debug)]
enum Spec {
    From(u64),
    FromTo(u64, u64),
    Last(u64),
}

impl Spec {
    fn of(self, length: u64) -> Option<Part> {
        let end = length.checked_sub(1)?;
        let (first, last) = match self {
            Spec::From(first) => (first, end),
            Spec::FromTo(first, last) => (first, last.min(end)),
            Spec::Last(0) => return None,
            Spec::Last(count) => (length.saturating_sub(count), end),
        };
        (first <= end).then_some(Part { first, last })
    }
}

/// `None` where it is no list of ranges of bytes, or a longer one than anybody needs.
fn specs(line: &HeaderValue) -> Option<SmallVec<[Spec; 4]>> {
    let (unit, set) = line.to_str().ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = SmallVec::new();
    for range in set
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-')?;
        let spec = match (first, last) {
            ("", last) => Spec::Last(number(last)?),
            (first, "") => Spec::From(number(first)?),
            (first, last) => Spec::FromTo(number(first)?, number(last)?),
        };
        if let Spec::FromTo(first, last) = spec
            && first > last
        {
            return None;
        }
        specs.push(spec);
    }
    (1..=MOST).contains(&specs.len()).then_some(specs)
}

fn number(digits: &str) -> Option<u64> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Which part of what a 206 has (RFC 9110 section 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    pub part: Part,
    /// Of the whole, where that is known.
    pub length: Option<u64>,
}

impl ContentRange {
    /// `None` where it is none, or is about nothing.
    pub fn parse(value: &HeaderValue) -> Option<ContentRange> {
        let (unit, rest) = value.to_str().ok()?.trim().split_once(' ')?;
        let (range, length) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let part = Part {
            first: number(first)?,
            last: number(last)?,
        };
        let length = match length {
            "*" => None,
            length => Some(number(length)?),
        };
        let is_sound = unit.eq_ignore_ascii_case("bytes")
            && part.first <= part.last
            && part.last < u64::MAX
            && length.is_none_or(|length| part.last < length);
        is_sound.then_some(ContentRange { part, length })
    }

    pub fn write(part: Part, length: u64) -> HeaderValue {
        header(&format!("bytes {}-{}/{length}", part.first, part.last))
    }

    /// Of a 416.
    pub fn unsatisfied(length: u64) -> HeaderValue {
        header(&format!("bytes */{length}"))
    }

    /// What is asked for of it, where all of that is in this part, and the whole is known to be as long.
    pub fn has(&self, request: &HeaderMap) -> Option<Part> {
        // Where the length of the whole is not known, ranges from its end are not, either.
        let mut lines = request.get_all(RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let specs = specs(line)?;
        let [spec] = *specs else { return None };
        let part = match (spec, self.length) {
            (_, Some(length)) => spec.of(length)?,
            (Spec::FromTo(first, last), None) => Part { first, last },
            (Spec::From(_) | Spec::Last(_), None) => return None,
        };
        (self.part.first <= part.first && part.last <= self.part.last).then_some(part)
    }
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("bytes */0"))
}

/// Whether a part is as long as it says. One that does not say how long it is is not kept: it would have to be taken back.
pub fn is_whole_part(status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> bool {
    if status != StatusCode::PARTIAL_CONTENT {
        return true;
    }
    let range = headers.get(CONTENT_RANGE).and_then(ContentRange::parse);
    range.is_some_and(|range| length == Some(range.part.length()))
}

/// How several parts are framed (RFC 9110 section 14.6): what stands before each of them, and behind the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames {
    pub before: SmallVec<[String; 4]>,
    pub after: String,
    /// Of all of it, the parts included.
    pub length: u64,
    pub content_type: HeaderValue,
}

impl Frames {
    /// `boundary` is a random number, so that no content has it.
    pub fn of(
        parts: &[Part],
        length: u64,
        content_type: Option<&HeaderValue>,
        boundary: u128,
    ) -> Frames {
        let boundary = format!("{boundary:032x}");
        let content_type = content_type.and_then(|it| it.to_str().ok());
        let mut whole = 0;
        let before = parts.iter().enumerate().map(|(place, part)| {
            let mut text = String::with_capacity(160);
            text.push_str(if place == 0 { "--" } else { "\r\n--" });
            text.push_str(&boundary);
            if let Some(content_type) = content_type {
                let _ = write!(text, "\r\nContent-Type: {content_type}");
            }
            let _ = write!(
                text,
                "\r\nContent-Range: bytes {}-{}/{length}\r\n\r\n",
                part.first, part.last
            );
            whole += text.len() as u64 + part.length();
            text
        });
        let before = before.collect();
        let after = format!("\r\n--{boundary}--\r\n");
        Frames {
            before,
            length: whole + after.len() as u64,
            content_type: header(&format!("multipart/byteranges; boundary={boundary}")),
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(range: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(range).unwrap());
        headers
    }

    #[test]
    fn what_is_wanted_of_ten_bytes() {
        let check = |range: &str, expected: &[(u64, u64)]| {
            let parts: SmallVec<[Part; 4]> = expected
                .iter()
                .map(|&(first, last)| Part { first, last })
                .collect();
            let expected = match *parts {
                [part] => Wanted::One(part),
                _ => Wanted::Several(parts),
            };
            assert_eq!(wanted(&asking(range), 10), expected, "{range}");
        };
        check("bytes=0-3", &[(0, 3)]);
        check("bytes=0-0", &[(0, 0)]);
        check("Bytes=2-", &[(2, 9)]);
        check("bytes=-3", &[(7, 9)]);
        check("bytes=-30", &[(0, 9)]);
        check("bytes=5-99", &[(5, 9)]);
        check("bytes=0-1, 4-5 ,", &[(0, 1), (4, 5)]);
        check("bytes=4-5,0-1,-1", &[(4, 5), (0, 1), (9, 9)]);
        check("bytes=0-1,20-30", &[(0, 1)]);
        check("bytes=0-99999999999999999999999", &[(0, 9)]);
        for range in [
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=3-1",
            "lines=1-2",
            "bytes=1",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=0-9,0-9",
            "bytes=1-2,x",
            "bytes= - ",
        ] {
            assert_eq!(wanted(&asking(range), 10), Wanted::Whole, "{range}");
        }
        let many = (0..17)
            .map(|n| format!("{n}-{n}"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(
            wanted(&asking(&format!("bytes={many}")), 100),
            Wanted::Whole
        );
        for range in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(wanted(&asking(range), 10), Wanted::Nothing, "{range}");
        }
        assert_eq!(wanted(&asking("bytes=0-"), 0), Wanted::Nothing);
        assert_eq!(wanted(&HeaderMap::new(), 10), Wanted::Whole);
    }

    #[test]
    fn what_a_part_is_of() {
        let check = |text: &str, expected: Option<(u64, u64, Option<u64>)>| {
            let range = ContentRange::parse(&HeaderValue::from_str(text).unwrap());
            let range = range.map(|it| (it.part.first, it.part.last, it.length));
            assert_eq!(range, expected, "{text}");
        };
        check("bytes 0-4/10", Some((0, 4, Some(10))));
        check("bytes 5-9/*", Some((5, 9, None)));
        for text in [
            "",
            "bytes",
            "bytes */10",
            "bytes 0-10/10",
            "bytes 4-2/10",
            "lines 0-1/2",
            "bytes 0-4",
            "bytes a-4/10",
            "bytes 0-4/x",
            "bytes 0-18446744073709551615/*",
        ] {
            check(text, None);
        }
        let has = |range: &str, part: &str| {
            let range = asking(range);
            let part = ContentRange::parse(&HeaderValue::from_str(part).unwrap()).unwrap();
            part.has(&range).map(|part| (part.first, part.last))
        };
        assert_eq!(has("bytes=2-3", "bytes 0-4/10"), Some((2, 3)));
        assert_eq!(has("bytes=-5", "bytes 5-9/10"), Some((5, 9)));
        assert_eq!(has("bytes=-6", "bytes 5-9/10"), None);
        assert_eq!(has("bytes=4-5", "bytes 0-4/10"), None);
        assert_eq!(has("bytes=-5", "bytes 5-9/*"), None);
        assert_eq!(has("bytes=6-7", "bytes 5-9/*"), Some((6, 7)));
        assert_eq!(has("bytes=6-7,8-8", "bytes 5-9/10"), None);
        // Several lines are no range, as they are not where the whole is kept.
        let mut twice = asking("bytes=2-3");
        twice.append(RANGE, HeaderValue::from_static("bytes=0-0"));
        let part = ContentRange::parse(&HeaderValue::from_static("bytes 0-4/10")).unwrap();
        assert_eq!(
            (part.has(&twice), wanted(&twice, 10)),
            (None, Wanted::Whole)
        );
    }

    #[test]
    fn frames_are_as_long_as_they_say() {
        let parts = [Part { first: 0, last: 1 }, Part { first: 4, last: 9 }];
        let plain = HeaderValue::from_static("text/plain");
        for content_type in [None, Some(&plain)] {
            let frames = Frames::of(&parts, 10, content_type, 7);
            let texts: usize = frames.before.iter().map(String::len).sum();
            assert_eq!(frames.length as usize, texts + frames.after.len() + 2 + 6);
            let first = frames.before.first().unwrap();
            assert!(
                first.starts_with("--00000000000000000000000000000007\r\n"),
                "{first}"
            );
            assert!(
                first.ends_with("Content-Range: bytes 0-1/10\r\n\r\n"),
                "{first}"
            );
            assert_eq!(first.contains("text/plain"), content_type.is_some());
        }
    }
}
