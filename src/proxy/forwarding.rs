//! What the upstream is told of the client and its way here, and what it is not told.
//!
//! There is no `Via` (RFC 9110 section 7.6.3): `Forwarded` says the same and more, and it would be paid for by
//! every request.

use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use pingora::http::RequestHeader;
use smallvec::SmallVec;

use super::client_address;
use super::exchange::{Exchange, X_REQUEST_ID};
use super::fallback::X_NORTHGATE_DEGRADED;
use super::names::{Names, drop_suspects, is_claim, is_override};
use crate::facts::{Facts, RequestId, Scheme, TraceContext, View, draw, host_header};
use crate::listener::Connection;
use crate::policies::Pipeline;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Fills in the client, the scheme and the ids.
pub(super) fn identify(
    facts: &mut Facts,
    names: Names,
    connection: &Connection,
    request: &RequestHeader,
) {
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
    let traceparent = names
        .has_traceparent
        .then(|| request.headers.get(TRACEPARENT));
    facts.trace = TraceContext::continue_or_start(traceparent.flatten(), trace_id, span_id);
}

/// Writes the gateway's own headers into the upstream's copy of the request's, in the place of what is not believed.
/// What could be taken for them, or for a header of a policy, is gone before anything is written: afterwards nobody
/// could tell whose it is.
pub(super) fn write(
    view: View<'_>,
    names: Names,
    connection: &Connection,
    pipeline: &Pipeline,
    headers: &mut HeaderMap,
) {
    let View { facts, request } = view;
    if names.has_suspect || pipeline.manages_odd_names() {
        drop_suspects(headers, connection, pipeline);
    }
    let (mut forwarded, mut clients) = (Text::new(), Text::new());
    if connection.is_from_hop {
        client_address::drop_contradictions(connection, headers);
        join(&mut forwarded, headers, &FORWARDED);
        join(&mut clients, headers, &X_FORWARDED_FOR);
    }
    let host = host_header(request);
    forwarded_element(
        &mut forwarded,
        connection.peer_element(),
        facts.scheme,
        host.as_ref(),
    );
    set(headers, FORWARDED, &forwarded);
    let peer = connection.peer_header();
    if clients.is_empty() {
        headers.insert(X_FORWARDED_FOR, peer);
    } else {
        clients.extend_from_slice(peer.as_bytes());
        set(headers, X_FORWARDED_FOR, &clients);
    }
    let scheme = HeaderValue::from_static(facts.scheme.as_str());
    headers.insert(X_FORWARDED_PROTO, scheme);
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.insert(X_REQUEST_ID, facts.request_id.header());
    headers.insert(TRACEPARENT, facts.trace.traceparent());
    if names.has_tracestate && !facts.trace.is_continued() {
        headers.remove(TRACESTATE);
    }
}

/// What requests that the gateway makes for the sake of this one say as it does: where it comes from, if a trusted hop has said
/// so, and the state of the trace that they go on with. Of what is asked for a hop says nothing that is true of them.
pub(super) fn handed_on(exchange: &Exchange, request: &RequestHeader) -> HeaderMap {
    let is_from_hop = exchange
        .connection
        .as_ref()
        .is_some_and(|it| it.is_from_hop);
    let is_continued = exchange.facts.trace.is_continued();
    let is_of_target = |name: &str| is_override(name) || name == "x-original-uri";
    let is_handed_on = |name: &HeaderName| match name.as_str() {
        "tracestate" => is_continued,
        name => is_from_hop && is_claim(name) && !is_of_target(name),
    };
    let mut headers = HeaderMap::new();
    if is_from_hop || is_continued {
        for (name, value) in request
            .headers
            .iter()
            .filter(|(name, _)| is_handed_on(name))
        {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// A client of HTTP/1.0 need not name a host, and HTTP/1.1 needs one (RFC 9112 section 3.2): then it is the endpoint's.
pub(super) fn name_host(headers: &mut HeaderMap, endpoint: Option<&str>) {
    if !headers.contains_key(HOST) {
        let address = endpoint.filter(|address| !address.starts_with("unix:"));
        let host = address.and_then(|address| HeaderValue::from_str(address).ok());
        headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    }
}

/// A value as it is put together.
type Text = SmallVec<[u8; 128]>;

/// The values that are there already, each followed by a comma.
fn join(text: &mut Text, headers: &HeaderMap, name: &HeaderName) {
    for value in headers.get_all(name) {
        if value.to_str().is_ok() {
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b", ");
        }
    }
}

/// One element of `Forwarded` (RFC 7239). A host is no token, because of its port, and stands in quotes.
fn forwarded_element(text: &mut Text, peer: &str, scheme: Scheme, host: Option<&HeaderValue>) {
    text.extend_from_slice(peer.as_bytes());
    if let Some(host) = host.map(HeaderValue::as_bytes)
        && !host.iter().any(|byte| matches!(byte, b'"' | b'\\'))
    {
        text.extend_from_slice(b";host=\"");
        text.extend_from_slice(host);
        text.push(b'"');
    }
    text.extend_from_slice(b";proto=");
    text.extend_from_slice(scheme.as_str().as_bytes());
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    // What is joined were header values before, and what is added is ASCII.
    if let Ok(value) = HeaderValue::from_bytes(value) {
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
/// `Connection` names, `Connection` itself, and those that older software sends without naming them. And what only the
/// gateway says.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.keys().any(is_for_this_hop) {
        strip(headers);
    }
}

fn is_for_this_hop(name: &HeaderName) -> bool {
    // As text, which tells most names apart by their length.
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "trailer"
            | "upgrade"
            | "x-northgate-degraded"
    )
}

fn strip(headers: &mut HeaderMap) {
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
    let always = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TRAILER,
        UPGRADE,
        X_NORTHGATE_DEGRADED,
    ];
    for name in always {
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

/// As `grpc-timeout` says it, never more than it is: at most eight digits, in the finest unit that is fine enough.
pub(super) fn write_grpc_timeout(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let (amount, unit) = match (left.as_micros(), left.as_millis()) {
        (micros, _) if micros <= MOST => (micros, 'u'),
        (_, millis) if millis <= MOST => (millis, 'm'),
        _ => (u128::from(left.as_secs()).min(MOST), 'S'),
    };
    let text = format!("{amount}{unit}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_grpc_are_written_as_they_are_read() {
        let check = |left: Duration, expected: &str| {
            assert_eq!(write_grpc_timeout(left), expected, "{left:?}");
        };
        check(Duration::ZERO, "0u");
        check(Duration::from_nanos(1999), "1u");
        check(Duration::from_millis(1500), "1500000u");
        check(Duration::from_secs(99), "99000000u");
        check(Duration::from_millis(100_001), "100001m");
        check(Duration::from_secs(100_000), "100000S");
        check(Duration::MAX, "99999999S");
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
            let mut text = Text::new();
            let host = host.map(|host| HeaderValue::from_str(host).unwrap());
            forwarded_element(&mut text, "for=192.0.2.1", Scheme::Https, host.as_ref());
            assert_eq!(std::str::from_utf8(&text), Ok(expected));
        };
        check(
            Some("a.example:8443"),
            "for=192.0.2.1;host=\"a.example:8443\";proto=https",
        );
        check(None, "for=192.0.2.1;proto=https");
        check(Some("a\";by=x"), "for=192.0.2.1;proto=https");
    }
}
