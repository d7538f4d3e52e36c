//! What may be kept (RFC 9111 section 3), and what of it is (section 3.1).

use http::header::{
    AGE, CONNECTION, CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, StatusCode};

use super::directives::{Extent, RequestDirectives, ResponseDirectives};
use super::freshness::{Given, Lifetime, is_explicit, is_heuristic};
use super::ranges::ContentRange;
use super::vary::Vary;

/// Why a response is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// The request or the response says so (`no-store`).
    NoStore,
    /// It is for its client alone (`private`).
    Private,
    /// Its client has proven who it is, and it does not say that others may have it (section 3.5).
    Personal,
    /// It sets a cookie, and does not say that everybody is to have that one.
    Cookie,
    /// No later request could be known to be for it (`Vary: *`).
    Varies,
    /// Its status says nothing of the kind by itself, or is not understood.
    Status,
    /// It would be good for nothing: it is not fresh, and nothing tells whether it is still what the upstream has.
    Useless,
    /// A part of something, and it is not clear of what.
    Part,
    /// Its end cannot be told from its connection's being cut.
    Unframed,
    /// Its body is larger than what is kept, or there is no room.
    TooLarge,
    /// It was not asked for often enough.
    Rare,
    /// Another than the route's upstream has answered.
    Degraded,
}

impl WhyNot {
    /// In `Cache-Status`.
    pub fn as_str(self) -> &'static str {
        match self {
            WhyNot::NoStore => "no_store",
            WhyNot::Private => "private",
            WhyNot::Personal => "personal",
            WhyNot::Cookie => "set_cookie",
            WhyNot::Varies => "varies",
            WhyNot::Status => "status",
            WhyNot::Useless => "useless",
            WhyNot::Part => "part",
            WhyNot::Unframed => "unframed",
            WhyNot::TooLarge => "too_large",
            WhyNot::Rare => "rare",
            WhyNot::Degraded => "degraded",
        }
    }
}

/// What is asked before a response is kept.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub status: StatusCode,
    pub headers: &'a HeaderMap,
    pub directives: &'a ResponseDirectives,
    pub lifetime: &'a Lifetime,
    pub request: &'a RequestDirectives,
    /// Whether its client has proven who it is, and the key does not tell who that is.
    pub is_personal: bool,
    pub given: &'a Given,
}

/// Whether a response to `GET` may be kept and shared.
pub fn may_store(question: &Question<'_>) -> Result<(), WhyNot> {
    let Question {
        status,
        headers,
        directives,
        lifetime,
        ..
    } = *question;
    let is_understood = is_understood(status);
    // Who understands the status may do what `no-store` forbids to those who do not (section 5.2.2.3).
    let is_forbidden = directives.no_store && !(directives.must_understand && is_understood);
    if is_forbidden || question.request.no_store {
        return Err(WhyNot::NoStore);
    }
    if directives.private == Extent::All {
        return Err(WhyNot::Private);
    }
    let says_all = directives.public || directives.s_maxage.is_some();
    let shares_cookies = says_all || question.given.shares_cookies;
    if question.is_personal && !says_all && !directives.must_revalidate {
        return Err(WhyNot::Personal);
    }
    let is_taken_out = |extent: &Extent| extent.fields().contains(&SET_COOKIE);
    if headers.contains_key(SET_COOKIE)
        && !shares_cookies
        && !is_taken_out(&directives.no_cache)
        && !is_taken_out(&directives.private)
    {
        return Err(WhyNot::Cookie);
    }
    if Vary::of(headers) == Vary::Anything {
        return Err(WhyNot::Varies);
    }
    if status.is_informational()
        || status == StatusCode::NOT_MODIFIED
        // They answer what this request alone has said of conditions and ranges.
        || status == StatusCode::PRECONDITION_FAILED
        || status == StatusCode::RANGE_NOT_SATISFIABLE
        || (directives.must_understand && !is_understood)
    {
        return Err(WhyNot::Status);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let mut ranges = headers.get_all(CONTENT_RANGE).iter();
        // Of other responses it says nothing (RFC 9110 section 14.4).
        let part = ranges.next().and_then(ContentRange::parse);
        if part.is_none() || ranges.next().is_some() {
            return Err(WhyNot::Part);
        }
    }
    let is_said = is_explicit(headers, directives)
        || directives.public
        || question.given.ttl.is_some()
        || question.given.silent.is_some();
    if !is_said && !is_heuristic(status) {
        return Err(WhyNot::Status);
    }
    let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    if !has_validator && lifetime.is_of_use_for().is_zero() {
        return Err(WhyNot::Useless);
    }
    Ok(())
}

/// Whether it is known what the status means for caches (RFC 9110 section 15).
fn is_understood(status: StatusCode) -> bool {
    let status = status.as_u16();
    matches!(
        status,
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511
    ) && status != 304
}

/// Of connections and hops, not of responses (RFC 9111 section 3.1, RFC 9110 section 7.6.1).
const NEVER: [HeaderName; 10] = [
    AGE,
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

/// Takes out what is not kept. Gives what of it whoever asked first gets all the same.
pub fn strip(headers: &mut HeaderMap, directives: &ResponseDirectives) -> Option<Box<HeaderMap>> {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in nominated
        .iter()
        .chain(&NEVER)
        .chain([&PROXY_AUTHENTICATION_INFO])
    {
        headers.remove(name);
    }
    let mut own = HeaderMap::new();
    let fields = directives.no_cache.fields().iter();
    for name in fields.chain(directives.private.fields()) {
        for value in headers.get_all(name) {
            own.append(name, value.clone());
        }
        headers.remove(name);
    }
    (!own.is_empty()).then(|| Box::new(own))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn ask(
        status: u16,
        lines: &[(&'static str, &'static str)],
        is_personal: bool,
    ) -> Result<(), WhyNot> {
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers(lines));
        let directives = ResponseDirectives::of(&headers, &[]);
        let given = Given {
            is_heuristic: true,
            ..Given::default()
        };
        let at = std::time::SystemTime::now();
        may_store(&Question {
            status,
            headers: &headers,
            directives: &directives,
            lifetime: &Lifetime::of(status, &headers, &directives, at, &given),
            request: &RequestDirectives::default(),
            is_personal,
            given: &given,
        })
    }

    #[test]
    fn what_may_be_kept() {
        let check =
            |status, control: &'static str, others: &[(&'static str, &'static str)], expected| {
                let lines: Vec<_> = [("cache-control", control)]
                    .iter()
                    .chain(others)
                    .copied()
                    .collect();
                assert_eq!(ask(status, &lines, false), expected, "{status} {lines:?}");
            };
        check(200, "max-age=5", &[], Ok(()));
        check(200, "max-age=0", &[], Err(WhyNot::Useless));
        check(200, "max-age=0", &[("etag", "\"a\"")], Ok(()));
        check(200, "no-store, max-age=5", &[], Err(WhyNot::NoStore));
        check(200, "no-store, must-understand, max-age=5", &[], Ok(()));
        check(
            599,
            "no-store, must-understand, max-age=5",
            &[],
            Err(WhyNot::NoStore),
        );
        check(599, "must-understand, max-age=5", &[], Err(WhyNot::Status));
        check(599, "max-age=5", &[], Ok(()));
        check(200, "private, max-age=5", &[], Err(WhyNot::Private));
        check(200, "private=\"x\", max-age=5", &[], Ok(()));
        check(200, "max-age=5", &[("vary", "*")], Err(WhyNot::Varies));
        check(
            200,
            "max-age=5",
            &[("set-cookie", "a=b")],
            Err(WhyNot::Cookie),
        );
        check(200, "public, max-age=5", &[("set-cookie", "a=b")], Ok(()));
        check(
            200,
            "no-cache=\"set-cookie\", max-age=5",
            &[("set-cookie", "a=b")],
            Ok(()),
        );
        check(302, "", &[("etag", "\"a\"")], Err(WhyNot::Status));
        check(302, "max-age=5", &[], Ok(()));
        check(304, "max-age=5", &[], Err(WhyNot::Status));
        check(206, "max-age=5", &[], Err(WhyNot::Part));
        check(412, "max-age=5", &[], Err(WhyNot::Status));
        check(416, "max-age=5", &[], Err(WhyNot::Status));
        check(
            206,
            "max-age=5",
            &[("content-range", "bytes 0-1/4")],
            Ok(()),
        );
        check(
            200,
            "max-age=5",
            &[("content-range", "bytes 0-1/4")],
            Ok(()),
        );
        let two = [("content-range", "bytes 0-1/4"); 2];
        check(206, "max-age=5", &two, Err(WhyNot::Part));
    }

    #[test]
    fn what_somebody_has_proven_for_is_his() {
        for (control, expected) in [
            ("max-age=5", Err(WhyNot::Personal)),
            ("public, max-age=5", Ok(())),
            ("s-maxage=5", Ok(())),
            ("must-revalidate, max-age=5", Ok(())),
            ("proxy-revalidate, max-age=5", Err(WhyNot::Personal)),
        ] {
            assert_eq!(
                ask(200, &[("cache-control", control)], true),
                expected,
                "{control}"
            );
        }
    }

    #[test]
    fn what_is_of_the_hop_is_not_kept() {
        let mut kept = headers(&[
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("age", "5"),
            ("x-own", "2"),
            ("x-all", "3"),
        ]);
        let directives =
            ResponseDirectives::of(&headers(&[("cache-control", "private=\"x-own\"")]), &[]);
        let own = strip(&mut kept, &directives).expect("something for the first");
        assert_eq!(own.get("x-own").unwrap(), "2");
        assert_eq!(kept, headers(&[("x-all", "3")]));
    }
}
