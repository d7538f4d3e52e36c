//! Purges that other gateways are told of, and hear of, over a store.
//!
//! Each purge is a message in a stream of Redis, `northgate:purges:NAME`, which every gateway reads from where it has read
//! before. A purge is done here first, then told; so a gateway never purges less than it says. What is heard becomes a
//! purge of its own, by the clock of whoever hears it.
//!
//! # What is missed
//! A gateway that was away reads on where it was. Every message says which one was before it, and whoever comes back asks
//! whether the stream still has the last that he has heard. Where that is not so something was missed: the stream was
//! cut, the server has lost what it had, or another one has taken its place that had not heard everything. Then
//! everything is purged, hard, and reading goes on from the end. The same is done when a gateway begins that does not know what it has
//! heard: what it has cached by then may be older than a purge.
//!
//! # What is promised
//! [`Told::All`]: the purge is in the stream. Who is connected hears it within a moment, and who is not before it hears
//! anything later; until then it serves what it has, see [`Counts::heard`]. Otherwise it stays here and is told as
//! soon as the store takes it, in order. When more than [`MOST_UNTOLD`] wait they become one of everything; of those that requests
//! have caused ([`Broadcast::publish_soon`]) more than half as many become a soft one of everything. What was told and is lost by the store, as by a failover whose replica was behind, is told again by who told it, as far as that
//! can be noticed: of the last minute, or what did not come back to who told it, and the last 1024.
//!
//! A message may be told twice, and purges then what has come in between as well.

#[cfg(test)]
mod fuzz;
mod hear;
mod outbox;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use self::hear::Ear;
use self::outbox::Outbox;
use self::stream::Stream;
pub use self::stream::{MessageId, NoMessageId};
use super::marks::Purge;
use crate::stores::{Redis, StoreError, pause};

/// How many purges wait to be told at most.
pub const MOST_UNTOLD: usize = 10_000;
/// How many messages a stream has at least, where nothing else is said.
pub const KEPT: usize = 10_000;

/// Who does what others have purged.
pub trait Audience: Send + Sync + 'static {
    /// Does it, and returns when nothing older is served: what was heard counts as done from then on. It must not block.
    fn hear(&self, purge: &Purge);
}

/// Where gateways tell each other.
#[derive(Clone, Debug)]
pub struct Channel {
    pub store: Arc<Redis>,
    /// The same in all gateways that share their purges.
    pub name: String,
    /// How many messages the stream has at least: who was away for longer purges everything.
    pub kept: usize,
}

/// The same store, not only one with the same settings: it stays where a configuration leaves it as it is.
impl PartialEq for Channel {
    fn eq(&self, other: &Channel) -> bool {
        Arc::ptr_eq(&self.store, &other.store)
            && (&self.name, self.kept) == (&other.name, other.kept)
    }
}

impl Eq for Channel {}

/// What outlives a broadcast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What was heard last. `None` where that is not known.
    pub heard: Option<MessageId>,
    /// What could not be told so far.
    pub untold: Vec<Purge>,
}

/// Whether others are told.
#[derive(Clone, Debug)]
pub enum Told {
    /// It is where all of them hear it.
    All,
    /// Not yet, and this is why.
    LocalOnly(StoreError),
}

/// What has happened since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Purges that were told.
    pub told: u64,
    /// How often one could not be.
    pub failed: u64,
    /// Purges of others.
    pub received: u64,
    /// Those of them that had been told while nobody listened here.
    pub caught_up: u64,
    /// How often something was missed, and everything was purged.
    pub missed: u64,
    /// Purges of requests that were not kept to be told, as thousands waited; others purge everything for them, softly.
    pub dropped: u64,
    /// Purges that wait to be told.
    pub untold: usize,
    /// When the stream was read last, with or without success in finding anything new. Who listens reads it every few
    /// seconds at least.
    pub heard: Option<SystemTime>,
}

/// Tells others what is purged here, and does what they purge. It ends when it is dropped.
pub struct Broadcast {
    ear: Arc<Ear>,
    outbox: Arc<Outbox>,
    timeout: Duration,
    tasks: [AbortHandle; 2],
}

impl Broadcast {
    /// Begins to listen, and to tell what is left. To be called within the runtime.
    pub fn start(channel: Channel, audience: Arc<dyn Audience>, memory: Memory) -> Broadcast {
        let Channel { store, name, kept } = channel;
        let outbox = Arc::new(Outbox::new(&memory.untold));
        let timeout = store.timeout();
        let ear = Arc::new(Ear::new(
            (store, Stream::new(&name, kept)),
            outbox.clone(),
            audience,
            memory.heard,
        ));
        let tasks = [
            tokio::spawn(ear.clone().listen()).abort_handle(),
            tokio::spawn(tell(ear.clone(), outbox.clone())).abort_handle(),
        ];
        Broadcast {
            ear,
            outbox,
            timeout,
            tasks,
        }
    }

    /// Tells others of a purge that was done here. Waits for no longer than the store's `timeout`, and not at all while
    /// the store cannot be told anything.
    pub async fn publish(&self, purge: &Purge) -> Told {
        let told = match self.outbox.push(*purge) {
            Ok(told) => told,
            Err(failure) => return Told::LocalOnly(failure),
        };
        match timeout(self.timeout, told).await {
            Ok(Ok(told)) => told,
            _ => Told::LocalOnly(StoreError::Deadline(self.timeout)),
        }
    }

    /// As [`Broadcast::publish`] without waiting. While thousands wait to be told it is not kept, as many of them would make
    /// others purge everything, hard; one soft purge of everything is told for all of those once the store takes them again.
    pub fn publish_soon(&self, purge: &Purge) {
        self.outbox.push_soon(*purge);
    }

    /// From where on all was heard that others told; `None` as long as nothing could be.
    pub fn since(&self) -> Option<MessageId> {
        self.ear.since()
    }

    /// What was heard last: all before it was done here. Whoever has entries on disk keeps it there, and begins with it.
    pub fn last(&self) -> Option<MessageId> {
        self.ear.heard()
    }

    /// For the one that takes its place.
    pub fn memory(&self) -> Memory {
        Memory {
            heard: self.last(),
            untold: self.outbox.untold(),
        }
    }

    /// Waits until everything is told, for so long at most. Gives how much is not.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.outbox.drain(patience).await
    }

    pub fn counts(&self) -> Counts {
        Counts {
            dropped: self.outbox.dropped(),
            untold: self.outbox.count(),
            ..self.ear.counts()
        }
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").finish_non_exhaustive()
    }
}

/// Tells one after another, each as often as it takes.
async fn tell(ear: Arc<Ear>, outbox: Arc<Outbox>) {
    let mut failures = 0;
    loop {
        let next = outbox.next().await;
        match ear.tell(&next.purge).await {
            Ok(id) => {
                outbox.was_told(&next, id);
                failures = 0;
            }
            Err(error) => {
                outbox.fails(&error);
                sleep(pause(failures)).await;
                failures += 1;
            }
        }
    }
}
