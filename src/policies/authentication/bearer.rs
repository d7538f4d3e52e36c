//! Bearer tokens in requests (RFC 6750).

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::{Challenge, Flaw};

/// Longer than any token that is of use, and no more than one header may be anyway.
pub const LONGEST_TOKEN: usize = 16 * 1024;

/// What the `Authorization` of a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer<'r> {
    /// Nothing, or something of another scheme.
    None,
    Token(&'r str),
    /// There are two, or what follows `Bearer` is no token. Why, for the log.
    Malformed(&'static str),
}

/// The token of `Authorization: Bearer TOKEN` (section 2.1).
pub fn bearer(headers: &HeaderMap) -> Bearer<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Bearer::None;
    };
    let bytes = value.as_bytes();
    let scheme = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Bearer::None;
    }
    // Whoever looks at the first of two and whoever looks at the last would see two callers.
    if values.next().is_some() {
        return Bearer::Malformed("there is more than one Authorization");
    }
    let token = bytes.get(scheme.len()..).unwrap_or_default().trim_ascii();
    match std::str::from_utf8(token) {
        Ok(token) if is_token(token) => Bearer::Token(token),
        _ => Bearer::Malformed("what follows Bearer is no token"),
    }
}

/// Section 2.1, `b64token`.
fn is_token(text: &str) -> bool {
    let begin = text.trim_end_matches('=');
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !begin.is_empty() && text.len() <= LONGEST_TOKEN && begin.bytes().all(is_of_token)
}

/// RFC 6750 section 3: without a token no error is told.
const WANTED: HeaderValue = HeaderValue::from_static("Bearer realm=\"northgate\"");

/// Section 3.1: it comes twice, or in two places. The status is 401 as with every bad credential, and not the 400 that
/// the section would rather have: of several authenticators another may still be shown a good one.
const MALFORMED: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"northgate\", error=\"invalid_request\"");

/// Whatever else is wrong with a token: more would help those who guess.
const REFUSED: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"northgate\", error=\"invalid_token\"");

/// What bearers of tokens are told.
pub fn challenge(flaw: Option<Flaw>) -> Challenge {
    Challenge::Header(match flaw {
        None => WANTED,
        Some(Flaw::Malformed) => MALFORMED,
        Some(Flaw::Bad) => REFUSED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_stands_behind_the_scheme() {
        let check = |values: &[&str], expected: Bearer<'_>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a value"));
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        };
        check(&[], Bearer::None);
        check(&["Basic YTpi"], Bearer::None);
        check(&["Bearers x"], Bearer::None);
        check(&[""], Bearer::None);
        check(&["Bearer abc"], Bearer::Token("abc"));
        check(
            &["bEARER  a.b-c_d~e+f/g== "],
            Bearer::Token("a.b-c_d~e+f/g=="),
        );
        let malformed = Bearer::Malformed("what follows Bearer is no token");
        let long = format!("Bearer {}", "a".repeat(LONGEST_TOKEN + 1));
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer =",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \"a\"",
            "Bearer a=b",
            &long,
        ] {
            check(&[value], malformed);
        }
        check(
            &["Bearer a", "Bearer a"],
            Bearer::Malformed("there is more than one Authorization"),
        );
        check(
            &["Bearer a", "Basic b"],
            Bearer::Malformed("there is more than one Authorization"),
        );
    }
}
