//! When a request is sent again: what makes it worth it, what makes it safe, how long to wait before, and how many such
//! requests an upstream may get.

mod backoff;
mod budget;
mod condition;
mod config;
mod reason;
mod retry_after;

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};

use crate::text::Subject;

pub use condition::Condition;
pub use config::{BackoffConfig, RetryConfig};
pub use reason::{Reason, Stop};

pub(super) use budget::{Budget, Debt};
pub(super) use retry_after::retry_after;

use backoff::Backoff;
use condition::Conditions;

/// What the engine keeps of a request's body to send it again, where nothing is said of it.
pub(super) const KEPT_BY_ENGINE: u64 = 64 * 1024;

/// When requests are sent again, compiled: of an upstream, or of a route that has it its own way.
#[derive(Debug)]
pub struct Retry {
    attempts: u32,
    on: Conditions,
    /// That may be sent twice although they are not idempotent.
    methods: Box<[Method]>,
    /// Requests that have it may be sent twice.
    key: HeaderName,
    backoff: Backoff,
    longest_wait: Duration,
    /// Whether an endpoint that could not be connected to may be tried again, where there is no other left.
    returns: bool,
    body: Option<usize>,
    hedge: Option<Duration>,
}

impl Retry {
    /// As an upstream has it where nothing is said: what has certainly done nothing is tried elsewhere.
    pub(super) fn unsaid() -> Retry {
        Retry {
            returns: false,
            ..Retry::of(&RetryConfig::default())
        }
    }

    /// Of an upstream. The budget is in [`RetryConfig::budget`].
    pub(super) fn of(config: &RetryConfig) -> Retry {
        let methods = config.methods.iter().map(|method| method.0.clone());
        let body = config.body.as_ref().map(|body| body.as_u64());
        Retry {
            attempts: u32::from(config.attempts.get()),
            on: Conditions::of(config.on.iter().copied()),
            methods: methods.collect(),
            key: config.idempotency_key.clone().into_inner(),
            backoff: Backoff::of(&config.backoff),
            longest_wait: config.max_retry_after.as_std(),
            returns: true,
            body: body
                .filter(|body| *body > KEPT_BY_ENGINE)
                .map(|body| usize::try_from(body).unwrap_or(usize::MAX)),
            hedge: config
                .hedge
                .as_ref()
                .map(|hedge| hedge.after.value.as_std()),
        }
    }

    /// Of a route. The budget is the upstream's, whatever routes there are.
    pub fn of_route(config: &RetryConfig, subject: &mut Subject<'_>) -> Retry {
        config.check(subject);
        if let Some(budget) = &config.budget {
            let mut subject = subject.key("budget");
            let problem = subject.error(budget.span, "is of the upstream, for all of its routes");
            problem.help("move it to [upstreams.NAME] retry = { budget = \"20%\" }");
        }
        Retry::of(config)
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn wants(&self, reason: Reason) -> bool {
        self.on.have(reason)
    }

    /// Whether any response may be reason enough.
    pub(super) fn looks_at_answers(&self) -> bool {
        self.attempts > 1 && self.on.look_at_answers()
    }

    /// Whether sending such a request twice does nothing twice: it is idempotent (RFC 9110 section 9.2.2), or somebody
    /// has said so.
    pub fn may_repeat(&self, method: &Method, headers: &HeaderMap) -> bool {
        method.is_idempotent() || headers.contains_key(&self.key) || self.methods.contains(method)
    }

    /// How long to wait before the retry of this number, from 1 on.
    pub(super) fn backoff(&self, number: u32) -> Duration {
        self.backoff.draw(number)
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    pub(super) fn returns(&self) -> bool {
        self.returns
    }

    /// How long after the end of the request another endpoint is asked as well, where that is wanted.
    pub fn hedge(&self) -> Option<Duration> {
        self.hedge
    }

    /// How much of a body is kept to be sent again, where that is more than the engine keeps by itself.
    pub fn body(&self) -> Option<usize> {
        self.body.filter(|_| self.attempts > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(toml: &str) -> Retry {
        Retry::of(&toml::from_str(toml).unwrap())
    }

    #[test]
    fn only_what_does_nothing_twice_may_be_repeated() {
        let check = |toml: &str, method: Method, header: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::try_from(header).unwrap(), "1".parse().unwrap());
            let may = retry(toml).may_repeat(&method, &headers);
            assert_eq!(may, expected, "{toml} {method} {header}");
        };
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
            check("", method, "x-other", true);
        }
        check("", Method::POST, "x-other", false);
        check("", Method::PATCH, "x-other", false);
        check("", Method::POST, "idempotency-key", true);
        check("idempotency_key = \"X-Once\"", Method::POST, "x-once", true);
        let own = "idempotency_key = \"X-Once\"";
        check(own, Method::POST, "idempotency-key", false);
        check("methods = [\"POST\"]", Method::POST, "x-other", true);
        check("methods = [\"POST\"]", Method::PATCH, "x-other", false);
    }

    #[test]
    fn what_is_unsaid_is_what_has_certainly_done_nothing() {
        let unsaid = Retry::unsaid();
        for reason in [Reason::Connect, Reason::Stale, Reason::RefusedStream] {
            assert!(unsaid.wants(reason), "{reason:?}");
        }
        let status = Reason::Status(http::StatusCode::SERVICE_UNAVAILABLE);
        for reason in [Reason::Reset, Reason::Timeout, status, Reason::Grpc(14)] {
            assert!(!unsaid.wants(reason), "{reason:?}");
        }
        assert!(!unsaid.looks_at_answers() && !unsaid.returns());
        assert_eq!((unsaid.attempts(), unsaid.body()), (3, None));
    }
}
