//! `Vary`: the fields of a request that its response depends on.

use http::header::VARY;
use http::{HeaderMap, HeaderValue};

/// Adds fields, separated by commas, to what a response varies on. What is there already stays, in one line with
/// what is new: there are caches that read only the first line.
pub(super) fn vary_on(headers: &mut HeaderMap, fields: &HeaderValue) {
    if !headers.contains_key(VARY) {
        headers.insert(VARY, fields.clone());
        return;
    }
    let mut merged = Vec::with_capacity(128);
    for line in headers.get_all(VARY) {
        join(&mut merged, line.as_bytes());
    }
    // RFC 9110 section 12.5.5: it depends on everything.
    if is_in(b"*", &merged) {
        return;
    }
    let before = merged.len();
    for field in members(fields.as_bytes()) {
        if !is_in(field, &merged) {
            join(&mut merged, field);
        }
    }
    if merged.len() > before
        && let Ok(merged) = HeaderValue::from_bytes(&merged)
    {
        headers.insert(VARY, merged);
    }
}

fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

fn is_in(field: &[u8], list: &[u8]) -> bool {
    members(list).any(|member| member.eq_ignore_ascii_case(field))
}

fn join(list: &mut Vec<u8>, more: &[u8]) {
    if !list.is_empty() && !more.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_and_nothing_is_said_twice() {
        let check = |lines: &[&'static str], fields: &'static str, expected: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(VARY, HeaderValue::from_static(line));
            }
            vary_on(&mut headers, &HeaderValue::from_static(fields));
            let found: Vec<_> = headers.get_all(VARY).iter().collect();
            assert_eq!(found, expected, "{lines:?} and {fields}");
        };
        check(&[], "Origin", &["Origin"]);
        check(&[""], "Origin", &["Origin"]);
        check(&["accept"], "Origin", &["accept, Origin"]);
        check(&["accept", "cookie"], "Origin", &["accept, cookie, Origin"]);
        check(&["origin"], "Origin", &["origin"]);
        check(&["accept", "ORIGIN"], "Origin", &["accept", "ORIGIN"]);
        check(&["x-origin"], "Origin", &["x-origin, Origin"]);
        check(&["*"], "Origin", &["*"]);
        check(&["accept, *"], "Origin", &["accept, *"]);
        check(&["b"], "a, B, c", &["b, a, c"]);
    }
}
