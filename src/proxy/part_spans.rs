//! What is told of the parts of an aggregation: each is a span of the client's trace, beneath the gateway's own.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::aggregation::{Contract, Outcome, Reason, Run};
use crate::facts::TraceContext;
use crate::routing::Route;

/// The spans of one aggregation's parts, in their order; `None` for those that were not asked for.
pub(super) struct PartSpans {
    /// When the client's exchange began.
    began: Instant,
    all: Vec<Option<Span>>,
}

struct Span {
    trace: TraceContext,
    started: Instant,
    /// `None` while it is under way.
    took: Option<Duration>,
}

impl PartSpans {
    pub(super) fn new(began: Instant, parts: usize) -> PartSpans {
        let all = std::iter::repeat_with(|| None).take(parts).collect();
        PartSpans { began, all }
    }

    /// A part is asked for.
    pub(super) fn start(&mut self, part: usize, trace: TraceContext) {
        if let Some(place) = self.all.get_mut(part) {
            *place = Some(Span {
                trace,
                started: Instant::now(),
                took: None,
            });
        }
    }

    pub(super) fn end(&mut self, part: usize, took: Duration) {
        if let Some(Some(span)) = self.all.get_mut(part) {
            span.took = Some(took);
        }
    }

    /// Counts every part, and gives what the log says of them. `rest` is how those have ended that have not: `budget` where no
    /// time is left, else `cancelled`. To be called once, before the run gives up.
    pub(super) fn tell(&self, run: &Run, route: &Route, rest: Rest) -> Box<str> {
        let plan = run.plan();
        let mut told = String::new();
        for (index, part) in plan.parts().iter().enumerate() {
            let reason = match (run.outcome(index), rest) {
                (Some(Outcome::Failed(reason)), _) => Some(*reason),
                (None, Rest::Budget) => Some(Reason::Budget),
                _ => None,
            };
            let result = match (run.outcome(index), reason, part.contract()) {
                (_, Some(_), Contract::Default(_)) => "default",
                (_, Some(_), _) => "failed",
                (Some(Outcome::LeftOut), ..) => "left_out",
                (Some(Outcome::Answered(it)), ..) if it.is_stale() => Reason::Stale.label(),
                (None, ..) => "cancelled",
                _ => "ok",
            };
            let span = self.all.get(index).and_then(Option::as_ref);
            let took = span.map(|span| span.took.unwrap_or_else(|| span.started.elapsed()));
            let metrics = route
                .parts
                .get(index)
                .and_then(|it| it.part_metrics.as_ref());
            if let Some(metrics) = metrics {
                metrics.ended(result, reason.map_or("", Reason::label));
                if let Some(took) = took {
                    metrics.took(took);
                }
            }
            let comma = if told.is_empty() { "" } else { "," };
            let word = reason.map(|reason| reason.slug(plan));
            let word = word.as_deref().unwrap_or(result);
            // Writing into a string does not fail.
            let _ = write!(told, "{comma}{}={word}", part.name());
            if let (Some(span), Some(took)) = (span, took) {
                let started = span.started.saturating_duration_since(self.began);
                let (started, took) = (started.as_millis(), took.as_millis());
                let id = String::from_utf8_lossy(span.trace.span_id());
                let _ = write!(told, ":{took}ms@{started}ms:{id}");
            }
        }
        told.into()
    }
}

/// What has become of those that have not ended by themselves.
#[derive(Clone, Copy)]
pub(super) enum Rest {
    /// No time is left for them.
    Budget,
    /// Nobody needs them any more.
    Cancelled,
}
