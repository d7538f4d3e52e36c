//! Credentials leave a request once it is known whose they are, or that nobody's: no condition, rewrite, template, log,
//! response hook or upstream sees them. What comes before the authenticators does: routes, and the request hooks of
//! policies such as `https_redirect`, whose replies are written without them.

use http::HeaderValue;
use http::header::COOKIE;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::exchange::Exchange;
use super::target;
use crate::policies::Credential;

/// Takes out of the request what the route's authenticators look at, and the gateway's own cookies on every route. An
/// action that logs in and out reads these itself, and has no upstream.
pub(super) fn hide(session: &mut Session, exchange: &mut Exchange) {
    let pipeline = &exchange.route.pipeline;
    let hidden = pipeline.credentials();
    if !hidden.is_empty() {
        remove(session.req_header_mut(), hidden);
    }
    if let Some(own) = exchange.own_cookies.take()
        && exchange.route.action.later().is_none()
    {
        let is_own = |name: &[u8]| own.has(name) && !pipeline.keeps_cookie(name);
        remove_cookies(session.req_header_mut(), is_own);
    }
}

/// Takes credentials out of a request.
fn remove(request: &mut RequestHeader, credentials: &[Credential]) {
    for credential in credentials {
        match credential {
            Credential::Header(name) => {
                request.remove_header(name);
            }
            Credential::Cookie(name) => remove_cookies(request, |it| it == name.as_bytes()),
            Credential::Query(name) => remove_parameter(request, name),
        }
    }
}

fn remove_cookies(request: &mut RequestHeader, is_named: impl Fn(&[u8]) -> bool) {
    let is_meant = |pair: &[u8]| {
        let end = pair.iter().position(|&byte| byte == b'=');
        let own = pair.get(..end.unwrap_or(pair.len())).unwrap_or_default();
        is_named(own.trim_ascii())
    };
    let lines = || request.headers.get_all(COOKIE).iter();
    let pairs = |line: &HeaderValue| line.as_bytes().split(|&byte| byte == b';').any(is_meant);
    if !lines().any(pairs) {
        return;
    }
    let mut kept = Vec::new();
    for line in lines() {
        for pair in line.as_bytes().split(|&byte| byte == b';') {
            let pair = pair.trim_ascii();
            if !pair.is_empty() && !is_meant(pair) {
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(pair);
            }
        }
    }
    request.remove_header(&COOKIE);
    // What was in a header value is fit for one.
    if let Ok(value) = HeaderValue::from_bytes(&kept)
        && !kept.is_empty()
    {
        let _ = request.insert_header(COOKIE, value);
    }
}

fn remove_parameter(request: &mut RequestHeader, name: &str) {
    let Some(query) = request.uri.query() else {
        return;
    };
    let is_meant = |pair: &&str| is_named(pair.split('=').next().unwrap_or_default(), name);
    if !query.split('&').any(|pair| is_meant(&pair)) {
        return;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_meant(pair)).collect();
    let mut shorter = request.uri.path().to_owned();
    if !kept.is_empty() {
        shorter.push('?');
        shorter.push_str(&kept.join("&"));
    }
    // Some of a target that was one.
    let _ = target::replace(request, shorter);
}

/// Whether a parameter has this name, however it is encoded.
fn is_named(written: &str, name: &str) -> bool {
    let mut bytes = written.as_bytes();
    let mut expected = name.bytes();
    while let [first, rest @ ..] = bytes {
        let encoded = rest.get(..2).filter(|_| *first == b'%');
        let encoded = encoded.and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = encoded.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = match (decoded, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, byte) => *byte,
        };
        bytes = match decoded {
            Some(_) => rest.get(2..).unwrap_or_default(),
            None => rest,
        };
        if expected.next() != Some(byte) {
            return false;
        }
    }
    expected.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        credential: Credential,
        target: &str,
        cookies: &[&str],
        expected: (&str, Option<&str>),
    ) {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for cookie in cookies {
            request.append_header("cookie", *cookie).unwrap();
        }
        request.insert_header("x-api-key", "secret").unwrap();
        remove(&mut request, &[credential]);
        let cookie = request.headers.get(COOKIE);
        let cookie = cookie.map(|cookie| cookie.to_str().unwrap());
        let target = request.uri.path_and_query().unwrap().as_str();
        assert_eq!((target, cookie), expected);
    }

    #[test]
    fn one_cookie_goes_and_the_others_stay() {
        let check = |cookies: &[&str], expected: Option<&str>| {
            check(
                Credential::Cookie("sid".into()),
                "/",
                cookies,
                ("/", expected),
            );
        };
        check(&["sid=1"], None);
        check(&["a=1; sid=2; b=3"], Some("a=1; b=3"));
        check(&["a=1", "sid=2;sid=3", "b=\"x=y\""], Some("a=1; b=\"x=y\""));
        check(&["sid = 1 ; a=1"], Some("a=1"));
        check(&["sid"], None);
        check(&["SID=1; sid2=2; xsid=3"], Some("SID=1; sid2=2; xsid=3"));
        check(&["a=sid=1;  b"], Some("a=sid=1;  b"));
        check(&[], None);
    }

    #[test]
    fn one_parameter_goes_and_the_others_stay() {
        let check = |target: &str, expected: &str| {
            check(
                Credential::Query("api key".into()),
                target,
                &[],
                (expected, None),
            );
        };
        check("/a?api+key=1", "/a");
        check("/a?b=1&api%20key=2&c", "/a?b=1&c");
        check("/a?%61pi+key=1&api+key=2&api+key&x=%2B", "/a?x=%2B");
        check("/a?api+keys=1&&apikey=2", "/a?api+keys=1&&apikey=2");
        check("/a?b=api+key", "/a?b=api+key");
        check("/a%2Cb?", "/a%2Cb?");
        check("/a", "/a");
    }

    #[test]
    fn a_header_goes() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.append_header("X-Api-Key", "1").unwrap();
        request.append_header("x-api-key", "2").unwrap();
        let name = http::HeaderName::from_static("x-api-key");
        remove(&mut request, &[Credential::Header(name)]);
        assert!(request.headers.is_empty());
    }
}
