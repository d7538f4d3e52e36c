//! The deadlines of one exchange on an HTTP/2 connection, which carries others that must not suffer from its end.
//!
//! The engine has one fixed timeout for every read of an HTTP/2 response, counts the first from the end of the
//! request's *header*, and retires the whole connection when it goes off. So it is given none, and an exchange over
//! HTTP/2 waits on its own clock: whoever reads the client on the engine's behalf polls a [`Timer`] beside it,
//! and an exchange that ends this way resets its own stream alone.
//!
//! A wait begins when the engine comes back to waiting, not when something last moved: the time in which it was
//! busy writing to a slow client or to a slow upstream has limits of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::Sleep;

/// How often an upload is looked at from outside.
const LOOK: Duration = Duration::from_millis(200);

/// The deadlines of one exchange. All of it happens in the exchange's own task, apart from `Clock::watch_upload`.
#[derive(Debug)]
pub struct Clock {
    made: Instant,
    /// The end of the whole exchange.
    limit: Option<Instant>,
    /// How long the upstream may leave a part of an upload untaken.
    stall: Duration,
    /// How long the wait that begins may take, in microseconds.
    silence: AtomicU64,
    /// When it was told to begin, in microseconds after `made`.
    told: AtomicU64,
    /// How many waits were told to begin, and the last one that did.
    wait: AtomicU64,
    begun: AtomicU64,
    has_fired: AtomicBool,
    is_stalled: AtomicBool,
    has_responded: Notify,
}

impl Clock {
    pub(super) fn new(limit: Option<Instant>, stall: Duration) -> Arc<Clock> {
        Arc::new(Clock {
            made: Instant::now(),
            limit,
            stall,
            silence: AtomicU64::new(micros(stall)),
            told: AtomicU64::new(0),
            wait: AtomicU64::new(1),
            begun: AtomicU64::new(0),
            has_fired: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            has_responded: Notify::new(),
        })
    }

    /// What comes next may take as long as `silence`.
    pub(super) fn restart(&self, now: Instant, silence: Duration) {
        let told = micros(now.saturating_duration_since(self.made));
        self.told.store(told, Ordering::Relaxed);
        self.silence.store(micros(silence), Ordering::Relaxed);
        self.wait.fetch_add(1, Ordering::Release);
    }

    /// Another try begins: what has become of the one before says nothing about it.
    pub(super) fn begin_again(&self, now: Instant, silence: Duration) {
        self.has_fired.store(false, Ordering::Relaxed);
        self.is_stalled.store(false, Ordering::Relaxed);
        self.restart(now, silence);
    }

    /// Whether a wait took too long.
    pub(super) fn has_fired(&self) -> bool {
        self.has_fired.load(Ordering::Relaxed)
    }

    /// Whether it was the upstream that took no more of an upload.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// The response is complete.
    pub fn responded(&self) {
        self.has_responded.notify_one();
    }

    /// The wait that was told to begin and has not, and when it was told so.
    fn due(&self) -> Option<(u64, Duration)> {
        let wait = self.wait.load(Ordering::Acquire);
        let told = Duration::from_micros(self.told.load(Ordering::Relaxed));
        (self.begun.load(Ordering::Relaxed) != wait).then_some((wait, told))
    }

    /// Knocks at `engine` for as long as an upload may hang in the engine.
    ///
    /// When the engine has given up sending, it no longer reads the client, so that no [`Timer`] is polled, and
    /// waits for the response without a limit. A knock makes it ask its [`Stall`].
    pub(super) async fn watch_upload(self: Arc<Self>, engine: mpsc::Sender<Bytes>) {
        loop {
            tokio::select! {
                () = engine.closed() => return,
                () = self.has_responded.notified() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            // One knock at a time: between two that it has heard, the engine has had the time to wait.
            let is_heard = engine.capacity() == engine.max_capacity();
            if is_heard && self.due().is_some() {
                let _ = engine.try_send(Bytes::new());
            }
        }
    }
}

/// Tells an upload that hangs from one that goes on.
#[derive(Debug)]
pub struct Stall {
    clock: Arc<Clock>,
    suspected: Option<u64>,
}

impl Stall {
    pub fn new(clock: Arc<Clock>) -> Stall {
        Stall {
            clock,
            suspected: None,
        }
    }

    /// Called at each knock: whether the engine has given the upload up. It has where the same wait is still to
    /// begin at a second knock, though the upstream had all the time that it may take.
    pub fn is_certain(&mut self) -> bool {
        let Some((wait, told)) = self.clock.due() else {
            return false;
        };
        let is_again = self.suspected.replace(wait) == Some(wait);
        let spent = self.clock.made.elapsed().saturating_sub(told);
        let limit = self.clock.limit;
        let is_late = limit.is_some_and(|limit| Instant::now() >= limit);
        let is_certain = is_again && (is_late || spent >= self.clock.stall);
        if is_certain {
            self.clock.is_stalled.store(true, Ordering::Relaxed);
        }
        is_certain
    }
}

/// Waits on a [`Clock`].
#[derive(Debug)]
pub struct Timer {
    clock: Arc<Clock>,
    until: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub fn new(clock: Arc<Clock>) -> Timer {
        Timer {
            until: clock.made,
            clock,
            sleep: None,
        }
    }

    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Ready where the wait has taken too long. A wait that was told to begin begins with the first poll.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.clock.wait.load(Ordering::Acquire);
        if self.clock.begun.swap(wait, Ordering::Relaxed) != wait {
            let silence = Duration::from_micros(self.clock.silence.load(Ordering::Relaxed));
            let until = Instant::now() + silence;
            self.until = self.clock.limit.map_or(until, |limit| limit.min(until));
        }
        let until = tokio::time::Instant::from(self.until);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        // A deadline that has moved on is looked at when the old one has come, which spares most of the settings.
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= until {
                self.clock.has_fired.store(true, Ordering::Relaxed);
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
        Poll::Pending
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(600);

    async fn fires_after(timer: &mut Timer) -> Duration {
        let begin = tokio::time::Instant::now();
        poll_fn(|cx| timer.poll(cx)).await;
        begin.elapsed()
    }

    #[tokio::test]
    async fn a_wait_ends_with_its_silence_or_with_the_whole() {
        for (limit, silence) in [(None, SHORT), (Some(SHORT), LONG), (Some(LONG), SHORT)] {
            let limit = limit.map(|limit| Instant::now() + limit);
            let mut timer = Timer::new(Clock::new(limit, LONG));
            timer.clock.restart(Instant::now(), silence);
            let spent = fires_after(&mut timer).await;
            assert!((SHORT / 2..SHORT * 20).contains(&spent), "{spent:?}");
            assert!(timer.clock.has_fired());
        }
    }

    #[tokio::test]
    async fn a_shorter_wait_replaces_a_longer_and_a_longer_a_shorter() {
        let mut timer = Timer::new(Clock::new(None, LONG));
        timer.clock.restart(Instant::now(), LONG);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        timer.clock.restart(Instant::now(), SHORT / 4);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        timer.clock.restart(Instant::now(), SHORT);
        assert!(fires_after(&mut timer).await >= SHORT);
    }

    #[tokio::test]
    async fn a_wait_begins_with_its_first_poll() {
        let mut timer = Timer::new(Clock::new(None, LONG));
        timer.clock.restart(Instant::now(), SHORT);
        tokio::time::sleep(SHORT * 2).await;
        assert!(fires_after(&mut timer).await >= SHORT);
    }

    #[tokio::test]
    async fn an_upload_hangs_where_no_wait_begins() {
        let clock = Clock::new(None, Duration::ZERO);
        let mut stall = Stall::new(clock.clone());
        clock.restart(Instant::now(), SHORT);
        assert!(!stall.is_certain(), "at the first knock it may go on yet");
        assert!(stall.is_certain());
        assert!(clock.is_stalled());

        let mut timer = Timer::new(Clock::new(None, Duration::ZERO));
        let mut stall = Stall::new(timer.clock.clone());
        timer.clock.restart(Instant::now(), LONG);
        assert!(!stall.is_certain());
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        assert!(!stall.is_certain(), "it waits");
        timer.clock.restart(Instant::now(), LONG);
        assert!(!stall.is_certain(), "another wait");
    }

    #[tokio::test]
    async fn a_watch_of_an_upload_ends_with_the_response_or_the_exchange() {
        let clock = Clock::new(None, Duration::ZERO);
        let (knock, mut door) = mpsc::channel(8);
        let watch = tokio::spawn(clock.clone().watch_upload(knock));
        clock.restart(Instant::now(), LONG);
        assert!(door.recv().await.is_some(), "it knocks");
        clock.responded();
        watch.await.unwrap();
        let (knock, door) = mpsc::channel(8);
        let watch = tokio::spawn(clock.watch_upload(knock));
        drop(door);
        watch.await.unwrap();
    }
}
