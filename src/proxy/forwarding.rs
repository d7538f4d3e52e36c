//! What the upstream is told of the client and its way here, and what it is not told.
//!
//! There is no `Via` (RFC 9110 section 7.6.3): `Forwarded` says the same and more, and it would be paid for by
//! every request.

use std::fmt::Write;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, FORWARDED, HOST,
    HeaderName, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use pingora::http::RequestHeader;
use smallvec::SmallVec;

use super::client_address;
use super::exchange::X_REQUEST_ID;
use crate::facts::{Facts, RequestId, Scheme, TraceContext, View, draw, host};
use crate::listener::{Connection, OverrideHeaders, Underscores};
use crate::policies::Pipeline;
use crate::text::{is_plain, plain};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Of no standard, and dangerous: a server that hands headers on as variables makes `HTTP_PROXY` of it, by which many
/// programs then send their own requests ("httpoxy", CVE-2016-5385).
const PROXY: HeaderName = HeaderName::from_static("proxy");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Fills in the client, the scheme and the ids.
pub(super) fn identify(facts: &mut Facts, connection: &Connection, request: &RequestHeader) {
    let is_hop = connection.is_from_hop;
    facts.client = connection.peer_ip();
    facts.scheme = if connection.listener.is_tls() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    if is_hop {
        let origin = client_address::of(connection, &request.headers);
        facts.client = origin.client;
        facts.scheme = origin.scheme.unwrap_or(facts.scheme);
    }
    let handshake = connection.handshake();
    facts.certificate = handshake.and_then(|handshake| handshake.client().cloned());
    let (request_id, trace_id, span_id) = draw();
    let foreign = if is_hop {
        request
            .headers
            .get(X_REQUEST_ID)
            .and_then(RequestId::from_hop)
    } else {
        None
    };
    facts.request_id = foreign.unwrap_or_else(|| RequestId::from_random(request_id));
    facts.trace =
        TraceContext::continue_or_start(request.headers.get(TRACEPARENT), trace_id, span_id);
}

/// Writes the gateway's own headers into the upstream's copy of the request's, in the place of what is not believed.
/// What could be taken for them, or for a header of a policy, is gone before anything is written: afterwards nobody
/// could tell whose it is.
pub(super) fn write(
    view: View<'_>,
    connection: &Connection,
    pipeline: &Pipeline,
    headers: &mut HeaderMap,
) {
    let View { facts, request } = view;
    let peer = connection.peer_ip();
    let has_odd_names = drop_claims(headers, connection);
    if has_odd_names || pipeline.manages_odd_names() {
        drop_twins(headers, connection, pipeline);
    }
    if connection.is_from_hop {
        client_address::drop_contradictions(connection, headers);
    }
    let host = host(request).and_then(|host| HeaderValue::from_str(host).ok());
    let mut text = String::with_capacity(64);
    join(&mut text, headers, &FORWARDED);
    forwarded_element(
        &mut text,
        connection.peer_element(),
        facts.scheme,
        host.as_ref(),
    );
    set(headers, FORWARDED, text);
    match headers.get(X_FORWARDED_FOR) {
        None => {
            headers.insert(X_FORWARDED_FOR, connection.peer_header());
        }
        Some(_) => {
            let mut text = String::with_capacity(64);
            join(&mut text, headers, &X_FORWARDED_FOR);
            // Writing to a String cannot fail.
            let _ = write!(text, "{peer}");
            set(headers, X_FORWARDED_FOR, text);
        }
    }
    let scheme = HeaderValue::from_static(facts.scheme.as_str());
    headers.insert(X_FORWARDED_PROTO, scheme);
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.insert(X_REQUEST_ID, facts.request_id.header());
    headers.insert(TRACEPARENT, facts.trace.traceparent());
    if !facts.trace.is_continued() {
        headers.remove(TRACESTATE);
    }
}

/// A client of HTTP/1.0 need not name a host, and HTTP/1.1 needs one (RFC 9112 section 3.2): then it is the endpoint's.
pub(super) fn name_host(headers: &mut HeaderMap, endpoint: Option<&str>) {
    if !headers.contains_key(HOST) {
        let address = endpoint.filter(|address| !address.starts_with("unix:"));
        let host = address.and_then(|address| HeaderValue::from_str(address).ok());
        headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    }
}

/// Drops what says where a request came from, unless it comes from a trusted hop: from anybody else that is a claim
/// which nothing supports. Drops from everybody what would have the upstream do something else than was routed. One
/// walk over the names, since a request seldom has any. Says whether some names are not plain; see [`is_plain`].
fn drop_claims(headers: &mut HeaderMap, connection: &Connection) -> bool {
    let is_from_hop = connection.is_from_hop;
    let drops_overrides = connection.listener.override_headers == OverrideHeaders::Remove;
    let mut has_odd_names = false;
    let mut claims: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for name in headers.keys() {
        has_odd_names |= !is_plain(name.as_str());
        if name == PROXY
            || (!is_from_hop && is_claim(name.as_str()))
            || (drops_overrides && is_override(name.as_str()))
        {
            claims.push(name.clone());
        }
    }
    for claim in claims {
        headers.remove(claim);
    }
    has_odd_names
}

/// Whether a header says something of a client that only a proxy can know.
fn is_claim(name: &str) -> bool {
    // By the first letter, since next to no name goes on from there, and then by the length.
    match name.as_bytes().first() {
        Some(b'x') => {
            name.starts_with("x-forwarded")
                || name.starts_with("x-ssl-client-")
                || matches!(
                    name,
                    "x-host"
                        | "x-scheme"
                        | "x-real-ip"
                        | "x-client-ip"
                        | "x-remote-ip"
                        | "x-url-scheme"
                        | "x-remote-addr"
                        | "x-rewrite-url"
                        | "x-original-uri"
                        | "x-original-url"
                        | "x-proxyuser-ip"
                        | "x-original-host"
                        | "x-azure-clientip"
                        | "x-azure-socketip"
                        | "x-originating-ip"
                        | "x-appengine-user-ip"
                        | "x-cluster-client-ip"
                        | "x-http-host-override"
                        | "x-envoy-external-address"
                        | "x-original-forwarded-for"
                )
        }
        Some(b'f') => matches!(
            name,
            "forwarded" | "forwarded-for" | "front-end-https" | "fastly-client-ip"
        ),
        Some(b't') => name == "true-client-ip",
        Some(b'c') => matches!(
            name,
            "client-ip" | "cf-pseudo-ipv4" | "cf-connecting-ip" | "cluster-client-ip" | "cf-connecting-ipv6"
                // RFC 9440; Envoy's form of it begins with x-forwarded-.
                | "client-cert" | "client-cert-chain"
        ),
        Some(b's') => name.starts_with("ssl-client-"),
        Some(b'w') => name == "wl-proxy-client-ip",
        Some(b'p') => name == "proxy-client-ip",
        _ => false,
    }
}

/// Whether some frameworks take the path or the method of a request from this header.
fn is_override(name: &str) -> bool {
    name.starts_with("x-")
        && matches!(
            name,
            "x-original-url"
                | "x-rewrite-url"
                | "x-http-method-override"
                | "x-http-method"
                | "x-method-override"
        )
}

/// Whether a header decides how a message is read, or is the gateway's own and no claim. Names without a dash have no
/// other spelling.
fn is_delicate(name: &HeaderName) -> bool {
    matches!(
        *name,
        CONTENT_LENGTH
            | TRANSFER_ENCODING
            | CONTENT_ENCODING
            | CONTENT_TYPE
            | CONTENT_RANGE
            | PROXY_AUTHORIZATION
    ) || *name == X_REQUEST_ID
}

/// Drops headers whose name is not plain: all of them, or those that a server might take for another; see
/// [`is_plain`].
///
/// What a client sends as `x_user_id` would stand beside the gateway's own `x-user-id`, or in its place. So such a
/// name goes where the plain one is there as well, is a claim, says how to read the message, or belongs to a policy
/// of the route. Where the policy's own name is not plain, the client's plain one goes.
#[cold]
fn drop_twins(headers: &mut HeaderMap, connection: &Connection, pipeline: &Pipeline) {
    let drops_all = connection.listener.underscores == Underscores::Drop;
    let drops_overrides = connection.listener.override_headers == OverrideHeaders::Remove;
    let is_twin = |name: &HeaderName| {
        if pipeline.manages_twin(name) {
            return true;
        }
        if is_plain(name.as_str()) {
            return false;
        }
        let Ok(plain) = HeaderName::try_from(plain(name.as_str())) else {
            return true;
        };
        drops_all
            || headers.contains_key(&plain)
            || is_claim(plain.as_str())
            || (drops_overrides && is_override(plain.as_str()))
            || is_delicate(&plain)
    };
    let twins: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| is_twin(name))
        .cloned()
        .collect();
    for twin in twins {
        headers.remove(twin);
    }
}

/// The values that are there already, each followed by a comma.
fn join(text: &mut String, headers: &HeaderMap, name: &HeaderName) {
    for value in headers.get_all(name) {
        if let Ok(value) = value.to_str() {
            text.push_str(value);
            text.push_str(", ");
        }
    }
}

/// One element of `Forwarded` (RFC 7239). A host is no token, because of its port, and stands in quotes.
fn forwarded_element(text: &mut String, peer: &str, scheme: Scheme, host: Option<&HeaderValue>) {
    text.push_str(peer);
    if let Some(host) = host.and_then(|host| host.to_str().ok())
        && !host.contains(['"', '\\'])
    {
        text.push_str(";host=\"");
        text.push_str(host);
        text.push('"');
    }
    text.push_str(";proto=");
    text.push_str(scheme.as_str());
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // What is joined were header values before, and what is added is ASCII.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// gRPC servers refuse calls without `te: trailers`, which the engine strips with the other hop-by-hop headers.
/// It is true of this hop as well: trailers are passed on (RFC 9110 section 10.1.4).
pub(super) fn allow_trailers(request: &RequestHeader, headers: &mut HeaderMap) {
    let wants_trailers = request
        .headers
        .get(TE)
        .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what concerns only the connection to the upstream (RFC 9110 section 7.6.1): the fields that its
/// `Connection` names, `Connection` itself, and those that older software sends without naming them.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let nominations: SmallVec<[HeaderValue; 2]> =
        headers.get_all(CONNECTION).iter().cloned().collect();
    for line in &nominations {
        for name in line.as_bytes().split(|&byte| byte == b',') {
            match HeaderName::from_bytes(name.trim_ascii()) {
                // These frame the message that is being passed on, whatever an upstream says of them.
                Ok(CONTENT_LENGTH | TRANSFER_ENCODING) | Err(_) => {}
                Ok(name) => {
                    headers.remove(name);
                }
            }
        }
    }
    // `Trailer` announces what the engine drops, or what HTTP/2 needs no announcement for.
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRAILER, UPGRADE] {
        headers.remove(name);
    }
}

/// The deadline that a gRPC client asks for: up to eight digits and a unit.
pub(super) fn grpc_timeout(request: &RequestHeader) -> Option<Duration> {
    let text = request.headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_known() {
        let check = |name: &str, expected: bool| assert_eq!(is_claim(name), expected, "{name}");
        check("x-forwarded-for", true);
        check("x-forwarded-client-cert", true);
        check("forwarded", true);
        check("x-real-ip", true);
        check("true-client-ip", true);
        check("cf-connecting-ip", true);
        check("x-original-url", true);
        check("client-cert", true);
        check("client-cert-chain", true);
        check("x-forwarded", true);
        check("x-forwardedfor", true);
        check("forwarded-for", true);
        check("front-end-https", true);
        check("x-url-scheme", true);
        check("x-scheme", true);
        check("x-host", true);
        check("x-http-host-override", true);
        check("x-ssl-client-verify", true);
        check("ssl-client-cert", true);
        check("cluster-client-ip", true);
        check("x-cluster-client-ip", true);
        check("x-remote-ip", true);
        check("x-remote-addr", true);
        check("x-originating-ip", true);
        check("x-appengine-user-ip", true);
        check("fastly-client-ip", true);
        check("forwarded-by", false);
        check("x-hosts", false);
        check("ssl-clients", false);
        check("x-request-id", false);
        check("", false);
    }

    #[test]
    fn grpc_timeouts_have_units() {
        let check = |text: &str, expected: Option<Duration>| {
            let mut request = RequestHeader::build("POST", b"/", None).unwrap();
            request.insert_header(GRPC_TIMEOUT, text).unwrap();
            assert_eq!(grpc_timeout(&request), expected, "{text}");
        };
        check("5S", Some(Duration::from_secs(5)));
        check("100m", Some(Duration::from_millis(100)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3600)));
        check("123456789n", None);
        check("5", None);
        check("S", None);
        check("-5S", None);
        check("5s", None);
    }

    #[test]
    fn forwarded_quotes_what_is_no_token() {
        let check = |host: Option<&str>, expected: &str| {
            let mut text = String::new();
            let host = host.map(|host| HeaderValue::from_str(host).unwrap());
            forwarded_element(&mut text, "for=192.0.2.1", Scheme::Https, host.as_ref());
            assert_eq!(text, expected);
        };
        check(
            Some("a.example:8443"),
            "for=192.0.2.1;host=\"a.example:8443\";proto=https",
        );
        check(None, "for=192.0.2.1;proto=https");
        check(Some("a\";by=x"), "for=192.0.2.1;proto=https");
    }
}
