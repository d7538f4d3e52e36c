//! What a request must be before anything else looks at it.

use http::{HeaderValue, Method, Version};
use pingora::http::RequestHeader;

use super::names::Names;
use crate::listener::Limits;
use crate::response::Code;

/// Checks a request against the limits of its listener and the methods that nobody gets forwarded.
///
/// Requests of HTTP/1.1 have kept the rules of [`crate::http1`] before the engine saw them, limits included, so for
/// them there is little left.
pub(super) fn check(request: &RequestHeader, names: Names, limits: &Limits) -> Result<(), Code> {
    if request.version == Version::HTTP_2 {
        check_size(request, limits)?;
    }
    // What is not even text cannot be routed, logged or rewritten safely.
    if !request.raw_path_is_utf8() {
        return Err(Code::BadRequest);
    }
    // TRACE shows a client's credentials to whoever can make it send one; CONNECT would make a tunnel.
    if matches!(request.method, Method::TRACE | Method::CONNECT) {
        return Err(Code::MethodNotImplemented);
    }
    if names.has_expect {
        check_expectation(request)?;
    }
    Ok(())
}

/// RFC 9110 section 10.1.1: there is one expectation, and what is not understood must not be passed over.
fn check_expectation(request: &RequestHeader) -> Result<(), Code> {
    let expected = request.headers.get_all(http::header::EXPECT);
    let is_known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if expected.iter().all(is_known) && expected.iter().count() == 1 {
        Ok(())
    } else {
        Err(Code::ExpectationFailed)
    }
}

pub(super) fn check_size(request: &RequestHeader, limits: &Limits) -> Result<(), Code> {
    if request.raw_path().len() > limits.uri_bytes.as_usize() {
        return Err(Code::UriTooLong);
    }
    let headers = &request.headers;
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > usize::from(limits.headers.get()) || bytes > limits.header_bytes.as_usize() {
        return Err(Code::HeadersTooLarge);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_against_the_limits() {
        let check = |method: &str,
                     target: String,
                     headers: usize,
                     value: usize,
                     expected: Result<(), Code>| {
            let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
            request.set_version(Version::HTTP_2);
            request.insert_header("host", "a").unwrap();
            for n in 0..headers {
                request
                    .insert_header(format!("x-{n}"), "v".repeat(value))
                    .unwrap();
            }
            assert_eq!(
                super::check(&request, Names::default(), &Limits::default()),
                expected,
                "{method} {}",
                target.len()
            );
        };
        check("GET", "/".into(), 0, 0, Ok(()));
        check(
            "GET",
            format!("/{}", "a".repeat(9000)),
            0,
            0,
            Err(Code::UriTooLong),
        );
        check("GET", "/".into(), 99, 1, Ok(()));
        check("GET", "/".into(), 100, 1, Err(Code::HeadersTooLarge));
        check("GET", "/".into(), 4, 9000, Err(Code::HeadersTooLarge));
        check("TRACE", "/".into(), 0, 0, Err(Code::MethodNotImplemented));
    }

    #[test]
    fn one_expectation_is_known() {
        for (expected, outcome) in [
            ("100-continue", Ok(())),
            ("100-Continue", Ok(())),
            ("100-continue, x", Err(Code::ExpectationFailed)),
            ("200-ok", Err(Code::ExpectationFailed)),
            ("", Err(Code::ExpectationFailed)),
        ] {
            let mut request = RequestHeader::build("POST", b"/", None).unwrap();
            request.insert_header("expect", expected).unwrap();
            let names = Names {
                has_expect: true,
                ..Names::default()
            };
            assert_eq!(
                super::check(&request, names, &Limits::default()),
                outcome,
                "{expected:?}"
            );
        }
    }
}
