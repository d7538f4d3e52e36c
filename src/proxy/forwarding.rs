//! Who the client is, behind which hops, and what the upstream is told of it.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use pingora::http::RequestHeader;
use smallvec::SmallVec;

use super::exchange::X_REQUEST_ID;
use crate::facts::{Facts, RequestId, Scheme, TraceContext, View, draw, host};
use crate::listener::Connection;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Fills in the client, the scheme and the ids.
pub(super) fn identify(facts: &mut Facts, connection: &Connection, request: &RequestHeader) {
    let peer = connection.peer_ip();
    let is_hop = connection.is_from_hop;
    facts.client = if is_hop {
        client_behind(peer, connection, &request.headers)
    } else {
        peer
    };
    facts.scheme = if connection.listener.is_tls() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    if is_hop && let Some(proto) = request.headers.get(X_FORWARDED_PROTO) {
        match proto.as_bytes() {
            b"https" => facts.scheme = Scheme::Https,
            b"http" => facts.scheme = Scheme::Http,
            _ => {}
        }
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

/// Walks `X-Forwarded-For` from the right: each hop vouches for the address that it added, so the first address
/// that is not itself a trusted hop is the client. What stands further left could be anything.
fn client_behind(peer: IpAddr, connection: &Connection, headers: &HeaderMap) -> IpAddr {
    let mut client = peer;
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let Ok(line) = line.to_str() else {
            return client;
        };
        for entry in line.rsplit(',') {
            let Some(address) = parse_hop(entry.trim()) else {
                return client;
            };
            client = address;
            if !connection.listener.trusts(client) {
                return client;
            }
        }
    }
    client
}

/// An address as hops write it: bare, or with a port, or an IPv6 address in brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| {
        text.parse::<std::net::SocketAddr>()
            .ok()
            .map(|socket| socket.ip())
    });
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address
        .or_else(bracketed)
        .map(|address: IpAddr| address.to_canonical())
}

/// Writes the gateway's own headers into the upstream's copy of the request's.
pub(super) fn write(view: View<'_>, connection: &Connection, headers: &mut HeaderMap) {
    let View { facts, request } = view;
    let peer = connection.peer_ip();
    if !connection.is_from_hop {
        drop_claims(headers);
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
    headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.insert(X_REQUEST_ID, facts.request_id.header());
    headers.insert(TRACEPARENT, facts.trace.traceparent());
    if !facts.trace.is_continued() {
        headers.remove(TRACESTATE);
    }
}

/// Drops what says where a request came from: from anybody but a trusted hop that is a claim which nothing
/// supports. One walk over the names, since a request seldom has any.
fn drop_claims(headers: &mut HeaderMap) {
    let claims: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| is_claim(name.as_str()))
        .cloned()
        .collect();
    for claim in claims {
        headers.remove(claim);
    }
}

/// Servers that hand headers on as variables (CGI, WSGI) cannot tell `_` from `-`, so both are meant.
fn is_claim(name: &str) -> bool {
    const CLAIMS: [&str; 6] = [
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        // RFC 9440; Envoy's form of it begins with x-forwarded-.
        "client-cert",
        "client-cert-chain",
    ];
    let is_same = |known: &str, byte: usize| match name.as_bytes().get(byte) {
        Some(b'_') => known.as_bytes()[byte] == b'-',
        Some(&seen) => known.as_bytes()[byte] == seen,
        None => false,
    };
    let begins = |known: &str| (0..known.len()).all(|byte| is_same(known, byte));
    begins("x-forwarded-")
        || CLAIMS
            .iter()
            .any(|known| name.len() == known.len() && begins(known))
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
    fn hops_write_addresses_in_many_ways() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(
                parse_hop(text),
                expected.map(|address| address.parse().unwrap()),
                "{text}"
            );
        };
        check("192.0.2.1", Some("192.0.2.1"));
        check("192.0.2.1:4711", Some("192.0.2.1"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        check("[2001:db8::1]:4711", Some("2001:db8::1"));
        check("::ffff:192.0.2.1", Some("192.0.2.1"));
        check("unknown", None);
        check("0300.0.2.1", None);
        check("", None);
    }

    #[test]
    fn claims_are_known_in_every_spelling() {
        let check = |name: &str, expected: bool| assert_eq!(is_claim(name), expected, "{name}");
        check("x-forwarded-for", true);
        check("x_forwarded_for", true);
        check("x-forwarded_ssl", true);
        check("forwarded", true);
        check("x_real_ip", true);
        check("true-client-ip", true);
        check("client-cert", true);
        check("client_cert-chain", true);
        check("x-forwarded-client-cert", true);
        check("forwarded-by", false);
        check("x-forwarded", false);
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
