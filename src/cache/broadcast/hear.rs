//! Listening to what others purge.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::super::marks::Purge;
use super::outbox::Outbox;
use super::stream::{End, Message, MessageId, Stream, parse};
use super::{Audience, Counts};
use crate::stores::{Redis, StoreError, pause};

/// For so long the server waits with its answer where nothing is new. Then it is looked whether it is still the right one.
const PATIENCE: Duration = Duration::from_secs(2);
/// A line was good that lasted for so long.
const STEADY: Duration = Duration::from_secs(10);
/// What was told so long before the last that was heard may be lost with that, and is told again.
const RECENT: Duration = Duration::from_secs(60);

/// What listens.
pub(super) struct Ear {
    store: Arc<Redis>,
    stream: Stream,
    /// Who this is. One that is started anew is another one.
    node: u64,
    outbox: Arc<Outbox>,
    audience: Arc<dyn Audience>,
    heard: Mutex<Option<MessageId>>,
    /// From where on all was heard, or purged for.
    since: OnceLock<MessageId>,
    tally: Tally,
    /// Whether the log says that nothing is heard.
    has_warned: AtomicBool,
}

#[derive(Default)]
struct Tally {
    told: AtomicU64,
    failed: AtomicU64,
    received: AtomicU64,
    caught_up: AtomicU64,
    missed: AtomicU64,
    /// In milliseconds of Unix time.
    heard: AtomicU64,
}

/// Why a line is given up.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the server that was listened to does not hear of what is told")]
    Deaf,
}

impl Ear {
    pub(super) fn new(
        (store, stream): (Arc<Redis>, Stream),
        outbox: Arc<Outbox>,
        audience: Arc<dyn Audience>,
        heard: Option<MessageId>,
    ) -> Ear {
        Ear {
            store,
            stream,
            node: rand::random(),
            outbox,
            audience,
            heard: Mutex::new(heard),
            since: heard.map_or_else(OnceLock::new, OnceLock::from),
            tally: Tally::default(),
            has_warned: AtomicBool::new(false),
        }
    }

    #[cfg(test)]
    pub(super) fn node(&self) -> u64 {
        self.node
    }

    pub(super) fn heard(&self) -> Option<MessageId> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn since(&self) -> Option<MessageId> {
        self.since.get().copied()
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let heard = Some(of(&self.tally.heard)).filter(|millis| *millis > 0);
        let time = |millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
        Counts {
            told: of(&self.tally.told),
            failed: of(&self.tally.failed),
            received: of(&self.tally.received),
            caught_up: of(&self.tally.caught_up),
            missed: of(&self.tally.missed),
            dropped: 0,
            untold: 0,
            heard: heard.and_then(time),
        }
    }

    pub(super) async fn tell(&self, purge: &Purge) -> Result<MessageId, StoreError> {
        let told = self.stream.tell(&self.store, self.node, purge).await;
        let counter = match told {
            Ok(_) => &self.tally.told,
            Err(_) => &self.tally.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        told
    }

    /// Listens for ever.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            if let Err(cut) = self.follow().await
                && !self.has_warned.swap(true, Ordering::Relaxed)
            {
                log::warn!("cache: purges of other gateways are not heard: {cut}");
            }
            if began.elapsed() > STEADY {
                failures = 0;
            }
            sleep(pause(failures)).await;
            failures += 1;
        }
    }

    /// Listens as long as there is a line.
    async fn follow(&self) -> Result<(), Cut> {
        let (mut heard, mut end) = self.look().await?;
        let behind = end.last;
        let line = self.store.own_line(self.stream.key()).await?;
        let mut is_doubted = false;
        loop {
            let read = self.stream.read(heard, PATIENCE);
            let messages = parse(line.wait(&read, PATIENCE).await?)?;
            self.is_listening();
            if !messages.is_empty() {
                is_doubted = false;
                for message in &messages {
                    if message.id <= behind {
                        self.tally.caught_up.fetch_add(1, Ordering::Relaxed);
                    }
                    heard = self.take(heard, message);
                }
                continue;
            }
            let before = heard;
            (heard, end) = self.look().await?;
            // One may have come just now; but then it is read the next time.
            let is_behind = end.is_known && end.last != before;
            if is_behind && is_doubted {
                return Err(Cut::Deaf);
            }
            is_doubted = is_behind;
        }
    }

    /// Sees whether the stream has what was heard last. Gives from where to read, and where the stream ends.
    async fn look(&self) -> Result<(MessageId, End), StoreError> {
        let (heard, told) = (self.heard(), self.outbox.last());
        let end = self.stream.look(&self.store, self.node, heard).await?;
        if let Some(told) = told.filter(|told| *told > end.last) {
            self.outbox.tell_again(end.last, told);
        }
        match heard {
            Some(heard) if end.is_known => Ok((heard, end)),
            Some(heard) => {
                self.misses(heard);
                self.is_heard(end.last);
                self.outbox.passes(end.last);
                Ok((end.last, end))
            }
            None => {
                // What is cached by now may be older than what was purged before this was asked.
                self.audience.hear(&Purge::all());
                self.is_heard(end.last);
                self.outbox.passes(end.last);
                // Nobody else sets it.
                let _ = self.since.set(end.last);
                Ok((end.last, end))
            }
        }
    }

    /// Does what a message says, and gives what was heard last.
    pub(super) fn take(&self, heard: MessageId, message: &Message) -> MessageId {
        if message.before != Some(heard) {
            self.misses(heard);
        }
        if message.node != self.node {
            self.tally.received.fetch_add(1, Ordering::Relaxed);
            // What a later version tells may be about anything.
            let purge = message.purge.unwrap_or_else(Purge::all);
            self.audience.hear(&purge);
        } else {
            self.outbox.comes_back(message.id);
        }
        // A failover may have lost what was told before its own was read here, and that leaves no gap.
        self.outbox.tell_lost_before(message.id);
        self.is_heard(message.id);
        message.id
    }

    /// What comes behind this is not all that there was.
    fn misses(&self, heard: MessageId) {
        self.tally.missed.fetch_add(1, Ordering::Relaxed);
        log::warn!("cache: purges of other gateways were missed behind {heard}; all is purged");
        self.audience.hear(&Purge::all());
        if let Some(told) = self.outbox.last() {
            self.outbox.tell_again(heard.earlier(RECENT), told);
        }
    }

    fn is_heard(&self, id: MessageId) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }

    fn is_listening(&self) {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.tally.heard.store(millis, Ordering::Relaxed);
        if self.has_warned.swap(false, Ordering::Relaxed) {
            log::info!("cache: purges of other gateways are heard again");
        }
    }
}
