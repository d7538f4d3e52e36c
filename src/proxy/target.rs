//! The target of a request, in the one form in which everything else sees it.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Uri};
use pingora::http::RequestHeader;

use crate::response::{Code, Reply};
use crate::text::{PathRefusal, PathRules, normalise_path, refuse_query};

/// Puts the path into its normal form, for the routes as for the upstream. A reply where there is none.
pub(super) fn normalise(request: &mut RequestHeader, rules: &PathRules) -> Result<(), Reply> {
    try_normalise(request, rules).map_err(|refusal| match refusal {
        PathRefusal::TooLong => Reply::failure(Code::UriTooLong),
        refusal => Reply::failure(Code::PathRefused).detail(refusal.to_string()),
    })
}

fn try_normalise(request: &mut RequestHeader, rules: &PathRules) -> Result<(), PathRefusal> {
    let target = request.raw_path();
    if target.first() != Some(&b'/') {
        // RFC 9112 section 3.2.4: of the server as a whole. Any other form has been refused, and an absolute one has
        // become a path.
        let is_of_server = target == b"*" && request.method == Method::OPTIONS;
        return if is_of_server {
            Ok(())
        } else {
            Err(PathRefusal::Form)
        };
    }
    if let Some(query) = request.uri.query() {
        refuse_query(query)?;
    }
    match normalise_path(request.uri.path(), rules)? {
        None => Ok(()),
        Some(path) => replace_path(request, path),
    }
}

#[cold]
fn replace_path(request: &mut RequestHeader, path: String) -> Result<(), PathRefusal> {
    let mut target = path;
    if let Some(query) = request.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    replace(request, target)
}

/// Puts another path and query in the place of a request's.
pub(super) fn replace(request: &mut RequestHeader, target: String) -> Result<(), PathRefusal> {
    let too_long = |_| PathRefusal::TooLong;
    let mut parts = request.uri.clone().into_parts();
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(too_long)?;
    parts.path_and_query = Some(target);
    let uri = Uri::from_parts(parts).map_err(|_| PathRefusal::Form)?;
    request.set_uri(uri);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_one_form() {
        let check = |method: &str, target: &str, expected: Result<&str, PathRefusal>| {
            let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
            let normal = try_normalise(&mut request, &PathRules::default());
            let target_now = request.uri.path_and_query().unwrap().as_str();
            assert_eq!(normal.map(|()| target_now), expected, "{method} {target}");
        };
        check("GET", "/a?b", Ok("/a?b"));
        check("GET", "/%61/../b?../c", Ok("/b?../c"));
        check("OPTIONS", "*", Ok("*"));
        for target in ["*", "x", "?a", "http://x/a", "a/b", "://x/"] {
            check("GET", target, Err(PathRefusal::Form));
        }
        check("OPTIONS", "x:80", Err(PathRefusal::Form));
        check("GET", "/a?\u{e9}", Err(PathRefusal::NotAscii));
        check("GET", "/a%2fb", Err(PathRefusal::EncodedSlash));
        let long = format!("/{}", "|".repeat(30_000));
        check("GET", &long, Err(PathRefusal::TooLong));
    }

    #[test]
    fn an_authority_stays() {
        let uri = Uri::from_static("https://shop.test:8443/a/../b?c");
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.uri = uri;
        let mut request = RequestHeader::from(parts);
        try_normalise(&mut request, &PathRules::default()).unwrap();
        assert_eq!(request.uri, "https://shop.test:8443/b?c");
        assert_eq!(request.raw_path(), b"/b?c");
    }
}
