//! `size_limits`: how long the bodies of requests and responses may be.
//!
//! ```toml
//! [listeners.public.policies]
//! size_limits = { request_body = "10MiB" }
//!
//! [routes.import.policies]
//! size_limits = { request_body = "20MiB", request_body_decompressed = "200MiB", response_body = "1MiB" }
//!
//! [routes.videos.policies]
//! size_limits = "off"
//! ```
//!
//! Without this policy there is no limit: bodies pass through and are not stored, so that the gateway's own memory
//! does not grow with them, and an upload of gigabytes needs no option. The limit is for what is behind. A small one
//! on the listener, with a larger one on the routes that need it, is good practice.
//!
//! # Requests
//! A `Content-Length` above the limit gets 413 `payload_too_large` at once: no upstream hears of the request, none
//! of its body is read, and a client that asks first (`Expect: 100-continue`) is told 413 and not 100. A body
//! without a length (chunked, or HTTP/2) is counted as it passes. Where it becomes too long the client gets 413, and
//! the connection or stream to the upstream is broken off, so that the upstream cannot take the part for the whole;
//! it may have seen that part. Where the response has begun already, that is broken off, too. The client's connection
//! is closed. gRPC callers get `RESOURCE_EXHAUSTED`; for them the body is all messages of the call together.
//!
//! # Decompressed requests
//! `request_body_decompressed` is for upstreams that decode bodies. The gateway decodes them on the side, counts,
//! throws the result away, and forwards the original. It knows `gzip`, `deflate` (the zlib format, as RFC 9110 has
//! it), `br` and `zstd`; anything else, and more than one coding, gets 415. What is no such coding, is cut short or
//! has something behind its end gets 400. A body without a coding must not be longer either. Decoding costs
//! processor time in proportion to the decoded length, in steps that let other requests have their turn, and as much
//! memory per request as the coding looks back: 32 KiB for gzip, up to 8 MiB for zstd and 16 MiB for Brotli, but
//! never more than the limit. Messages of gRPC, which are compressed one by one, are not looked into.
//!
//! # Responses
//! `response_body` is for upstreams that cannot be trusted to end. A `Content-Length` above it becomes 502
//! `upstream_response_too_large`; a body without one is broken off where it becomes too long. It counts what the
//! upstream sends, before `compression`. A length that tells what a GET would bring, in the response to a HEAD or in
//! a 304, is no body. Replies of the gateway itself have no limit.
//!
//! What passes after a connection has been switched to a WebSocket is no body, and is not counted.

mod decoding;

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    BuildScope, Flow, Hooks, OnRequest, OnRequestBody, OnResponseBody, RequestBody, ResponseBody,
    Seen,
};
use crate::facts::View;
use crate::response::{Code, Reply};
use crate::text::ByteSize;
use decoding::{Coding, Decoding};

/// The codings that can be looked into, as a client is told them (RFC 9110 section 15.5.16).
const KNOWN_CODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, br, zstd");

/// How long bodies may be. What is not set has no limit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The body of a request as it is sent. Default: no limit.
    pub request_body: Option<ByteSize>,
    /// The body of a request once its `Content-Encoding` is decoded. Default: not looked at.
    pub request_body_decompressed: Option<ByteSize>,
    /// The body of an upstream's response as it is sent. Default: no limit.
    pub response_body: Option<ByteSize>,
}

/// Refuses long bodies.
#[derive(Debug)]
pub struct Policy {
    request: Option<u64>,
    decompressed: Option<u64>,
    response: Option<u64>,
}

impl super::Policy for Policy {
    const NAME: &'static str = "size_limits";
    type Config = Config;

    fn build(config: &Config, _: &mut BuildScope<'_>) -> Option<Policy> {
        Some(Policy {
            request: config.request_body.map(ByteSize::as_u64),
            decompressed: config.request_body_decompressed.map(ByteSize::as_u64),
            response: config.response_body.map(ByteSize::as_u64),
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        if self.request.is_some() || self.decompressed.is_some() {
            hooks.on_request(self.clone());
            hooks.on_request_body(self.clone());
        }
        if self.response.is_some() {
            hooks.on_response_body(self.clone());
        }
    }
}

impl Policy {
    /// The longest body as it is sent.
    fn limit(&self, coding: Option<Coding>) -> u64 {
        let request = self.request.unwrap_or(u64::MAX);
        match coding {
            Some(_) => request,
            // What is not compressed is as long decoded as it is.
            None => request.min(self.decompressed.unwrap_or(u64::MAX)),
        }
    }

    /// The coding that has to be looked into. An error is one that cannot be.
    fn coding(&self, headers: &HeaderMap) -> Result<Option<Coding>, Code> {
        match self.decompressed {
            Some(_) => Coding::of(headers.get_all(CONTENT_ENCODING)),
            None => Ok(None),
        }
    }
}

impl OnRequest for Policy {
    fn on_request(&self, view: View<'_>) -> Flow {
        let headers = &view.request.headers;
        let coding = match self.coding(headers) {
            Ok(coding) => coding,
            Err(code) => {
                let mut reply = Reply::failure(code).closing();
                reply.headers.push((ACCEPT_ENCODING, KNOWN_CODINGS));
                return ControlFlow::Break(reply);
            }
        };
        match content_length(headers) {
            Some(length) if length > self.limit(coding) => {
                ControlFlow::Break(Reply::failure(Code::PayloadTooLarge).closing())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

impl OnRequestBody for Policy {
    fn on_request_body(&self, view: View<'_>) -> Option<Box<dyn RequestBody>> {
        let headers = &view.request.headers;
        let coding = self.coding(headers).ok()?;
        let decoding = match (coding, self.decompressed) {
            (Some(coding), Some(limit)) => Some(Decoding::new(coding, limit)),
            _ => None,
        };
        // The engine holds a body to the length that it was announced with.
        if decoding.is_none() && content_length(headers).is_some() {
            return None;
        }
        let left = self.limit(coding);
        Some(Box::new(Upload { left, decoding }))
    }
}

/// The body of a request on its way up.
struct Upload {
    /// How many more bytes there may be.
    left: u64,
    decoding: Option<Decoding>,
}

impl RequestBody for Upload {
    fn see(&mut self, chunk: &Bytes, ends: bool) -> Result<Seen, Code> {
        let left = self.left.checked_sub(chunk.len() as u64);
        self.left = left.ok_or(Code::PayloadTooLarge)?;
        match &mut self.decoding {
            Some(decoding) => decoding.see(chunk, ends),
            None => Ok(Seen::All),
        }
    }
}

impl OnResponseBody for Policy {
    fn on_response_body(
        &self,
        head: &mut Parts,
        view: View<'_>,
    ) -> Result<Option<Box<dyn ResponseBody>>, Code> {
        let Some(limit) = self.response else {
            return Ok(None);
        };
        // RFC 9110 section 8.6: here a length is that of another response.
        if view.request.method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        match content_length(&head.headers) {
            Some(length) if length > limit => Err(Code::UpstreamResponseTooLarge),
            Some(_) => Ok(None),
            None => Ok(Some(Box::new(Download { left: limit }))),
        }
    }
}

/// The body of a response on its way down.
struct Download {
    /// How many more bytes there may be.
    left: u64,
}

impl ResponseBody for Download {
    fn pass(&mut self, chunk: Option<Bytes>, _: bool) -> Result<Option<Bytes>, Code> {
        let length = chunk.as_ref().map_or(0, Bytes::len) as u64;
        let left = self.left.checked_sub(length);
        self.left = left.ok_or(Code::UpstreamResponseTooLarge)?;
        Ok(chunk)
    }
}

/// The length that a message is bound to. Beside a transfer coding it means nothing (RFC 9112 section 6.3).
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let is_chunked = headers.contains_key(TRANSFER_ENCODING);
    let length = headers.get(CONTENT_LENGTH).filter(|_| !is_chunked)?;
    length.to_str().ok()?.parse().ok()
}
