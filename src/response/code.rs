//! The error index: every failure a client can see, in one table.

use http::StatusCode;

/// Who is to blame for a failed exchange, as the access log and the metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Gateway,
    Upstream,
}

impl Fault {
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Client => "client",
            Fault::Gateway => "gateway",
            Fault::Upstream => "upstream",
        }
    }
}

/// Envoy's response flag for a failure, where it has one; operators already grep for these.
pub type Flag = &'static str;

/// A gRPC status number, from the table of the gRPC specification.
mod grpc {
    pub const INVALID_ARGUMENT: u8 = 3;
    pub const DEADLINE_EXCEEDED: u8 = 4;
    pub const PERMISSION_DENIED: u8 = 7;
    pub const RESOURCE_EXHAUSTED: u8 = 8;
    pub const UNIMPLEMENTED: u8 = 12;
    pub const INTERNAL: u8 = 13;
    pub const UNAVAILABLE: u8 = 14;
    pub const CANCELLED: u8 = 1;
    pub const UNAUTHENTICATED: u8 = 16;
}

struct Entry {
    status: u16,
    slug: &'static str,
    /// Its problem type, where there is none that others know.
    urn: &'static str,
    title: &'static str,
    grpc: u8,
    fault: Fault,
    flag: Flag,
    doc: &'static str,
}

macro_rules! error_index {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:literal $slug:literal $title:literal,
        $grpc:ident $fault:ident $flag:literal;)+) => {
        /// A failure that a client can see. The variant's documentation is its paragraph in the index.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of the index.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            fn entry(self) -> &'static Entry {
                match self {
                    $(Code::$name => &Entry {
                        status: $status, slug: $slug, urn: concat!("urn:northgate:error:", $slug), title: $title, grpc: grpc::$grpc,
                        fault: Fault::$fault, flag: $flag, doc: concat!($($doc, "\n"),+),
                    },)+
                }
            }
        }
    };
}

error_index! {
    /// The request is not HTTP as the RFCs have it, or could be read in two ways: two lengths, two hosts, a line that
    /// does not end in CR LF, a control character, a target that is none. The log's `cause` says which rule it
    /// broke. The connection is closed.
    BadRequest = 400 "bad_request" "The request is malformed", INVALID_ARGUMENT Client "DPE";
    /// The route wants to know who calls, and the request has no credential of a kind that it takes. `WWW-Authenticate`
    /// names the kinds.
    Unauthenticated = 401 "unauthenticated" "A credential is needed", UNAUTHENTICATED Client "UA";
    /// The request has a credential that proves nothing: it is unknown, expired, withdrawn, forged or malformed. Only
    /// the log's `cause` says which.
    CredentialRefused = 401 "credential_refused" "The credential is refused", UNAUTHENTICATED Client "UA";
    /// The body is not the one whose `Content-Digest` was signed, or that digest is malformed. The upstream has not
    /// got all of it.
    DigestMismatch = 400 "digest_mismatch" "The body does not have its digest", INVALID_ARGUMENT Client "UA";
    /// It is known who calls, and the policy `acl` does not let that caller do this. The log's `cause` says what is
    /// missing, and the detail does where the policy says `explain = true`.
    AccessDenied = 403 "access_denied" "The caller may not do this", PERMISSION_DENIED Client "AX";
    /// The client's address is not let in by the policy `ip_access`.
    AddressDenied = 403 "address_denied" "This address is not let in", PERMISSION_DENIED Client "AD";
    /// The path of the request means different things to different programs, so nobody could say which rules are
    /// for it: it has an encoded slash or backslash, dots in disguise (`/..;x/`), bytes that are not UTF-8, controls,
    /// is encoded twice, or climbs above its root. The detail says which. What an upstream cannot do without can be
    /// let in by the listener's `paths`. The connection is closed. It is also the answer where a route's `rewrite`
    /// would make a dot segment, or no valid target at all, of the request.
    PathRefused = 400 "path_refused" "The path is ambiguous", INVALID_ARGUMENT Client "DPE";
    /// A browser asks in a preflight whether a site's script may use this, and the policy `cors` does not allow the
    /// site's origin.
    OriginDenied = 403 "origin_denied" "This origin is not let in", PERMISSION_DENIED Client "OD";
    /// No route matches the host, path, headers and query of the request. `northgate explain` shows how near
    /// each route came.
    RouteNotFound = 404 "route_not_found" "No route matches this request", UNIMPLEMENTED Client "NR";
    /// A route matches all but the method. The `Allow` header names the methods that would have matched.
    MethodNotAllowed = 405 "method_not_allowed" "The method is not allowed here", UNIMPLEMENTED Client "NR";
    /// The client did not finish sending its request in time: its header took longer than the listener's
    /// `timeouts.request_header`, or its body fell silent for `timeouts.request_body_idle` or came more slowly than
    /// `limits.request_body_min_rate`.
    RequestTimeout = 408 "request_timeout" "The request took too long to arrive", DEADLINE_EXCEEDED Client "DT";
    /// The request body is larger than `size_limits` allows, as it is or once it is decoded. The connection is closed.
    PayloadTooLarge = 413 "payload_too_large" "The request body is too large", RESOURCE_EXHAUSTED Client "DPE";
    /// The request target is longer than the listener's `limits.uri_bytes`.
    UriTooLong = 414 "uri_too_long" "The request target is too long", INVALID_ARGUMENT Client "DPE";
    /// The request's `Content-Encoding` is not one that `size_limits.request_body_decompressed` can look into. The
    /// `Accept-Encoding` header of the response names those that it can.
    UnsupportedContentCoding = 415 "unsupported_content_coding" "The content coding is not supported", UNIMPLEMENTED Client "DPE";
    /// The request's `Expect` asks for something else than `100-continue`. The connection is closed.
    ExpectationFailed = 417 "expectation_failed" "What the request expects is not offered", INVALID_ARGUMENT Client "DPE";
    /// The host that the request names has another certificate than the one that the client was shown on this
    /// connection (RFC 9110 section 15.5.20). Clients try again on a connection of its own.
    Misdirected = 421 "misdirected" "The request came by the connection of another host", INVALID_ARGUMENT Client "DPE";
    /// The request header is larger than the listener's `limits.header_bytes` or has more fields than
    /// `limits.headers`.
    HeadersTooLarge = 431 "headers_too_large" "The request header is too large", RESOURCE_EXHAUSTED Client "DPE";
    /// The name in `Authorization: Basic` was tried with too many wrong passwords, by whomever; `Retry-After` says when it
    /// may be tried again. See `identity.basic.NAME.failures`.
    TooManyAttempts = 429 "too_many_attempts" "Too many attempts", RESOURCE_EXHAUSTED Client "UA";
    /// The caller has used up a limit: the policy `rate_limit`. `Retry-After` says when there will be more.
    RateLimited = 429 "rate_limited" "Too many requests", RESOURCE_EXHAUSTED Client "RL";
    /// The caller has used up its quota of a window of the calendar: the policy `quota`. `Retry-After` says when the next
    /// one begins.
    QuotaExceeded = 429 "quota_exceeded" "The quota is used up", RESOURCE_EXHAUSTED Client "RL";
    /// The caller has as many requests as it may have at a time, by the policy `concurrency`, and there was no place in its
    /// queue, or none that would have become free in time.
    ConcurrencyExceeded = 429 "concurrency_exceeded" "Too many requests at a time", RESOURCE_EXHAUSTED Client "RL";
    /// So many bodies of the caller flow at a time, by the policy `bandwidth`, that a part of this one would have had to wait
    /// for more than a minute behind the others. `Retry-After` says when there may be room. Where the response has begun, it
    /// is broken off.
    BandwidthExceeded = 429 "bandwidth_exceeded" "Too many transfers at a time", RESOURCE_EXHAUSTED Client "RL";
    /// The store that the limits are counted in together with other gateways cannot be asked, and
    /// `shared.on_store_down = "deny"` of the policy lets nobody in meanwhile. `Retry-After` says when to try again.
    LimitUnavailable = 503 "limit_unavailable" "The limits cannot be looked at now", UNAVAILABLE Gateway "RL";
    /// The client went away before the exchange was complete. Only ever seen in the log and the metrics.
    ClientClosed = 499 "client_closed" "The client closed the connection", CANCELLED Client "DC";
    /// The client took its response more slowly than the listener's `limits.response_min_rate`, and was cut off. Only
    /// ever seen in the log and the metrics.
    ClientTooSlow = 499 "client_too_slow" "The client took its response too slowly", CANCELLED Client "DT";
    /// A fault of the gateway itself; the log has the cause under the request id.
    Internal = 500 "internal" "The gateway failed", INTERNAL Gateway "-";
    /// The policy `fault` has made the request fail on purpose, with the status that it says.
    FaultInjected = 503 "fault_injected" "This failure is a test", UNAVAILABLE Gateway "FI";
    /// The gateway ends or is replaced, and the grace for what was in flight is over. A response that has begun is
    /// broken off, a call of gRPC ends with `UNAVAILABLE`.
    ShuttingDown = 503 "shutting_down" "The gateway is shutting down", UNAVAILABLE Gateway "-";
    /// The route, or the upstream that it forwards to, has mistakes in its configuration, and `gateway.on_error` has the
    /// gateway serve without it. The log and `northgate check` say what is wrong.
    Quarantined = 503 "quarantined" "This is out of service", UNAVAILABLE Gateway "-";
    /// A login did not come to its end: it was not begun in this browser, or too long ago, has been finished before, or
    /// what the browser has brought from the provider is no good. It can be begun again. Only the log's `cause` says
    /// which.
    LoginFailed = 400 "login_failed" "The login did not succeed", UNAUTHENTICATED Client "UA";
    /// The provider did not let the person in, or has let somebody in whom nothing here knows.
    LoginRefused = 403 "login_refused" "The login was refused", PERMISSION_DENIED Client "UA";
    /// The wish to log out comes from a page of another site, or the provider's logout token is no good.
    LogoutRefused = 400 "logout_refused" "The logout was refused", PERMISSION_DENIED Client "UA";
    /// Whether the credential is good can be said only by a server that does not answer, or there are more passwords to
    /// check than there are turns for.
    AuthenticationUnavailable = 503 "authentication_unavailable" "Nobody can be authenticated now", UNAVAILABLE Gateway "UA";
    /// The method is one that the gateway does not forward to anybody (`CONNECT`, `TRACE`).
    MethodNotImplemented = 501 "method_not_implemented" "The method is not implemented", UNIMPLEMENTED Client "DPE";
    /// The request is of a version of HTTP that the gateway does not speak. The connection is closed.
    VersionNotSupported = 505 "version_not_supported" "This version of HTTP is not spoken here", UNIMPLEMENTED Client "DPE";
    /// The connection to the upstream could not be made, or its TLS could not be verified.
    UpstreamConnectFailed = 502 "upstream_connect_failed" "The upstream could not be reached", UNAVAILABLE Upstream "UF";
    /// The upstream broke the connection before its response was complete.
    UpstreamReset = 502 "upstream_reset" "The upstream broke off", UNAVAILABLE Upstream "UC";
    /// What the upstream sent is not well-formed HTTP.
    UpstreamProtocol = 502 "upstream_protocol" "The upstream answered nonsense", INTERNAL Upstream "UPE";
    /// The upstream's response is larger than `size_limits.response_body` allows. Where that shows only after the
    /// response has begun, it is broken off.
    UpstreamResponseTooLarge = 502 "upstream_response_too_large" "The upstream answered too much", RESOURCE_EXHAUSTED Upstream "UPE";
    /// The gateway has too much to do, and requests of this `criticality` are among the first to be refused
    /// (`gateway.overload`). `Retry-After` says when to try again.
    Overloaded = 503 "overloaded" "The gateway has too much to do", UNAVAILABLE Gateway "OM";
    /// The upstream has as many requests as it may have (`max_in_flight`, or what `adaptive_concurrency` has learned), and
    /// there was no place in its `queue`, or none that would have become free in time. `Retry-After` says when to try again.
    UpstreamBusy = 503 "upstream_busy" "The upstream has too much to do", UNAVAILABLE Upstream "UO";
    /// The route has as many requests with its upstream as it may have (`max_in_flight`), and there was no place in its
    /// `queue`, or none that would have become free in time. `Retry-After` says when to try again.
    RouteBusy = 503 "route_busy" "There are too many requests of this kind", UNAVAILABLE Gateway "UO";
    /// No endpoint of the upstream is healthy, or it has none at all.
    UpstreamUnhealthy = 503 "upstream_unhealthy" "No healthy upstream", UNAVAILABLE Upstream "UH";
    /// So many requests to the upstream have failed, or took so long, that it is left alone for a while (`breaker`); or an
    /// operator has said so. `Retry-After` says when to try again.
    CircuitOpen = 503 "circuit_open" "The upstream is left alone for a while", UNAVAILABLE Upstream "UO";
    /// A part of an aggregation that is `required` has no answer that counts, or the parts do not fit together. `part` and
    /// `reason` say which and why.
    PartFailed = 502 "part_failed" "A part of the answer cannot be had", UNAVAILABLE Upstream "UF";
    /// A part of an aggregation that is `required` had no answer in its time, or in that of the whole. `part` says which.
    PartTimeout = 504 "part_timeout" "A part of the answer did not come in time", DEADLINE_EXCEEDED Upstream "UT";
    /// The list of a `batch` is not as it should be: it is no JSON, or not of the form that is asked for, it has too many
    /// calls, two of the same `id`, another method than GET, a path that is none, or a header that no call may have. The
    /// detail says which. No call was made.
    BatchInvalid = 400 "batch_invalid" "The list of calls is not as it should be", INVALID_ARGUMENT Client "DPE";
    /// A call of a batch is for a route that is a `batch` itself.
    BatchNested = 400 "batch_nested" "A batch runs no batch", INVALID_ARGUMENT Client "DPE";
    /// What a call of a batch has answered does not fit into `call_bytes`, or not any more into `response_bytes`.
    CallTooLarge = 502 "call_too_large" "The answer of this call is too large", RESOURCE_EXHAUSTED Gateway "UPE";
    /// The client wants a response that is kept, and no other (`Cache-Control: only-if-cached`), and there is none that is
    /// good enough.
    NotCached = 504 "not_cached" "There is nothing in the cache that would do", UNAVAILABLE Client "NC";
    /// The route's `timeout` for the whole exchange, or the `grpc-timeout` of a caller of gRPC, ran out before there was
    /// an upstream: while it was found out who calls, while that part of a body came that has to be seen before, or
    /// while a login was brought to its end. Or it is not enough for what a body would have to wait by the policy
    /// `bandwidth`. Or a call of a `batch` has not ended, or had no turn, before the time of the whole was over.
    ExchangeTimeout = 504 "exchange_timeout" "The exchange took too long", DEADLINE_EXCEEDED Gateway "DT";
    /// The connection to the upstream was not made within its `timeouts.connect`.
    UpstreamConnectTimeout = 504 "upstream_connect_timeout" "The upstream did not accept the connection in time", UNAVAILABLE Upstream "UF";
    /// The upstream did not answer within its `timeouts.first_byte`, fell silent for `timeouts.idle`, or the
    /// route's `timeout` for the whole exchange ran out.
    UpstreamTimeout = 504 "upstream_timeout" "The upstream did not answer in time", DEADLINE_EXCEEDED Upstream "UT";
}

/// Problem types that are registered (RFC 9457 section 4.2).
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

impl Code {
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.entry().status).expect("the index holds valid statuses")
    }

    /// What `type` of a problem document says: a type that others know, where there is one, or else one of our own.
    pub fn problem_type(self) -> &'static str {
        match self {
            // Of draft-ietf-httpapi-ratelimit-headers.
            Code::RateLimited | Code::QuotaExceeded => QUOTA_EXCEEDED,
            Code::Overloaded => REDUCED_CAPACITY,
            own => own.entry().urn,
        }
    }

    /// The stable name: what clients may match on, `code` in problem documents.
    pub fn slug(self) -> &'static str {
        self.entry().slug
    }

    pub fn title(self) -> &'static str {
        self.entry().title
    }

    pub fn grpc_status(self) -> u8 {
        self.entry().grpc
    }

    pub fn fault(self) -> Fault {
        self.entry().fault
    }

    pub fn flag(self) -> Flag {
        self.entry().flag
    }
}

/// The error index as the Markdown page `errors.md` beside this file.
pub fn index_markdown() -> String {
    let mut page = String::from(
        "# The error index\n\n\
         Every reply that the gateway itself makes for a failure is `application/problem+json` (RFC 9457) with these\n\
         members: `type` (`urn:northgate:error:` and the code, or a registered type), `title`, `status`, `detail` where there\n\
         is more to say, `code` and `request_id`. gRPC callers get `grpc-status` and `grpc-message` instead. The access log has the\n\
         code, the side at fault and the flag. This page is printed by `northgate errors`.\n\n",
    );
    for code in Code::ALL {
        let entry = code.entry();
        let doc: Vec<&str> = entry
            .doc
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        page.push_str(&format!(
            "## `{}`\n\n{} `{}` · gRPC {} · fault: {} · flag `{}`\n\n{}\n\n",
            entry.slug,
            entry.status,
            entry.title,
            entry.grpc,
            entry.fault.as_str(),
            entry.flag,
            doc.join("\n"),
        ));
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_statuses_are_errors() {
        let mut slugs: Vec<_> = Code::ALL.iter().map(|code| code.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.status().as_u16() >= 400));
    }

    #[test]
    fn the_page_beside_this_file_is_the_index() {
        assert_eq!(
            include_str!("errors.md"),
            index_markdown(),
            "run: northgate errors > src/response/errors.md"
        );
    }
}
