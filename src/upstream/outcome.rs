//! What one try has shown of the endpoint that it went to, and the one place where that is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

use super::Upstream;
use super::endpoint::Endpoint;
use crate::response::Code;

/// How one try ended for its endpoint. Each try has one at most: a client that leaves, and a time that somebody else
/// has run out of, say nothing about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub end: End,
    /// From when the whole request had been sent to the header of the response. `None` where there was none, or it
    /// came before: then it says nothing about how long the endpoint takes.
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
    /// What was told as answered before has broken off behind its header.
    BrokenOff(Code),
}

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

    pub(super) fn broken_off(code: Code) -> Outcome {
        let end = End::BrokenOff(code);
        Outcome { end, time: None }
    }
}

impl Upstream {
    /// Takes in how a try has ended: what has a mind of its own about how endpoints do hears of it here and nowhere else.
    ///
    /// It is told once in each try, when the header comes or it is known that none will; and once more where the
    /// response then breaks off.
    pub(super) fn learn(&self, endpoint: &Arc<Endpoint>, now: Instant, outcome: &Outcome) {
        if let Some(capacity) = &self.capacity {
            capacity.learn(now, outcome);
        }
        self.learn_latency(endpoint, now, outcome);
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
