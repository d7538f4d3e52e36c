//! A bulkhead: so many requests at a time behind one door, so that what is behind it sinks alone.
//!
//! ```toml
//! [upstreams.orders]
//! endpoints = ["10.0.0.5:8002"]
//! max_in_flight = 500
//! queue = { size = 100, timeout = "500ms" }
//!
//! [routes.reports]
//! match = { path = "/reports/{*rest}" }
//! upstream = "orders"
//! max_in_flight = 50
//! criticality = "low"
//! ```
//!
//! A request has its place from before it is sent to an endpoint until the end of its response; a WebSocket, until it
//! is closed. Where no place is free, it waits in the queue, if there is one: the more important (`criticality`) before
//! the less, and otherwise in the order in which they came. Nobody waits longer than `timeout`, or past the route's
//! own. Whose turn is not to be expected by then, as fast as places become free now, is refused at once and not after
//! the wait; so is who finds the queue full, unless somebody less important is in it, who then goes.
//!
//! Who is refused gets 503 with `Retry-After`: `upstream_busy`, or `route_busy`. A client that leaves is noticed only
//! when its turn has come.

use std::num::NonZeroU32;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Criticality, Patience, Permit, Permits, Refused, Room, Turn, Waiting};
use crate::observability::BulkheadMetrics;
use crate::text::{self, Spanned, Subject};

/// Who may wait for a place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// How many requests may wait, 1 to 10000. Default 100.
    pub size: text::Bounded<1, 10000>,
    /// How long each may wait, a minute at most. Default `"500ms"`.
    pub timeout: Option<Spanned<text::Duration>>,
}

const LONGEST: Duration = Duration::from_secs(60);
const USUAL: Duration = Duration::from_millis(500);

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig {
            size: text::Bounded::new(100).expect("100 is between 1 and 10000"),
            timeout: None,
        }
    }
}

impl QueueConfig {
    /// How many may wait.
    pub fn size(&self) -> u32 {
        u32::from(self.size.get())
    }

    /// How long each may wait.
    pub fn wait(&self) -> Duration {
        let said = self.timeout.as_ref();
        said.map_or(USUAL, |said| said.value.as_std())
    }

    /// What its types do not say.
    pub fn check(&self, subject: &mut Subject<'_>) {
        if let Some(said) = self
            .timeout
            .as_ref()
            .filter(|it| it.value.as_std() > LONGEST)
        {
            let what = format!("must be at most \"1m\", got \"{}\"", said.value);
            subject.key("timeout").error(said.span, what);
        }
    }
}

/// A door with so many places behind it.
#[derive(Debug)]
pub struct Bulkhead {
    permits: Arc<Permits>,
    limit: u32,
    size: u32,
    wait: Duration,
    metrics: BulkheadMetrics,
    begun: Once,
}

/// What came of asking for a place behind the door.
#[derive(Debug)]
pub enum Entry {
    Now(Permit),
    Later(Pending),
    Never(Refused),
}

/// Somebody who waits at the door.
#[derive(Debug)]
pub struct Pending {
    waiting: Waiting,
    since: Instant,
    bulkhead: Arc<Bulkhead>,
}

impl Bulkhead {
    /// A door for so many (`limit`), called `name`. What has come through one of this name before counts; what this one
    /// says holds from the first request on that comes to it: until then it may be that it is never used.
    pub fn new(
        name: &str,
        limit: NonZeroU32,
        queue: Option<&QueueConfig>,
        metrics: BulkheadMetrics,
        room: &Room,
    ) -> Arc<Bulkhead> {
        let size = queue.map_or(0, QueueConfig::size);
        Arc::new(Bulkhead {
            permits: room.permits(name, || Permits::new(limit.get(), size)),
            limit: limit.get(),
            size,
            wait: queue.map_or(Duration::ZERO, QueueConfig::wait),
            metrics,
            begun: Once::new(),
        })
    }

    /// Asks for a place, for a request that is of no use any more from its `deadline` on.
    pub fn enter(self: &Arc<Self>, class: Criticality, deadline: Option<Instant>) -> Entry {
        self.begun.call_once(|| self.begin());
        let patience = Patience {
            class,
            wait: self.wait,
            deadline,
        };
        match self.permits.take(patience) {
            Turn::Now(permit) => Entry::Now(permit),
            Turn::Later(waiting) => Entry::Later(Pending {
                waiting,
                since: Instant::now(),
                bulkhead: self.clone(),
            }),
            Turn::Never(refused) => {
                self.metrics.refused(refused.as_str());
                Entry::Never(refused)
            }
        }
    }

    /// The places behind it.
    pub fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    fn begin(&self) {
        self.permits.set_size(self.size);
        self.permits.set_limit(self.limit);
        let permits = Arc::downgrade(&self.permits);
        self.metrics.watch(move || {
            let permits = permits.upgrade()?;
            Some([
                ("in_flight", permits.in_flight()),
                ("waiting", permits.waiting()),
                ("limit", permits.limit()),
            ])
        });
    }
}

impl Pending {
    /// Waits for the turn.
    pub async fn turn(self) -> Result<Permit, Refused> {
        let answer = self.waiting.turn().await;
        let metrics = &self.bulkhead.metrics;
        metrics.waited(self.since.elapsed());
        if let Err(refused) = answer {
            metrics.refused(refused.as_str());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observability::Metrics;

    fn bulkhead(metrics: &Metrics, limit: u32, room: &Room) -> Arc<Bulkhead> {
        let limit = NonZeroU32::new(limit).unwrap();
        let queue = QueueConfig::default();
        Bulkhead::new(
            "u",
            limit,
            Some(&queue),
            metrics.upstream_bulkhead("u"),
            room,
        )
    }

    #[tokio::test]
    async fn it_counts_on_after_another_and_changes_nothing_before_its_first_request() {
        let (metrics, room) = (Metrics::new(), Room::default());
        let first = bulkhead(&metrics, 1, &room);
        let enter = |door: &Arc<Bulkhead>| door.enter(Criticality::Normal, None);
        let Entry::Now(held) = enter(&first) else {
            panic!("it is free");
        };
        let Entry::Later(pending) = enter(&first) else {
            panic!("there is a queue");
        };
        let next = bulkhead(&metrics, 3, &room);
        assert_eq!((next.permits.limit(), next.permits.in_flight()), (1, 1));
        assert!(matches!(enter(&next), Entry::Now(_)));
        pending.turn().await.unwrap();
        assert_eq!((first.permits.limit(), first.permits.in_flight()), (3, 1));
        drop(held);
        let text = String::from_utf8(metrics.expose()).unwrap();
        for line in [
            "northgate_upstream_places{northgate_upstream=\"u\",state=\"limit\"} 3",
            "northgate_upstream_places{northgate_upstream=\"u\",state=\"in_flight\"} 0",
            "northgate_upstream_wait_seconds_count{northgate_upstream=\"u\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        drop((first, next));
        let text = String::from_utf8(metrics.expose()).unwrap();
        assert!(!text.contains("northgate_upstream_places{"), "{text}");
    }
}
