//! What one try has shown of the endpoint that it went to, and the one place where that is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

use super::Upstream;
use super::breaker::Probe;
use super::endpoint::Endpoint;
use super::window::Counts;
use crate::response::Code;

/// How one try ended for its endpoint. Each try has one at most: a client that leaves, and a time that somebody else
/// has run out of, say nothing about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub end: End,
    /// From when the whole request had been sent to the header of the response. `None` where there was none, or it
    /// came before: then it says nothing about how long the endpoint takes. It has taken so long at least where it was
    /// overtaken.
    pub time: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The header of a response has come; its body may still break off, see [`Outcome::broken_off`].
    Answered {
        status: StatusCode,
        /// The `grpc-status` of a call that ended with its header.
        grpc: Option<u8>,
    },
    /// There was no response. The code's fault is the upstream's.
    Failed(Code),
    /// There was no response while the route's time for the whole exchange ran out. That says nothing of how much there
    /// is to do: the time may have been short.
    Silent,
    /// Another endpoint was asked as well after a while, and has answered before.
    Overtaken,
    /// What was told as answered before has broken off behind its header.
    BrokenOff(Code),
}

/// Statuses of gRPC that say that the server has failed.
const UNKNOWN: u8 = 2;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const DATA_LOSS: u8 = 15;

impl Outcome {
    pub(super) fn answered(
        status: StatusCode,
        grpc: Option<u8>,
        time: Option<Duration>,
    ) -> Outcome {
        let end = End::Answered { status, grpc };
        Outcome { end, time }
    }

    pub(super) fn failed(code: Code) -> Outcome {
        let end = End::Failed(code);
        Outcome { end, time: None }
    }

    /// As windows count it; what takes as long as `slow` is slow.
    pub(super) fn counts(&self, slow: Option<Duration>) -> Counts {
        let is_slow = matches!((slow, self.time), (Some(slow), Some(time)) if time >= slow);
        let is_counted = match self.end {
            End::BrokenOff(_) => false,
            // Of who was overtaken it is known at most that it was slow.
            End::Overtaken => is_slow,
            End::Answered { .. } | End::Failed(_) | End::Silent => true,
        };
        Counts {
            total: u64::from(is_counted),
            failed: u64::from(self.is_failure()),
            slow: u64::from(is_slow),
        }
    }

    /// Whether the endpoint has failed. What clients can bring about by asking for it is no failure: methods and calls that
    /// are not there, or more than there may be.
    pub(super) fn is_failure(&self) -> bool {
        match self.end {
            End::Answered { status, grpc } => {
                let is_of_call = grpc.is_some_and(|grpc| {
                    matches!(grpc, UNKNOWN | INTERNAL | UNAVAILABLE | DATA_LOSS)
                });
                let is_asked_for = matches!(
                    status,
                    StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED
                );
                is_of_call || (status.is_server_error() && !is_asked_for)
            }
            End::Failed(_) | End::Silent | End::BrokenOff(_) => true,
            End::Overtaken => false,
        }
    }

    pub(super) fn overtaken(after: Duration) -> Outcome {
        Outcome {
            end: End::Overtaken,
            time: Some(after),
        }
    }

    pub(super) fn silent() -> Outcome {
        let end = End::Silent;
        Outcome { end, time: None }
    }

    pub(super) fn broken_off(code: Code) -> Outcome {
        let end = End::BrokenOff(code);
        Outcome { end, time: None }
    }
}

/// What a try has had to be let in as, by the breakers of its upstream and of its endpoint.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub of_upstream: Option<Probe>,
    pub of_endpoint: Option<Probe>,
}

impl Upstream {
    /// Takes in how a try has ended: what has a mind of its own about how endpoints do hears of it here and nowhere else.
    ///
    /// It is told once in each try, when the header comes or it is known that none will; and once more where the
    /// response then breaks off.
    pub(super) fn learn(
        &self,
        endpoint: &Arc<Endpoint>,
        probes: &mut Probes,
        now: Instant,
        outcome: &Outcome,
    ) {
        if let Some(capacity) = &self.capacity {
            capacity.learn(now, outcome);
        }
        self.learn_latency(endpoint, now, outcome);
        let mut has_changed = false;
        if let Some(breaker) = &self.guards.breaker {
            has_changed |= breaker.hear(probes.of_upstream.take(), now, outcome);
        }
        if let Some(breaker) = endpoint.breaker() {
            has_changed |= breaker.hear(probes.of_endpoint.take(), now, outcome);
        }
        if let Some(outlier) = endpoint.outlier() {
            has_changed |= outlier.learn(now, outcome);
        }
        if has_changed {
            self.guards.bell.notify_one();
        }
    }
}

/// What a call of gRPC that ended with its header came to.
pub fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    std::str::from_utf8(headers.get("grpc-status")?.as_bytes())
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_can_ask_for_what_is_no_failure() {
        let check = |status: u16, grpc: Option<u8>, expected: bool| {
            let status = StatusCode::from_u16(status).unwrap();
            let outcome = Outcome::answered(status, grpc, None);
            assert_eq!(outcome.is_failure(), expected, "{status} {grpc:?}");
        };
        for (status, expected) in [
            (101, false),
            (200, false),
            (304, false),
            (404, false),
            (429, false),
            (500, true),
            (501, false),
            (502, true),
            (503, true),
            (504, true),
            (505, false),
            (599, true),
        ] {
            check(status, None, expected);
        }
        for (grpc, expected) in [
            (0, false),
            (2, true),
            (4, false),
            (5, false),
            (8, false),
            (12, false),
            (13, true),
            (14, true),
            (15, true),
            (16, false),
        ] {
            check(200, Some(grpc), expected);
        }
        assert!(Outcome::failed(Code::UpstreamReset).is_failure());
    }

    #[test]
    fn what_breaks_off_was_counted_before() {
        let slow = Some(Duration::from_secs(1));
        let check = |outcome: Outcome, total: u64, failed: u64, slow_ones: u64| {
            let counts = outcome.counts(slow);
            assert_eq!(
                (counts.total, counts.failed, counts.slow),
                (total, failed, slow_ones),
                "{outcome:?}"
            );
        };
        let ok = |time| Outcome::answered(StatusCode::OK, None, time);
        check(ok(None), 1, 0, 0);
        check(ok(Some(Duration::from_millis(999))), 1, 0, 0);
        check(ok(slow), 1, 0, 1);
        check(Outcome::failed(Code::UpstreamReset), 1, 1, 0);
        check(Outcome::broken_off(Code::UpstreamReset), 0, 1, 0);
    }

    #[test]
    fn the_status_of_a_call_is_a_number() {
        let check = |written: &str, expected: Option<u8>| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", written.parse().unwrap());
            assert_eq!(grpc_status(&headers), expected, "{written:?}");
        };
        check("0", Some(0));
        check("14", Some(14));
        check("", None);
        check("UNAVAILABLE", None);
        check("-1", None);
        check("300", None);
        assert_eq!(grpc_status(&HeaderMap::new()), None);
    }
}
