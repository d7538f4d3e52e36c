//! Any condition on any response.

use std::sync::LazyLock;

use http::header::{DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use regex::bytes::Regex;

use super::super::date::parse;
use super::super::{ask_whether_same, confirms, is_not_modified, is_same_range};
use super::{halves, headers, lines, value};
use crate::text::fuzz::fuzz;

const WORDS: [&str; 24] = [
    "if-none-match: ",
    "if-modified-since: ",
    "if-range: ",
    "etag: ",
    "last-modified: ",
    "date: ",
    "\n",
    "\n\n",
    "*",
    "W/",
    "w/",
    "\"",
    "\"a\"",
    "\"b\"",
    "W/\"a\"",
    "\"a,\"",
    "\"\"",
    ",",
    ", ",
    " ",
    "\\\"",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:38 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
];

/// The header of a request, an empty line, and that of what is kept.
#[test]
fn fuzz_conditions() {
    fuzz("conditions", &WORDS, |input| {
        let (request, stored) = halves(input);
        let (request, stored) = (headers(request), headers(stored));
        let is_same = is_not_modified(&request, StatusCode::OK, &stored);
        for status in [StatusCode::NOT_FOUND, StatusCode::FOUND] {
            assert!(!is_not_modified(&request, status, &stored));
        }
        match request.contains_key(IF_NONE_MATCH) {
            true => check_tags(&request, &stored, is_same),
            false => assert_eq!(is_same, is_unchanged(&request, &stored)),
        }
        check_symmetry(&request, &stored);
        let is_range = check_range(&request, &stored);
        let confirmed = check_confirmation(&request, &stored);
        let counts = [
            lines(&request, IF_NONE_MATCH.as_str()).len(),
            lines(&stored, ETAG.as_str()).len(),
        ];
        (is_same, is_range, confirmed, counts)
    });
}

/// A tag, without its quotes.
#[derive(PartialEq)]
struct Tag<'t> {
    is_weak: bool,
    opaque: &'t [u8],
}

/// The tags of a list by RFC 9110 section 8.8.3; `None` where it is none.
fn by_grammar(line: &[u8]) -> Option<Vec<Tag<'_>>> {
    static ELEMENT: LazyLock<Regex> = LazyLock::new(|| {
        let tag = r#"(?<weak>W/)?"(?<opaque>[\x21\x23-\x7e\x80-\xff]*)""#;
        Regex::new(&format!(r"(?-u)^[ \t]*(?:{tag})?[ \t]*(?:,|$)")).unwrap()
    });
    let (mut rest, mut tags) = (line, Vec::new());
    while !rest.is_empty() {
        let element = ELEMENT.captures(rest)?;
        tags.extend(element.name("opaque").map(|opaque| Tag {
            is_weak: element.name("weak").is_some(),
            opaque: opaque.as_bytes(),
        }));
        rest = &rest[element.get(0)?.end()..];
    }
    Some(tags)
}

fn one_tag(line: &[u8]) -> Option<Tag<'_>> {
    let tag = by_grammar(line)?.pop()?;
    // A comma is of a list.
    let length = tag.opaque.len() + 2 + if tag.is_weak { 2 } else { 0 };
    (line.trim_ascii().len() == length).then_some(tag)
}

fn check_tags(request: &HeaderMap, stored: &HeaderMap, is_same: bool) {
    let lists = lines(request, IF_NONE_MATCH.as_str());
    let is_any = lists.iter().any(|list| list.trim_ascii() == b"*");
    let own = stored.get(ETAG).map(|tag| tag.as_bytes());
    if is_any {
        assert!(is_same);
    } else if is_same {
        // It must have been named, whatever else stands there.
        let own = own.expect("nothing else is the same").trim_ascii();
        let opaque = own.strip_prefix(b"W/").unwrap_or(own);
        let names = |list: &&[u8]| list.windows(opaque.len().max(1)).any(|it| it == opaque);
        assert!(lists.iter().any(names), "{own:?} {lists:?}");
    }
    // Dates do not count beside tags.
    let mut without = request.clone();
    without.remove(IF_MODIFIED_SINCE);
    assert_eq!(is_not_modified(&without, StatusCode::OK, stored), is_same);
    let tags = lists.iter().map(|list| by_grammar(list));
    let tags = tags.collect::<Option<Vec<_>>>();
    let own = own.map(one_tag);
    if let (Some(tags), None | Some(Some(_))) = (tags, &own) {
        let own = own.flatten();
        let mut named = tags.iter().flatten();
        let expected = own.is_some_and(|own| named.any(|tag| tag.opaque == own.opaque));
        assert_eq!(is_same, expected, "{lists:?}");
    }
}

/// Which of two tags is kept and which is named does not matter, nor which of them is weak.
fn check_symmetry(request: &HeaderMap, stored: &HeaderMap) {
    let all = [
        lines(request, IF_NONE_MATCH.as_str()),
        lines(stored, ETAG.as_str()),
    ]
    .concat();
    let tags: Vec<_> = all
        .iter()
        .filter_map(|line| Some((line, one_tag(line)?)))
        .take(6)
        .collect();
    let of = |name, tag: &[u8]| HeaderMap::from_iter([(name, value(tag).expect("a value"))]);
    for (one, first) in &tags {
        for (other, second) in &tags {
            let expected = first.opaque == second.opaque;
            let (asked, kept) = (of(IF_NONE_MATCH, one), of(ETAG, other));
            let is_same = is_not_modified(&asked, StatusCode::OK, &kept);
            assert_eq!(is_same, expected, "{asked:?} {kept:?}");
            // Parts are only put together that are of the very same bytes.
            let is_strong = !first.is_weak && !second.is_weak;
            let is_range = is_same_range(&of(IF_RANGE, one), &kept);
            assert_eq!(is_range, expected && is_strong, "{asked:?} {kept:?}");
        }
    }
}

fn is_unchanged(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let date = |headers: &HeaderMap, name: &str| {
        let mut lines = lines(headers, name);
        lines.dedup();
        match lines[..] {
            [line] if line.is_ascii() => parse(std::str::from_utf8(line).ok()?),
            _ => None,
        }
    };
    let name = match stored.contains_key(LAST_MODIFIED) {
        true => LAST_MODIFIED,
        false => DATE,
    };
    let changed = date(stored, name.as_str());
    let since = date(request, IF_MODIFIED_SINCE.as_str());
    matches!((changed, since), (Some(changed), Some(since)) if changed <= since)
}

fn check_range(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let is_same = is_same_range(request, stored);
    let conditions = lines(request, IF_RANGE.as_str());
    if conditions.is_empty() {
        assert!(is_same);
    }
    for condition in conditions.iter().filter(|_| is_same) {
        let condition = condition.trim_ascii();
        if condition.starts_with(b"\"") {
            let own = stored.get(ETAG).map(|tag| tag.as_bytes().trim_ascii());
            assert_eq!(own, Some(condition));
        } else {
            let since = std::str::from_utf8(condition).ok().and_then(parse);
            let changed = stored.get(LAST_MODIFIED).expect("it was changed");
            let changed = parse(changed.to_str().expect("a date")).expect("a date");
            assert_eq!(since, Some(changed));
            let sent = parse(stored[DATE].to_str().expect("a date")).expect("a date");
            assert!(changed < sent, "it may have been changed again");
        }
    }
    is_same
}

/// A response confirms itself, and whoever asks for the same asks for just what is kept.
fn check_confirmation(request: &HeaderMap, stored: &HeaderMap) -> bool {
    assert!(confirms(stored, stored));
    let mut asking = request.clone();
    let has_asked = ask_whether_same(stored, &mut asking);
    let has_validator = stored.contains_key(ETAG) || stored.contains_key(LAST_MODIFIED);
    assert_eq!(has_asked, has_validator);
    // What the request itself has asked is not what the upstream is asked.
    for (validator, condition) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
        if stored.contains_key(&validator) {
            assert_eq!(asking.get(&condition), stored.get(&validator));
            assert_eq!(asking.get_all(&condition).iter().count(), 1);
        }
    }
    confirms(stored, request)
}
