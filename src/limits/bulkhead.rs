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

use super::{
    Criticality, Edition, Gradient, GradientBounds, Patience, Permit, Permits, Refused, Room, Turn,
    Waiting,
};
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
    source: Source,
    size: u32,
    wait: Duration,
    metrics: BulkheadMetrics,
    edition: Edition,
    begun: Once,
}

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    Fixed(NonZeroU32),
    /// As many as are good, as far as that is learned.
    Learned(GradientBounds),
}

/// Where the number of places comes from.
#[derive(Debug)]
enum Source {
    Fixed(NonZeroU32),
    Learned(Arc<Gradient>, GradientBounds),
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
    /// A door for so many (`limit`), called `name`. What has come through one of this name before counts, and what was
    /// learned of it is known; what this one says holds from the first request on that comes to it, until one that was
    /// made later has its first: before, it may be that it is never used.
    pub fn new(
        name: &str,
        limit: Limit,
        queue: Option<&QueueConfig>,
        metrics: BulkheadMetrics,
        room: &Room,
    ) -> Arc<Bulkhead> {
        let size = queue.map_or(0, QueueConfig::size);
        let source = match limit {
            Limit::Fixed(limit) => Source::Fixed(limit),
            Limit::Learned(bounds) => {
                let gradient = room.gradient(name, || Gradient::new(bounds));
                Source::Learned(gradient, bounds)
            }
        };
        let places = || match &source {
            Source::Fixed(limit) => limit.get(),
            Source::Learned(gradient, _) => gradient.limit(),
        };
        Arc::new(Bulkhead {
            permits: room.permits(name, || Permits::new(places(), size)),
            source,
            size,
            wait: queue.map_or(Duration::ZERO, QueueConfig::wait),
            metrics,
            edition: Edition::next(),
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

    /// A place that is free and that nobody waits for.
    pub fn enter_if_free(&self) -> Option<Permit> {
        self.permits.take_if_free()
    }

    /// What is behind it has begun to answer a request after `time`.
    pub fn answered(&self, now: Instant, time: Duration) {
        self.learn(|gradient, in_flight| gradient.answered(now, time, in_flight));
    }

    /// What is behind it has said that it has too much to do, or nothing in time.
    pub fn overloaded(&self, now: Instant) {
        self.learn(|gradient, in_flight| gradient.overloaded(now, in_flight));
    }

    fn learn(&self, tell: impl FnOnce(&Gradient, u32) -> Option<u32>) {
        if let Source::Learned(gradient, _) = &self.source
            && let Some(limit) = tell(gradient, self.permits.in_flight())
        {
            self.permits.learn(limit);
        }
    }

    fn begin(&self) {
        let is_learned = matches!(self.source, Source::Learned(..));
        let places = || match &self.source {
            Source::Fixed(limit) => limit.get(),
            Source::Learned(gradient, bounds) => gradient.bound(*bounds),
        };
        self.permits
            .say(self.edition, is_learned, self.size, places);
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
        let limit = Limit::Fixed(NonZeroU32::new(limit).unwrap());
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
        let late = bulkhead(&metrics, 7, &room);
        let next = bulkhead(&metrics, 3, &room);
        assert_eq!((next.permits.limit(), next.permits.in_flight()), (1, 1));
        assert!(matches!(enter(&next), Entry::Now(_)));
        pending.turn().await.unwrap();
        assert_eq!((first.permits.limit(), first.permits.in_flight()), (3, 1));
        drop(held);
        // One of the configuration before has no say any more, also where its first request comes only now.
        assert!(matches!(enter(&late), Entry::Now(_)));
        assert_eq!(first.permits.limit(), 3);
        drop(late);
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

    #[tokio::test]
    async fn what_is_learned_outlives_what_says_within_which_bounds() {
        let (metrics, room) = (Metrics::new(), Room::default());
        let door = |limit| {
            let metrics = metrics.upstream_bulkhead("u");
            Bulkhead::new("u", limit, None, metrics, &room)
        };
        let learned = |min, max| Limit::Learned(GradientBounds::new(min, max, 20));
        let enter = |door: &Arc<Bulkhead>| door.enter(Criticality::Normal, None);
        let mut now = Instant::now();
        let mut teach = |door: &Bulkhead| {
            for _ in 0..400 {
                now += Duration::from_millis(20);
                door.overloaded(now);
            }
        };
        let first = door(learned(4, 100));
        drop(enter(&first));
        assert_eq!(first.permits.limit(), 20);
        teach(&first);
        assert_eq!(first.permits.limit(), 4);
        let second = door(learned(2, 100));
        drop(enter(&second));
        assert_eq!(second.permits.limit(), 4, "it does not begin anew");
        // Who is still under way by the first goes on learning, within the bounds of the second.
        teach(&first);
        assert_eq!(second.permits.limit(), 2);
        let fixed = door(Limit::Fixed(NonZeroU32::new(50).unwrap()));
        drop(enter(&fixed));
        teach(&first);
        assert_eq!(fixed.permits.limit(), 50, "what is fixed is not learned");
    }
}
