//! How many requests an upstream may have at a time.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::outcome::{End, Outcome};
use super::{Build, Config};
use crate::limits::{Bulkhead, GradientBounds, Limit};
use crate::response::Code;

/// The limit of an upstream, and what it is learned from where it is learned.
#[derive(Debug)]
pub(super) struct Capacity {
    bulkhead: Arc<Bulkhead>,
}

/// What an answer says of how busy the upstream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// The time that it took is the time that it takes to serve.
    Served,
    /// There is too much to do.
    Overloaded,
    /// To fail, or to say that there is no such thing, takes a time of its own, and is mostly quick: it says nothing. Who
    /// calls can ask for as many of these as it likes.
    Nothing,
}

impl Capacity {
    /// `None` where there is no limit, or after diagnostics.
    pub(super) fn build(name: &str, config: &Config, context: &mut Build<'_>) -> Option<Capacity> {
        let subject = &mut context.subject;
        let most = config.max_in_flight;
        if let Some(queue) = &config.queue {
            let mut subject = subject.key("queue");
            queue.check(&mut subject);
            if most.is_none() && config.adaptive_concurrency.is_none() {
                let problem = subject.error(queue.span, "nobody waits where nothing is limited");
                problem.help("add max_in_flight = 500, or remove queue");
            }
        }
        let limit = match &config.adaptive_concurrency {
            None => Limit::Fixed(most?),
            Some(adaptive) => {
                let mut subject = subject.key("adaptive_concurrency");
                Limit::Learned(GradientBounds::build(adaptive, most, &mut subject)?)
            }
        };
        let queue = config.queue.as_ref().map(|queue| &queue.value);
        let metrics = context.metrics.upstream_bulkhead(name);
        let key = format!("upstreams.{name}");
        let bulkhead = Bulkhead::new(&key, limit, queue, metrics, context.limits);
        Some(Capacity { bulkhead })
    }

    pub(super) fn bulkhead(&self) -> &Arc<Bulkhead> {
        &self.bulkhead
    }

    /// What a try says of how many requests at a time are good.
    pub(super) fn learn(&self, now: Instant, outcome: &Outcome) {
        match (outcome.end, outcome.time) {
            // What is answered before it has been sent says nothing about how busy the upstream is.
            (End::Answered { status, .. }, Some(time)) => match Word::of(status) {
                Word::Served => self.bulkhead.answered(now, time),
                Word::Overloaded => self.bulkhead.overloaded(now),
                Word::Nothing => {}
            },
            (End::Failed(Code::UpstreamTimeout | Code::UpstreamConnectTimeout), _) => {
                self.bulkhead.overloaded(now);
            }
            _ => {}
        }
    }
}

impl Word {
    fn of(status: StatusCode) -> Word {
        match status {
            StatusCode::SERVICE_UNAVAILABLE => Word::Overloaded,
            failure if failure.is_client_error() || failure.is_server_error() => Word::Nothing,
            _ => Word::Served,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_served_tells_how_long_it_takes_to_serve() {
        use Word::*;
        for (status, expected) in [
            (101, Served),
            (200, Served),
            (304, Served),
            (401, Nothing),
            (404, Nothing),
            (429, Nothing),
            (500, Nothing),
            (502, Nothing),
            (503, Overloaded),
            (504, Nothing),
            (599, Nothing),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Word::of(status), expected, "{status}");
        }
    }
}
