//! `compression`: responses get smaller for clients that can decode them.
//!
//! ```toml
//! [listeners.public.policies]
//! compression = { encodings = ["zstd", "br", "gzip"], min_size = "1KiB" }
//!
//! [routes.reports.policies]
//! compression = { encodings = ["gzip"], types = ["text/*", "application/pdf"], levels = { gzip = 9 } }
//!
//! [routes.login.policies]
//! compression = "off"
//! ```
//!
//! # Which responses
//! Those of a status from 200 to 299 that have a body, a media type of `types` and at least `min_size` bytes; a
//! length that is not told beforehand is taken to be enough. Never: `text/event-stream` and gRPC, whatever `types`
//! says; what has a `Content-Encoding` already; parts (206, `Content-Range`); what forbids it by
//! `Cache-Control: no-transform`, in the response or in the request; WebSockets. The gateway's own replies are treated alike, but its problem documents are too short.
//!
//! The client's `Accept-Encoding` decides (RFC 9110 section 12.5.3): the greatest weight wins, and `encodings` is
//! the order among equals. A client that sends no such header gets the response as it is.
//!
//! # What it does to the header
//! `Vary: Accept-Encoding` is there wherever another client could have got another coding. A response that is
//! compressed has no `Content-Length`, `Accept-Ranges`, `Content-MD5`, `Digest`, `Content-Digest` or `Repr-Digest`
//! any more, since they are about other bytes (RFC 9530 counts the coding in). Its `ETag` becomes a weak one: the
//! same content, not the same bytes. `If-None-Match` compares weakly, so that revalidation works as before, and a
//! 304 for a weak tag has the weak tag. `If-Match` compares strongly, and would never match a tag that the gateway
//! has weakened; so its tags go to the upstream as strong ones, and updates under optimistic locking go on working.
//! A response to HEAD has the header that one to GET would have.
//!
//! # Streams
//! What has no `Content-Length` may be made as it goes, and each part of it is passed on as soon as it comes.
//! Memory per response is bounded: 0.3 MiB for gzip, some 2 MiB for the others, a few more at their highest levels.
//!
//! Trailers of a compressed response are dropped, as RFC 9110 section 6.5.1 allows.
//!
//! # Upstreams that compress themselves
//! They see the client's `Accept-Encoding`, and what they have compressed passes as it is; nothing is compressed
//! twice. Take the header from them to have it all done here:
//! ```toml
//! [routes.reports.policies]
//! compression = {}
//! request_headers = { remove = ["accept-encoding"] }
//! ```
//!
//! # BREACH
//! The length of a compressed response over TLS tells something of its content. Where one response has both a
//! secret (a CSRF token) and text that an attacker chooses (an echoed parameter), the secret can be guessed byte
//! by byte from many lengths. Switch compression off for such routes, or do not echo.

mod encoder;
mod media;
mod negotiation;

use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH,
};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::vary::vary_on;
use super::{BuildScope, Hooks, OnResponseBody, OnUpstreamRequest, ResponseBody};
use crate::facts::View;
use crate::response::Code;
use crate::text::{Bounded, ByteSize, Spanned};
use encoder::Compressed;
use media::{MediaPattern, essence};
use negotiation::Encoding;

/// Digests of bytes that are sent no more.
static VARY_ON: HeaderValue = HeaderValue::from_static("accept-encoding");

const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Which responses are compressed, and how.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The codings to offer, the preferred first. Default `["zstd", "br", "gzip"]`.
    pub encodings: Option<Spanned<Vec<Encoding>>>,
    /// Shorter bodies are left alone, where their length is told. Default `"1KiB"`.
    pub min_size: Option<ByteSize>,
    /// The media types to compress. Default: `text/*`, JSON, XML, JavaScript, WebAssembly, SVG and other text,
    /// fonts and pictures that are not compressed by themselves.
    pub types: Option<Spanned<Vec<MediaPattern>>>,
    pub levels: Levels,
}

/// How hard each encoder tries. Higher levels cost a multiple of the time for some percent of the size, and the
/// time is taken from other requests; so those that are made for archives cannot be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Levels {
    /// 1 to 9. Default 3.
    pub zstd: Option<Bounded<1, 9>>,
    /// 1 to 6. Default 4.
    pub br: Option<Bounded<1, 6>>,
    /// 1 to 9. Default 6.
    pub gzip: Option<Bounded<1, 9>>,
}

impl Levels {
    fn zstd(self) -> u16 {
        self.zstd.map_or(3, Bounded::get)
    }

    fn br(self) -> u16 {
        self.br.map_or(4, Bounded::get)
    }

    fn gzip(self) -> u16 {
        self.gzip.map_or(6, Bounded::get)
    }
}

/// Compresses responses.
#[derive(Debug)]
pub struct Policy {
    encodings: Box<[Encoding]>,
    min_size: u64,
    types: Box<[MediaPattern]>,
    levels: Levels,
}

impl super::Policy for Policy {
    const NAME: &'static str = "compression";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let before = scope.subject.error_count();
        if let Some(encodings) = &config.encodings {
            check_encodings(encodings, scope);
        }
        if let Some(types) = &config.types
            && types.value.is_empty()
        {
            let what = "is empty, so that nothing is compressed";
            let mut subject = scope.subject.key("types");
            let problem = subject.error(types.span, what);
            problem.help("leave it out for the usual types, or write compression = \"off\"");
        }
        let encodings = config.encodings.as_ref().map(|list| list.value.clone());
        let types = match &config.types {
            Some(types) => types.value.clone(),
            None => media::DEFAULTS
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
        };
        (scope.subject.error_count() == before).then_some(Policy {
            encodings: encodings.unwrap_or(Encoding::ALL.to_vec()).into(),
            min_size: config.min_size.unwrap_or(ByteSize::from_kib(1)).as_u64(),
            types: types.into(),
            levels: config.levels,
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_upstream_request(self.clone());
        hooks.on_response_body(self.clone());
    }
}

fn check_encodings(encodings: &Spanned<Vec<Encoding>>, scope: &mut BuildScope<'_>) {
    let list = &encodings.value;
    let mut subject = scope.subject.key("encodings");
    if list.is_empty() {
        let problem = subject.error(encodings.span, "is empty, so that nothing is compressed");
        problem.help("leave it out for all of them, or write compression = \"off\"");
    }
    for (index, encoding) in list.iter().enumerate() {
        if list.iter().take(index).any(|before| before == encoding) {
            let what = format!("has \"{}\" twice", encoding.as_str());
            subject.error(encodings.span, what);
        }
    }
}

impl OnUpstreamRequest for Policy {
    /// The tags that the client has may be ones that this policy has weakened.
    fn on_upstream_request(&self, headers: &mut HeaderMap, _: View<'_>) {
        let http::header::Entry::Occupied(mut lines) = headers.entry(IF_MATCH) else {
            return;
        };
        for line in lines.iter_mut() {
            if let Ok(strong) = HeaderValue::try_from(strengthen(line.as_bytes())) {
                *line = strong;
            }
        }
    }
}

impl OnResponseBody for Policy {
    fn on_response_body(
        &self,
        head: &mut Parts,
        view: View<'_>,
    ) -> Result<Option<Box<dyn ResponseBody>>, Code> {
        let request = &view.request.headers;
        if head.status == StatusCode::NOT_MODIFIED {
            weaken_revalidated(&mut head.headers, request);
            return Ok(None);
        }
        let length = content_length(&head.headers);
        if !self.can_compress(head, length) {
            return Ok(None);
        }
        vary_on(&mut head.headers, &VARY_ON);
        if forbids_transform(request) {
            return Ok(None);
        }
        let accepted = request.get_all(ACCEPT_ENCODING);
        let Some(encoding) = negotiation::choose(accepted.iter(), &self.encodings) else {
            return Ok(None);
        };
        rewrite(&mut head.headers, encoding);
        let body = Compressed::new(encoding, self.levels, length);
        Ok(Some(Box::new(body)))
    }
}

impl Policy {
    /// Whether the response would be compressed for a client that wants it.
    fn can_compress(&self, head: &Parts, length: Option<u64>) -> bool {
        let has_content = head.status.is_success()
            && ![
                StatusCode::NO_CONTENT,
                StatusCode::RESET_CONTENT,
                StatusCode::PARTIAL_CONTENT,
            ]
            .contains(&head.status);
        let headers = &head.headers;
        has_content
            && length.is_none_or(|length| length > 0 && length >= self.min_size)
            && self.is_compressible(headers)
            && !headers.contains_key(CONTENT_RANGE)
            && headers
                .get_all(CONTENT_ENCODING)
                .iter()
                .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
            && !forbids_transform(headers)
    }

    fn is_compressible(&self, headers: &HeaderMap) -> bool {
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let Some(media) = content_type.map(essence) else {
            return false;
        };
        let is_stream = media.eq_ignore_ascii_case("text/event-stream")
            || media
                .get(.."application/grpc".len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case("application/grpc"));
        !is_stream && self.types.iter().any(|pattern| pattern.matches(media))
    }
}

/// Makes the header that of the compressed response.
fn rewrite(headers: &mut HeaderMap, encoding: Encoding) {
    headers.insert(
        CONTENT_ENCODING,
        HeaderValue::from_static(encoding.as_str()),
    );
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    for digest in &DIGESTS {
        headers.remove(digest);
    }
    if let Some(tag) = headers.get_mut(ETAG) {
        weaken(tag);
    }
}

fn weaken(tag: &mut HeaderValue) {
    if tag.as_bytes().starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        *tag = weak;
    }
}

/// A list of tags without the marks of weak ones. `W/` inside of quotes is part of a tag.
fn strengthen(tags: &[u8]) -> Vec<u8> {
    let mut strong = Vec::with_capacity(tags.len());
    let (mut rest, mut is_quoted) = (tags, false);
    while let Some((&byte, after)) = rest.split_first() {
        if !is_quoted && rest.starts_with(b"W/\"") {
            rest = after.strip_prefix(b"/").unwrap_or(after);
            continue;
        }
        is_quoted ^= byte == b'"';
        strong.push(byte);
        rest = after;
    }
    strong
}

/// A 304 says nothing of the content that the client has. That its tag was weakened shows that it is compressed:
/// then the tag of the 304 must be the same, or a cache could not tell which response is meant (RFC 9111 section
/// 4.3.4).
fn weaken_revalidated(headers: &mut HeaderMap, request: &HeaderMap) {
    let Some(tag) = headers.get_mut(ETAG) else {
        return;
    };
    let mut weak = tag.clone();
    weaken(&mut weak);
    let is_asked = |line: &HeaderValue| {
        let line = line.as_bytes();
        line.windows(weak.len()).any(|part| part == weak.as_bytes())
    };
    if weak != *tag && request.get_all(IF_NONE_MATCH).iter().any(is_asked) {
        *tag = weak;
        vary_on(headers, &VARY_ON);
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn forbids_transform(headers: &HeaderMap) -> bool {
    has_member(headers, CACHE_CONTROL, "no-transform")
}

/// Whether a header that is a list of words has this one, in any case.
fn has_member(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let is_word = |member: &[u8]| member.trim_ascii().eq_ignore_ascii_case(word.as_bytes());
    let mut lines = headers.get_all(name).iter();
    lines.any(|line| line.as_bytes().split(|&byte| byte == b',').any(is_word))
}
