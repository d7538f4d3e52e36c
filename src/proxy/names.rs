//! What the names of a request's headers tell, and which of them the upstream must not see.

use http::HeaderMap;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
};
use smallvec::SmallVec;

use super::exchange::X_REQUEST_ID;
use crate::listener::{Connection, OverrideHeaders, Underscores};
use crate::policies::{Pipeline, Reserved};
use crate::text::{is_plain, plain};

/// Of no standard, and dangerous: a server that hands headers on as variables makes `HTTP_PROXY` of it, by which many
/// programs then send their own requests ("httpoxy", CVE-2016-5385).
const PROXY: &str = "proxy";

/// What a request has of the headers that few requests have: one walk over the names costs less than looking for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub has_expect: bool,
    pub has_grpc_timeout: bool,
    pub has_traceparent: bool,
    pub has_tracestate: bool,
    /// Something that the upstream must not see, or that might be taken for something else; see [`drop_suspects`].
    pub has_suspect: bool,
}

impl Names {
    pub(super) fn of(headers: &HeaderMap, connection: &Connection, reserved: &Reserved) -> Names {
        let mut names = Names::default();
        for name in headers.keys().map(HeaderName::as_str) {
            match name {
                "expect" => names.has_expect = true,
                "grpc-timeout" => names.has_grpc_timeout = true,
                "traceparent" => names.has_traceparent = true,
                "tracestate" => names.has_tracestate = true,
                _ => {
                    names.has_suspect |=
                        !is_plain(name) || is_untrue(name, connection) || reserved.has(name);
                }
            }
        }
        names
    }
}

/// Drops what says where a request came from, unless it comes from a trusted hop: from anybody else that is a claim
/// which nothing supports. Drops from everybody what would have the upstream do something else than was routed. Then
/// drops what could be taken for something else.
#[cold]
pub(super) fn drop_suspects(headers: &mut HeaderMap, connection: &Connection, pipeline: &Pipeline) {
    let claims = select(headers, |name| is_untrue(name.as_str(), connection));
    for claim in claims {
        headers.remove(claim);
    }
    let has_odd_names = headers.keys().any(|name| !is_plain(name.as_str()));
    if has_odd_names || pipeline.manages_odd_names() {
        drop_twins(headers, connection, pipeline);
    }
}

fn select(
    headers: &HeaderMap,
    is_meant: impl Fn(&HeaderName) -> bool,
) -> SmallVec<[HeaderName; 4]> {
    let names = headers.keys().filter(|name| is_meant(name));
    names.cloned().collect()
}

/// Whether this is a header that nobody on this connection is to be believed by.
fn is_untrue(name: &str, connection: &Connection) -> bool {
    name == PROXY
        || (!connection.is_from_hop && is_claim(name))
        || (connection.listener.override_headers == OverrideHeaders::Remove && is_override(name))
}

/// Whether a header says something of a client that only a proxy can know.
pub(super) fn is_claim(name: &str) -> bool {
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
pub(super) fn is_override(name: &str) -> bool {
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
    for twin in select(headers, is_twin) {
        headers.remove(twin);
    }
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
}
