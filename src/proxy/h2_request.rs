//! What HTTP/2 asks of a request and the engine leaves to whoever uses it (RFC 9113 section 8).

use http::header::COOKIE;
use http::uri::Scheme;
use http::{HeaderValue, Method, Version};
use pingora::http::RequestHeader;

use crate::facts::host;
use crate::http1::is_authority;
use crate::listener::Connection;
use crate::response::Code;

/// Checks what the engine has not refused. A request of HTTP/1.1 passes.
pub(super) fn check(request: &RequestHeader, connection: &Connection) -> Result<(), Code> {
    if request.version != Version::HTTP_2 {
        return Ok(());
    }
    let listener = &connection.listener;
    // A trusted hop passes on what it was asked for, and may have terminated TLS, or added it.
    let may_be_secure = listener.is_tls() || connection.is_from_hop;
    let may_be_clear = !listener.is_tls() || connection.is_from_hop;
    let is_well_formed = has_path(request)
        && has_scheme(request, may_be_secure, may_be_clear)
        && request.headers.values().all(is_trimmed)
        // As over HTTP/1.1: a host that no route knows but an upstream might is a way around the routes of that host.
        && host(request).is_none_or(|host| is_authority(host.as_bytes()));
    if is_well_formed {
        Ok(())
    } else {
        Err(Code::BadRequest)
    }
}

/// Joins the crumbs that clients split `cookie` into for the sake of compression: elsewhere it is one field (RFC
/// 9113 section 8.2.3).
pub(super) fn join_cookies(request: &mut RequestHeader) {
    let mut crumbs = request.headers.get_all(COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = request
        .headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // What are joined were header values before.
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        // It fails only where the name is none.
        let _ = request.insert_header(COOKIE, cookie);
    }
}

/// Whether `:path` is in origin form, or `*` for `OPTIONS` (section 8.3.1).
fn has_path(request: &RequestHeader) -> bool {
    match request.raw_path() {
        [b'/', ..] => true,
        path => path == b"*" && request.method == Method::OPTIONS,
    }
}

/// Whether `:scheme` is one that the listener serves. The engine shows it only beside an `:authority`.
fn has_scheme(request: &RequestHeader, may_be_secure: bool, may_be_clear: bool) -> bool {
    match request.uri.scheme() {
        None => true,
        Some(scheme) if *scheme == Scheme::HTTPS => may_be_secure,
        Some(scheme) => *scheme == Scheme::HTTP && may_be_clear,
    }
}

/// A value must not begin or end with white space (section 8.2.1).
fn is_trimmed(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    !is_blank(bytes.first()) && !is_blank(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str) -> RequestHeader {
        let request = http::Request::builder().method(method).uri(uri);
        let request = request.version(Version::HTTP_2).body(()).unwrap();
        RequestHeader::from(request.into_parts().0)
    }

    #[test]
    fn paths_are_in_origin_form() {
        let check = |method: &str, uri: &str, expected: bool| {
            assert_eq!(has_path(&request(method, uri)), expected, "{method} {uri}");
        };
        check("GET", "http://a/", true);
        check("GET", "/b?c", true);
        check("OPTIONS", "*", true);
        check("GET", "*", false);
    }

    #[test]
    fn schemes_are_those_of_the_listener() {
        let check = |uri: &str, secure: bool, clear: bool, expected: bool| {
            let is_right = has_scheme(&request("GET", uri), secure, clear);
            assert_eq!(is_right, expected, "{uri}");
        };
        check("https://a/", true, false, true);
        check("https://a/", false, true, false);
        check("http://a/", true, false, false);
        check("http://a/", true, true, true);
        check("ftp://a/", true, true, false);
        check("/", false, true, true);
    }

    #[test]
    fn values_are_trimmed() {
        let check = |value: &str, expected: bool| {
            let value = HeaderValue::from_str(value).unwrap();
            assert_eq!(is_trimmed(&value), expected, "{value:?}");
        };
        check("", true);
        check("a b", true);
        check(" a", false);
        check("a\t", false);
        check(" ", false);
    }

    #[test]
    fn crumbs_are_joined() {
        let check = |crumbs: &[&str], expected: &[&str]| {
            let mut request = request("GET", "/");
            for &crumb in crumbs {
                request.append_header(COOKIE, crumb).unwrap();
            }
            join_cookies(&mut request);
            let cookies: Vec<_> = request.headers.get_all(COOKIE).iter().collect();
            assert_eq!(cookies, expected);
        };
        check(&[], &[]);
        check(&["a=1; b=2"], &["a=1; b=2"]);
        check(&["a=1", "b=2", "c=3"], &["a=1; b=2; c=3"]);
    }
}
