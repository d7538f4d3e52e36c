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
    if question.is_personal && !says_all && !directives.must_revalidate {
        return Err(WhyNot::Personal);
    }
    let is_taken_out = |extent: &Extent| extent.fields().contains(&SET_COOKIE);
    if headers.contains_key(SET_COOKIE)
        && !says_all
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
        || (directives.must_understand && !is_understood)
    {
        return Err(WhyNot::Status);
    }
    let part = headers.get(CONTENT_RANGE).map(ContentRange::parse);
    match (status == StatusCode::PARTIAL_CONTENT, part) {
        (false, None) | (true, Some(Some(_))) => {}
        _ => return Err(WhyNot::Part),
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

/// Takes out what is not kept.
pub fn strip(headers: &mut HeaderMap, directives: &ResponseDirectives) {
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
    let own = directives.no_cache.fields().iter();
    for name in own.chain(directives.private.fields()) {
        headers.remove(name);
    }
}
