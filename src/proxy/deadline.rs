//! The end of the time for a whole exchange, for what the gateway itself waits for before there is an upstream.
//!
//! What others wait for as well is not broken off by it: whoever does such work lets it go on by itself.

use std::time::{Duration, Instant};

use http::HeaderMap;
use pingora::http::RequestHeader;

use super::exchange::Exchange;
use super::forwarding;
use crate::response::{Code, Reply};
use crate::upstream::Attempt;

/// When an exchange has to be at its end, if that is said. Where it is not, no timer is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

/// How long something may take, and what it means where it takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub time: Duration,
    pub code: Code,
}

/// How long all of an exchange may take, where the route, a caller of gRPC or the batch that it is a call of says that.
pub(super) fn limit(exchange: &Exchange, request: &RequestHeader) -> Option<Duration> {
    let asked = exchange
        .names
        .has_grpc_timeout
        .then(|| forwarding::grpc_timeout(request));
    let all = [
        exchange.route.timeout,
        asked.flatten(),
        exchange.time_of_batch(),
    ];
    all.into_iter().flatten().min()
}

/// Tells the upstream how long this try may take, where that is limited: gRPC's own header in a call, and the one that the
/// upstream is configured to have. Nobody else's word for it goes on.
pub(super) fn tell(attempt: &Attempt, is_grpc: bool, headers: &mut HeaderMap) {
    let left = attempt.left();
    if let (Some(left), true) = (left, is_grpc) {
        headers.insert(
            forwarding::GRPC_TIMEOUT,
            forwarding::write_grpc_timeout(left),
        );
    }
    if let Some(name) = attempt.upstream().deadline_header() {
        match left {
            // None at all would mean none to some, and no limit to others.
            Some(left) => {
                let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
                headers.insert(name.clone(), millis.into());
            }
            None => {
                headers.remove(name);
            }
        }
    }
}

impl Deadline {
    pub(super) fn of(exchange: &Exchange, request: &RequestHeader) -> Deadline {
        Deadline(limit(exchange, request).and_then(|limit| exchange.began.checked_add(limit)))
    }

    /// The result of this work, or the reply where it comes too late.
    pub(super) async fn keep<T>(self, work: impl Future<Output = T>) -> Result<T, Reply> {
        let Some(end) = self.0 else {
            return Ok(work.await);
        };
        let done = tokio::time::timeout_at(end.into(), work).await;
        done.map_err(|_| Reply::failure(Code::ExchangeTimeout))
    }

    /// The time for a part of the request to arrive that has `own` for itself.
    pub(super) fn within(self, own: Duration) -> Allowance {
        self.within_at(own, Instant::now())
    }

    fn within_at(self, own: Duration, now: Instant) -> Allowance {
        let left = self.0.map(|end| end.saturating_duration_since(now));
        match left {
            Some(time) if time < own => Allowance {
                time,
                code: Code::ExchangeTimeout,
            },
            _ => Allowance {
                time: own,
                code: Code::RequestTimeout,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_time_counts() {
        let now = Instant::now();
        let check = |limit: Option<u64>, own: u64, expected: (u64, Code)| {
            let deadline = Deadline(limit.map(|limit| now + Duration::from_secs(limit)));
            let Allowance { time, code } = deadline.within_at(Duration::from_secs(own), now);
            assert_eq!((time.as_secs(), code), expected, "{limit:?} {own}");
        };
        check(None, 15, (15, Code::RequestTimeout));
        check(Some(20), 15, (15, Code::RequestTimeout));
        check(Some(5), 15, (5, Code::ExchangeTimeout));
        check(Some(0), 15, (0, Code::ExchangeTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_waited_for_until_then_and_no_longer() {
        let second = Duration::from_secs(1);
        let late = || tokio::time::sleep(10 * second);
        let code = |kept: Result<(), Reply>| kept.err().and_then(|reply| reply.code);
        let now = tokio::time::Instant::now().into_std();
        assert_eq!(code(Deadline(None).keep(late()).await), None);
        let soon = Deadline(Some(now + 11 * second));
        assert_eq!(code(soon.keep(late()).await), Some(Code::ExchangeTimeout));
        // What is there already is taken, however late it is.
        let over = Deadline(Some(now));
        assert_eq!(code(over.keep(async {}).await), None);
        assert_eq!(code(over.keep(late()).await), Some(Code::ExchangeTimeout));
    }
}
