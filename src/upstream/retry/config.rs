//! `upstreams.NAME.retry` and `routes.NAME.retry` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Condition;
use crate::text::{Bounded, ByteSize, Duration, HeaderName, MethodName, Percent, Spanned, Subject};

/// More of a body than this is kept for no request.
const MOST_OF_A_BODY: ByteSize = ByteSize::from_mib(64);

/// When a request is sent again, to another endpoint where there is one that has not been tried. Once the client has been
/// sent anything of a response, nothing is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// How many tries a request has, the first one included: 1 to 10. Default 3.
    pub attempts: Bounded<1, 10>,
    /// What a request is sent again for. `"connect"`: there was no connection, in time or at all. `"stale"`: a connection
    /// that had been kept was closed under the request. `"refused_stream"`: the upstream says that it has not looked at the
    /// request (RFC 9113 section 8.7). `"reset"`: it broke off, or what it sent was no HTTP, before there was the header of
    /// a response; `"stale"` is among these. `"timeout"`: that header was not there within `timeouts.first_byte` or
    /// `timeouts.per_try`. `"502"` or any other status from 400 on, `"5xx"` for all from 500 on. `"grpc:unavailable"` or any
    /// other status of gRPC that a call ends with before it had any message. Default
    /// `["connect", "stale", "refused_stream"]`.
    ///
    /// All but `"connect"` and `"refused_stream"`, of which it is certain that nothing was done, hold only for requests
    /// that may be sent twice: those whose method is idempotent (RFC 9110 section 9.2.2), those of `methods`, and those
    /// with the header `idempotency_key`. And only for requests whose body is at hand as a whole still; see `body`.
    pub on: Vec<Condition>,
    /// Methods that may be sent twice although they are not idempotent, such as `["POST"]`, where the upstream sees to it
    /// that nothing is done twice. Default: none.
    pub methods: Vec<MethodName>,
    /// Requests with this header may be sent twice, whatever their method: the upstream takes those of one value for one
    /// (draft-ietf-httpapi-idempotency-key-header). Default `"idempotency-key"`.
    pub idempotency_key: HeaderName,
    /// How long to wait before. What certainly was not looked at, and what was `"stale"`, goes to another endpoint at once.
    pub backoff: BackoffConfig,
    /// The longest `Retry-After` of a response to be waited for; with a longer one the client gets the response. That of a
    /// 429 counts for all endpoints, any other for the one that has sent it. Default `"1s"`.
    pub max_retry_after: Duration,
    /// How many of the requests of the last 10 seconds may be sent again, 10 in any case; beyond it clients get what there
    /// is. What is sent again because of `"connect"`, `"stale"` or `"refused_stream"` counts where it then fails, anything
    /// else as soon as it is sent. It is the upstream's, for all of its routes. Default `"20%"`.
    #[schemars(with = "Percent")]
    pub budget: Option<Spanned<Percent>>,
    /// How much of a request's body is kept to be sent again, up to `"64MiB"`; a longer one is sent once. That much memory may
    /// be taken by each request that has a body, and 256 MiB by all of them together: beyond it they are sent once. Default, and least, `"64KiB"`.
    #[schemars(with = "ByteSize")]
    pub body: Option<Spanned<ByteSize>>,
    /// Asks another endpoint as well where the first does not begin to answer soon. Default: none is asked.
    pub hedge: Option<HedgeConfig>,
}

/// Whoever answers first is heard, and the other connection is closed, which tells the other endpoint that nobody waits any
/// more. A failure of the second one is not heard while there is the first. It cuts off the slowest answers for a few more
/// requests: with `after` at the 95th percentile, for 5 %.
///
/// Only requests that may be sent twice, as in `on`, that have no body and no sticky session, of clients of HTTP/1.1 and
/// HTTP/2, to upstreams of HTTP/1.1. One other endpoint is asked in each try. It counts among `attempts`, comes out of
/// `budget`, of which it leaves half for requests that have failed, and needs one of the places of `max_in_flight` until it
/// answers; where there is none of these, none is asked. It is told the same `deadline_header` as the first one, `after` later.
///
/// An endpoint that is overtaken has not failed: that it hangs is found out by health checks, or by `outliers` and `breaker`
/// with a `slow_call`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HedgeConfig {
    /// From when the request has been sent, such as `"80ms"`.
    #[schemars(with = "Duration")]
    pub after: Spanned<Duration>,
}

/// The waits before retries: any time from none to a bound, which is `base` for the first, and twice as long for each
/// further one, up to `max`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackoffConfig {
    /// Default `"25ms"`.
    pub base: Duration,
    /// Default `"250ms"`.
    pub max: Duration,
}

impl Default for RetryConfig {
    fn default() -> RetryConfig {
        let on = [
            Condition::Connect,
            Condition::Stale,
            Condition::RefusedStream,
        ];
        RetryConfig {
            attempts: Bounded::new(3).expect("3 is between 1 and 10"),
            on: on.to_vec(),
            methods: Vec::new(),
            idempotency_key: http::HeaderName::from_static("idempotency-key").into(),
            backoff: BackoffConfig::default(),
            max_retry_after: Duration::from_secs(1),
            budget: None,
            body: None,
            hedge: None,
        }
    }
}

impl Default for BackoffConfig {
    fn default() -> BackoffConfig {
        BackoffConfig {
            base: Duration::from_millis(25),
            max: Duration::from_millis(250),
        }
    }
}

impl RetryConfig {
    pub(in crate::upstream) fn share(&self) -> Percent {
        self.budget
            .as_ref()
            .map_or(Percent::from_whole(20), |budget| budget.value)
    }

    /// For requests to an upstream whose connections are not ours.
    pub fn refuse_hedge(&self, subject: &mut Subject<'_>) {
        if let Some(HedgeConfig { after }) = &self.hedge {
            let what = "is for upstreams of HTTP/1.1, and this one is not";
            subject.key("hedge").error(after.span, what);
        }
    }

    /// Reports what its parts cannot see.
    pub(in crate::upstream) fn check(&self, subject: &mut Subject<'_>) {
        if let Some(body) = self.body.as_ref().filter(|it| it.value > MOST_OF_A_BODY) {
            let what = format!(
                "must be at most \"{MOST_OF_A_BODY}\", got \"{}\"",
                body.value
            );
            subject.key("body").error(body.span, what);
        }
        if let Some(HedgeConfig { after }) = &self.hedge {
            let mut subject = subject.key("hedge");
            if self.attempts.get() < 2 {
                let problem =
                    subject.error(after.span, "is another try, and attempts = 1 allows none");
                problem.help("let attempts be 2 at least, or remove hedge");
            }
        }
    }
}
