//! Conditional requests, answered from what is kept (RFC 9110 section 13, RFC 9111 section 4.3).

use std::time::SystemTime;

use http::header::{
    DATE, ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::date::date;

/// Whether the client has what is kept, and is told so by 304 and no more (RFC 9110 section 13.2.2).
pub fn is_not_modified(request: &HeaderMap, status: StatusCode, stored: &HeaderMap) -> bool {
    if !status.is_success() {
        // Conditions are about what is there (section 13.2.1).
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        let tag = stored.get(ETAG).map(HeaderValue::as_bytes);
        let mut lines = request.get_all(IF_NONE_MATCH).iter();
        return lines.any(|line| matches_weakly(line.as_bytes(), tag));
    }
    let Some(since) = date(request, &IF_MODIFIED_SINCE) else {
        return false;
    };
    // Where nothing says when it was changed, it was by the time it was sent (RFC 9111 section 4.3.2).
    let changed = match stored.contains_key(LAST_MODIFIED) {
        true => date(stored, &LAST_MODIFIED),
        false => date(stored, &DATE),
    };
    changed.is_some_and(|changed| changed <= since)
}

/// Whether one of the tags in a list is this one, weak or strong (RFC 9110 section 8.8.3.2).
fn matches_weakly(list: &[u8], tag: Option<&[u8]>) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let Some(tag) = tag else { return false };
    let opaque = strong_part(tag);
    tags(list).any(|one| strong_part(one) == opaque)
}

fn strong_part(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The tags of a list, with their quotes. A comma within quotes is of the tag.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            let start = rest.iter().position(|byte| !b" \t,".contains(byte))?;
            rest = rest.get(start..)?;
            let prefix = if rest.starts_with(b"W/") { 2 } else { 0 };
            let end = match rest.get(prefix) {
                Some(b'"') => {
                    let after = rest.get(prefix + 1..)?;
                    prefix + 2 + after.iter().position(|&byte| byte == b'"')?
                }
                // No tag at all, but some write them so.
                _ => rest
                    .iter()
                    .position(|&byte| byte == b',')
                    .unwrap_or(rest.len()),
            };
            let (tag, after) = rest.split_at_checked(end)?;
            rest = after;
            let tag = tag.trim_ascii();
            if !tag.is_empty() {
                return Some(tag);
            }
        }
    })
}

/// Whether the client wants a part of just what is kept (RFC 9110 section 13.1.5): by a strong tag, or by the very date.
pub fn is_same_range(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let mut lines = request.get_all(IF_RANGE).iter();
    let Some(condition) = lines.next() else {
        return true;
    };
    // Of two that differ one is not met.
    if lines.any(|other| other != condition) {
        return false;
    }
    let condition = condition.as_bytes().trim_ascii();
    if condition.starts_with(b"\"") || condition.starts_with(b"W/") {
        let tag = stored.get(ETAG).map(|tag| tag.as_bytes().trim_ascii());
        return condition.starts_with(b"\"") && tag == Some(condition);
    }
    let wanted = date(request, &IF_RANGE);
    wanted.is_some() && wanted == strong_date(stored)
}

/// When it was changed, where that was so long before it was sent that it cannot have been changed again in the same second
/// (RFC 9110 section 8.8.2.2).
fn strong_date(stored: &HeaderMap) -> Option<SystemTime> {
    let changed = date(stored, &LAST_MODIFIED)?;
    let sent = date(stored, &DATE)?;
    let between = sent.duration_since(changed).ok()?;
    (between.as_secs() >= 1).then_some(changed)
}

/// Asks the upstream whether what is kept is still what it has (RFC 9111 section 4.3.1). False where nothing can be asked.
pub fn ask_whether_same(stored: &HeaderMap, request: &mut HeaderMap) -> bool {
    let pairs = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
    let mut has_asked = false;
    for (validator, condition) in pairs {
        if let Some(value) = stored.get(validator) {
            request.insert(condition, value.clone());
            has_asked = true;
        }
    }
    has_asked
}

/// Whether a 304 is about what is kept (RFC 9111 section 4.3.4): a tag or a date that it has is the same. One that says neither
/// answers what was asked.
pub fn confirms(stored: &HeaderMap, confirmation: &HeaderMap) -> bool {
    if let (Some(tag), true) = (confirmation.get(ETAG), stored.contains_key(ETAG)) {
        // A strong one is of the very bytes, of which a weak one says nothing.
        if !tag.as_bytes().starts_with(b"W/") {
            return stored.get(ETAG) == Some(tag);
        }
        return stored
            .get(ETAG)
            .is_some_and(|own| strong_part(own.as_bytes()) == strong_part(tag.as_bytes()));
    }
    match confirmation.get(LAST_MODIFIED) {
        Some(date) if stored.contains_key(LAST_MODIFIED) => stored.get(LAST_MODIFIED) == Some(date),
        _ => true,
    }
}

/// What of the stored header a 304 has not (RFC 9110 section 15.4.5): it describes content that is not sent.
pub fn strip_for_304(headers: &mut HeaderMap) {
    const CONTENT: [HeaderName; 5] = [
        http::header::CONTENT_LENGTH,
        http::header::CONTENT_TYPE,
        http::header::CONTENT_ENCODING,
        http::header::CONTENT_LANGUAGE,
        http::header::CONTENT_RANGE,
    ];
    for name in CONTENT {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:40 GMT";

    #[test]
    fn who_has_it_is_told_so() {
        let check = |request: &[(&str, &str)], stored: &[(&str, &str)], expected: bool| {
            let (request, stored) = (headers(request), headers(stored));
            let said = is_not_modified(&request, StatusCode::OK, &stored);
            assert_eq!(said, expected, "{request:?} {stored:?}");
            assert!(!is_not_modified(&request, StatusCode::NOT_FOUND, &stored));
        };
        let tagged = [("etag", "\"a\"")];
        check(&[], &tagged, false);
        check(&[("if-none-match", "\"a\"")], &tagged, true);
        check(&[("if-none-match", "W/\"a\"")], &tagged, true);
        check(&[("if-none-match", "\"a\"")], &[("etag", "W/\"a\"")], true);
        check(&[("if-none-match", "\"b\"")], &tagged, false);
        check(&[("if-none-match", "\"b\", \"a\"")], &tagged, true);
        check(
            &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")],
            &tagged,
            true,
        );
        check(
            &[("if-none-match", "\"b,\"a\"")],
            &[("etag", "\"b,\"")],
            true,
        );
        check(&[("if-none-match", "*")], &[], true);
        check(&[("if-none-match", "a")], &tagged, false);
        check(&[("if-none-match", "\"A\"")], &tagged, false);
        // The tag decides alone where there is one (section 13.1.3).
        let both = [("etag", "\"a\""), ("last-modified", OLD)];
        check(
            &[("if-none-match", "\"b\""), ("if-modified-since", NEW)],
            &both,
            false,
        );
        check(&[("if-modified-since", NEW)], &both, true);
        check(&[("if-modified-since", OLD)], &both, true);
        check(
            &[("if-modified-since", OLD)],
            &[("last-modified", NEW)],
            false,
        );
        check(&[("if-modified-since", OLD)], &[("date", OLD)], true);
        check(&[("if-modified-since", "yesterday")], &both, false);
    }

    #[test]
    fn parts_are_of_what_the_client_has() {
        let check = |condition: Option<&str>, stored: &[(&str, &str)], expected: bool| {
            let lines: Vec<_> = condition.map(|it| ("if-range", it)).into_iter().collect();
            assert_eq!(
                is_same_range(&headers(&lines), &headers(stored)),
                expected,
                "{condition:?}"
            );
        };
        check(None, &[], true);
        check(Some("\"a\""), &[("etag", "\"a\"")], true);
        check(Some("\"a\""), &[("etag", "W/\"a\"")], false);
        check(Some("W/\"a\""), &[("etag", "W/\"a\"")], false);
        check(Some("\"b\""), &[("etag", "\"a\"")], false);
        check(Some(OLD), &[("last-modified", OLD), ("date", NEW)], true);
        check(Some(OLD), &[("last-modified", OLD), ("date", OLD)], false);
        check(Some(NEW), &[("last-modified", OLD), ("date", NEW)], false);
        check(Some("x"), &[("last-modified", OLD), ("date", NEW)], false);
    }

    #[test]
    fn a_confirmation_is_about_what_it_names() {
        let check = |stored: &[(&str, &str)], told: &[(&str, &str)], expected: bool| {
            assert_eq!(
                confirms(&headers(stored), &headers(told)),
                expected,
                "{told:?}"
            );
        };
        check(&[("etag", "\"a\"")], &[], true);
        check(&[("etag", "\"a\"")], &[("etag", "\"a\"")], true);
        check(&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], false);
        check(&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true);
        check(&[("etag", "\"a\"")], &[("etag", "\"b\"")], false);
        check(&[("last-modified", OLD)], &[("last-modified", NEW)], false);
        check(&[("last-modified", OLD)], &[("last-modified", OLD)], true);
        check(&[("etag", "\"a\"")], &[("last-modified", OLD)], true);
    }
}
