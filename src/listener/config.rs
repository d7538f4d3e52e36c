//! `[listeners.NAME]` as written.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::tls::TlsConfig;
use crate::text::{BindAddress, Bounded, ByteSize, Cidr, Duration, PathRules, SizeUpTo, Spanned};

/// Where clients come in. What its `policies` are is none of this room's business.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config<Policies: Default> {
    /// `"0.0.0.0:8443"`, `"[::]:8443"`, or `"unix:/run/northgate.sock"`.
    pub bind: Spanned<BindAddress>,
    /// What clients may speak. Default: both. On a listener without TLS, HTTP/2 is spoken by prior knowledge.
    #[serde(default)]
    pub protocols: Vec<Protocol>,
    /// Peers whose `X-Forwarded-For` or `Forwarded`, `X-Forwarded-Proto` and `X-Request-Id` are believed, and whose
    /// other `X-Forwarded-*` are passed on, with the gateway's own added. The client is the first address from the
    /// right, of 32 at most, that is none of these; the scheme is the last of `X-Forwarded-Proto`, which the nearest
    /// of them wrote. Set `trusted_header` too: where they say two different things without it, the request is refused.
    /// Default: nobody; then all of these and their like (`X-Real-IP`, `True-Client-IP`, `X-Original-URL` …) are
    /// dropped, and those that the gateway sends are its own.
    #[serde(default)]
    pub trusted_proxies: Vec<Cidr>,
    /// The header in which trusted proxies say whom they forward for. Where the two name different clients, the
    /// other goes no further. Absent: the one that a request has. Where it has both and they name different clients,
    /// the answer is 400. So set it, to the one that they write: what they do not write themselves they may pass on
    /// as a client sent it, who could pass for anybody by it where the other is missing.
    pub trusted_header: Option<TrustedHeader>,
    /// What becomes of request headers with an underscore in their name, or any other character but letters, digits
    /// and dashes: some servers cannot tell these from a dash. Default `"drop_twins"`.
    #[serde(default)]
    pub underscores: Underscores,
    /// Whether connections begin with a PROXY protocol header (version 1 or 2), in which a load balancer says whose
    /// they are. It is believed of `trusted_proxies` alone. Default `"off"`.
    pub proxy_protocol: Option<Spanned<ProxyProtocol>>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub timeouts: Timeouts,
    #[serde(default)]
    pub paths: PathRules,
    /// What becomes of request headers by which some frameworks let a request say another path or method than it
    /// has. Default `"remove"`.
    #[serde(default)]
    pub override_headers: OverrideHeaders,
    /// Terminates TLS.
    pub tls: Option<Spanned<TlsConfig>>,
    /// Policies that every route on this listener inherits.
    #[serde(default)]
    pub policies: Policies,
}

impl<Policies: Default> Config<Policies> {
    /// The listener alone: what connections that it has accepted depend on.
    pub(super) fn without_policies(&self) -> Config<()> {
        let Config {
            bind,
            protocols,
            trusted_proxies,
            trusted_header,
            underscores,
            proxy_protocol,
            limits,
            timeouts,
            paths,
            override_headers,
            tls,
            policies: _,
        } = self;
        Config {
            bind: bind.clone(),
            protocols: protocols.clone(),
            trusted_proxies: trusted_proxies.clone(),
            trusted_header: *trusted_header,
            underscores: *underscores,
            proxy_protocol: *proxy_protocol,
            limits: limits.clone(),
            timeouts: timeouts.clone(),
            paths: *paths,
            override_headers: *override_headers,
            tls: tls.clone(),
            policies: (),
        }
    }
}

/// A protocol that clients may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Protocol {
    #[serde(rename = "http/1.1")]
    Http11,
    #[serde(rename = "h2")]
    H2,
}

impl Protocol {
    /// What it is called in TLS (ALPN, RFC 7301).
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Http11 => b"http/1.1",
            Protocol::H2 => b"h2",
        }
    }
}

/// A header that says whom a request is forwarded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrustedHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// What becomes of request headers with an underscore in their name, or another character that some servers cannot
/// tell from a dash: all but letters and digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    /// Dropped where the same name with dashes is in the request, says where it comes from (`X-Forwarded-*` and the
    /// like) or how to read its body (`Content-Encoding` and the like), or is set, added or removed by a policy;
    /// others are passed on.
    #[default]
    DropTwins,
    /// All are dropped.
    Drop,
}

/// What becomes of `X-Original-URL`, `X-Rewrite-URL`, `X-HTTP-Method-Override`, `X-HTTP-Method` and
/// `X-Method-Override` in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverrideHeaders {
    /// The upstream does not get them, whoever sends them: it would do something else than what was routed. A policy
    /// can still set them.
    #[default]
    Remove,
    /// They go on, those with a URL from trusted proxies alone. Routes and policies that tell methods or paths apart do
    /// not hold for an upstream that obeys them.
    Keep,
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// They do not: a header is a malformed request.
    #[default]
    Off,
    /// Those of trusted proxies may. A header of anybody else is a malformed request.
    Optional,
    /// They must, and they must come from trusted proxies; all others are closed.
    Required,
}

/// How much a client may ask for.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections open at a time; more are closed at once. Default 20,000.
    pub connections: NonZeroU32,
    /// Connections open at a time from one IPv4 address, or from one IPv6 /64; more are closed at once. With
    /// `proxy_protocol` the address is the one in the header. `trusted_proxies` may open as many as they like, and
    /// so may clients of a Unix socket. Default 200.
    pub connections_per_ip: NonZeroU32,
    /// Connections in the middle of a TLS handshake or of a PROXY protocol header at a time; more are closed at
    /// once. Default 4,096.
    pub handshakes: NonZeroU32,
    /// Requests on one connection; the last of them is answered with `Connection: close`, or on HTTP/2 with
    /// GOAWAY. Default 10,000.
    pub requests_per_connection: NonZeroU32,
    /// Names and values of a request's header together; beyond it 431. Default `"32KiB"`, at most `"512KiB"`.
    pub header_bytes: SizeUpTo<512>,
    /// Fields in a request's header; beyond it 431. Default 100, at most 256.
    pub headers: Bounded<1, 256>,
    /// The request target; beyond it 414. Default `"8KiB"`, at most `"63KiB"`.
    pub uri_bytes: SizeUpTo<63>,
    /// How many bytes of a request's body must come per second, on average over any time that is longer than
    /// `timeouts.request_body_idle`; less is 408. It counts until the response begins, and not in calls of gRPC, whose
    /// clients may have nothing to say for a while. 0 is no minimum. Default `"240B"`.
    pub request_body_min_rate: ByteSize,
    /// How many bytes of what it is sent a client must take per second, on average over the time in which it has
    /// something to take, where that is longer than `timeouts.request_body_idle`; who takes less is cut off. A stream
    /// of events in which nothing happens is no slow client. 0 is no minimum beyond one byte in that time. It is kept
    /// on HTTP/1.1; on HTTP/2 a client must take 4 KiB in each `timeouts.request_body_idle`. Default `"240B"`.
    pub response_min_rate: ByteSize,
    /// Requests of HTTP/2 that one connection carries at a time; more are refused (`REFUSED_STREAM`), and clients
    /// wait with them. Default 100.
    pub streams: NonZeroU32,
    /// Requests of HTTP/2 that a client may take back (`RST_STREAM`) per second, on average over ten seconds: so ten
    /// times as many at once. Beyond it the connection is cut off. Default 20.
    pub stream_resets_per_second: NonZeroU32,
    /// Frames of HTTP/2 that carry nothing of a request (`SETTINGS`, `PING`, `PRIORITY`, `WINDOW_UPDATE`, unknown and
    /// empty ones) per second, on average over ten seconds. What a client is sent entitles it to more, since it must
    /// be acknowledged. Beyond it the connection is cut off. Default 100.
    pub control_frames_per_second: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Limits {
        let number = |value| NonZeroU32::new(value).expect("the defaults are not zero");
        Limits {
            connections: number(20_000),
            connections_per_ip: number(200),
            handshakes: number(4_096),
            requests_per_connection: number(10_000),
            header_bytes: SizeUpTo::from_kib(32),
            headers: Bounded::new(100).expect("it is in the range"),
            uri_bytes: SizeUpTo::from_kib(8),
            request_body_min_rate: ByteSize::from_bytes(240),
            response_min_rate: ByteSize::from_bytes(240),
            streams: number(100),
            stream_resets_per_second: number(20),
            control_frames_per_second: number(100),
        }
    }
}

/// How long a client may take. None of these can be infinite.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For the whole TLS handshake, and the PROXY protocol header before it. Default `"5s"`.
    pub tls_handshake: Duration,
    /// For a request's whole header, from its first byte (on a new connection: from its start, and a PROXY
    /// protocol header is part of it). Over HTTP/2 it is the wait for the first request. Default `"5s"`.
    pub request_header: Duration,
    /// The longest silence inside a request's body, and the longest wait for a client to take more of its
    /// response; the time as well that the minimum rates of `limits` leave to a slow client. Default `"15s"`.
    pub request_body_idle: Duration,
    /// How long an unused connection stays open. Default `"60s"`.
    pub keepalive: Duration,
    /// How long a connection is used. From then on the next response closes it (`Connection: close`), or GOAWAY
    /// does on HTTP/2; nothing that is under way is cut. Each connection's own is up to a tenth shorter or longer,
    /// so that those that were opened together do not all come back together. Default `"1h"`.
    pub max_connection_age: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            tls_handshake: Duration::from_secs(5),
            request_header: Duration::from_secs(5),
            request_body_idle: Duration::from_secs(15),
            keepalive: Duration::from_secs(60),
            max_connection_age: Duration::from_secs(3600),
        }
    }
}
