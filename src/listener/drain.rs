//! The end of a listener's work, as its connections hear of it.
//!
//! Each generation of a listener has one: a listener that is removed or altered drains while the others go on. It
//! begins when nobody new is to come, and is over with the grace: what is then still open ends with a word where the
//! protocol has one, and is dropped a moment later.
//!
//! A connection that serves requests pays one look at an atomic for it. Whoever runs under [`Drain::run`] is polled
//! when the stage changes, and needs to wait for nothing.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Sleep;

/// How long a connection without a request is kept when the drain has begun, if the grace is not shorter: a client
/// that sends its next request while the news travels is served, and told to come to somebody else.
const PATIENCE: Duration = Duration::from_secs(3);
/// What ends with a word when the grace is over has so long for it.
pub const LAST_WORDS: Duration = Duration::from_secs(2);

const SERVING: u8 = 0;
const DRAINING: u8 = 1;
const OVER: u8 = 2;

/// The stage in which one generation of a listener is.
#[derive(Debug)]
pub struct Drain {
    stage: AtomicU8,
    /// Milliseconds.
    patience: AtomicU64,
    changed: Arc<Notify>,
}

impl Drain {
    /// Of a listener that serves.
    pub fn new() -> Arc<Drain> {
        Arc::new(Drain {
            stage: AtomicU8::new(SERVING),
            patience: AtomicU64::new(0),
            changed: Arc::new(Notify::new()),
        })
    }

    /// Nobody new is to come. `grace` is how long requests in flight will have.
    pub fn begin(&self, grace: Duration) {
        let patience = PATIENCE.min(grace / 2).as_millis();
        let patience = u64::try_from(patience).unwrap_or(u64::MAX);
        self.patience.store(patience, Ordering::Relaxed);
        self.enter(DRAINING);
    }

    /// The grace is over.
    pub fn end(&self) {
        self.enter(OVER);
    }

    /// Whether requests are to be the last on their connections.
    pub fn has_begun(&self) -> bool {
        self.stage.load(Ordering::Acquire) != SERVING
    }

    /// Whether what is still in flight is to end now.
    pub fn is_over(&self) -> bool {
        self.stage.load(Ordering::Acquire) == OVER
    }

    /// How long a connection without a request is kept.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience.load(Ordering::Relaxed))
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.has_begun() {
                return;
            }
            changed.await;
        }
    }

    /// Ready once it has begun and as long as the patience lasts has passed since, or since the first poll.
    ///
    /// Only for whoever runs under `Drain::run`.
    pub fn silence(&self) -> Silence<'_> {
        Silence {
            drain: self,
            timer: None,
        }
    }

    /// Serves a connection in a task of its own: polls it when the stage changes as well, and drops it where it goes
    /// on for [`LAST_WORDS`] after the end.
    pub(super) async fn run(self: Arc<Self>, connection: impl Future<Output = ()>) {
        let mut connection = pin!(connection);
        let mut ear = Ear::new(self);
        let mut last_words: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            let stage = ear.listen(cx);
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if stage != OVER {
                return Poll::Pending;
            }
            let timer = || Box::pin(tokio::time::sleep(LAST_WORDS));
            last_words.get_or_insert_with(timer).as_mut().poll(cx)
        })
        .await;
    }

    fn enter(&self, stage: u8) {
        self.stage.fetch_max(stage, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

/// See [`Drain::silence`].
#[derive(Debug)]
pub struct Silence<'d> {
    drain: &'d Drain,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence<'_> {
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.drain.has_begun() {
            return Poll::Pending;
        }
        let timer = || Box::pin(tokio::time::sleep(self.drain.patience()));
        self.timer.get_or_insert_with(timer).as_mut().poll(cx)
    }
}

/// The end of the grace, for an exchange that has a task of its own.
#[derive(Debug)]
pub struct End(Ear);

impl End {
    pub fn of(drain: Arc<Drain>) -> End {
        End(Ear::new(drain))
    }

    /// Ready once the grace is over. It has to be polled by the same task each time.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.listen(cx) {
            OVER => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

/// Has a task polled when the stage changes. A task has the same waker all its life, so that it is left behind once
/// for each stage, and every poll in between costs one look.
#[derive(Debug)]
struct Ear {
    drain: Arc<Drain>,
    changed: Option<Pin<Box<OwnedNotified>>>,
    listens_since: Option<u8>,
}

impl Ear {
    fn new(drain: Arc<Drain>) -> Ear {
        Ear {
            drain,
            changed: None,
            listens_since: None,
        }
    }

    /// The stage. The task is polled again when it is another.
    fn listen(&mut self, cx: &mut Context<'_>) -> u8 {
        let stage = self.drain.stage.load(Ordering::Acquire);
        if self.listens_since != Some(stage) {
            self.listens_since = Some(stage);
            let changed = self.drain.changed.clone().notified_owned();
            let changed = self.changed.insert(Box::pin(changed));
            let is_late = changed.as_mut().poll(cx).is_ready();
            if is_late || self.drain.stage.load(Ordering::Acquire) != stage {
                // It has changed before anybody listened.
                cx.waker().wake_by_ref();
            }
        }
        stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_kept_for_a_while() {
        let check = async |grace: u64, expected: u64| {
            let drain = Drain::new();
            let start = Instant::now();
            let running = drain.clone().run(async {
                let mut silence = drain.silence();
                poll_fn(|cx| silence.poll(cx)).await;
            });
            let later = async {
                tokio::time::sleep(Duration::from_secs(100)).await;
                drain.begin(Duration::from_secs(grace));
            };
            tokio::join!(running, later);
            assert_eq!(start.elapsed().as_secs() - 100, expected, "{grace}");
        };
        check(30, 3).await;
        check(4, 2).await;
        check(0, 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_after_the_end_is_dropped() {
        let drain = Drain::new();
        let start = Instant::now();
        let running = tokio::spawn(drain.clone().run(std::future::pending()));
        tokio::task::yield_now().await;
        drain.begin(Duration::from_secs(30));
        tokio::task::yield_now().await;
        assert!(!running.is_finished());
        drain.end();
        running.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), LAST_WORDS.as_secs());
    }

    /// Whatever the moment, nobody sleeps through it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_stage_is_heard() {
        for _ in 0..2000 {
            let drain = Drain::new();
            let mut end = End::of(drain.clone());
            let exchange = tokio::spawn(poll_fn(move |cx| end.poll(cx)));
            let waiting = tokio::spawn({
                let drain = drain.clone();
                async move { drain.begun().await }
            });
            drain.begin(Duration::ZERO);
            drain.end();
            let both = async { tokio::try_join!(exchange, waiting) };
            let heard = tokio::time::timeout(Duration::from_secs(30), both).await;
            heard.expect("it is heard").unwrap();
        }
    }
}
