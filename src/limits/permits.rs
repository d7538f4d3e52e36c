//! Places for requests: so many at a time, and a bounded queue of those that wait for one.
//!
//! A [`Permit`] is a place, and gives it back when it is dropped: at the end of an exchange, and as well where its
//! task is aborted or panics, where it takes too long, or where it has become a tunnel and that ends. There is no
//! other way to give a place back, so none can be forgotten or given back twice.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::keyed_permits::KeyedPermits;
use super::queue::{Answer, Queue, Ticket};
use super::terms::Terms;
use super::{Criticality, Edition, Key};

/// So many places and no more, and a queue for them. The limit may change while places are taken: nobody loses one,
/// and nobody new gets one until there are fewer taken than there may be.
///
/// Where nobody waits, taking a place and giving it back are one atomic operation each.
#[derive(Debug)]
pub struct Permits {
    /// Places that are taken, in the lower half, and those who wait, in the upper one: in one word, so that nobody
    /// overtakes those who wait, and who gives a place back learns of them.
    state: AtomicU64,
    terms: Terms,
    size: AtomicU32,
    queue: Mutex<Queue>,
}

/// One waiter in [`Permits::state`].
const WAITER: u64 = 1 << 32;

/// A place that is taken.
#[derive(Debug)]
pub struct Permit {
    of: Holder,
}

/// Whose places they are.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    Permits(Arc<Permits>),
    Key(Arc<KeyedPermits>, Key),
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All are taken, and so is the queue, if there is one.
    Full,
    /// The turn did not come in time, or would not have.
    Late,
    /// Somebody more important has got the place in the queue.
    Displaced,
}

impl Refused {
    /// The label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::Full => "full",
            Refused::Late => "late",
            Refused::Displaced => "displaced",
        }
    }

    /// What the log says.
    pub fn cause(self) -> &'static str {
        match self {
            Refused::Full => "no place is free",
            Refused::Late => "its turn would have come too late",
            Refused::Displaced => "its place in the queue went to a more important request",
        }
    }
}

/// What came of asking for a place.
#[derive(Debug)]
pub enum Turn {
    Now(Permit),
    Later(Waiting),
    Never(Refused),
}

/// How long somebody may wait for a place, and how much it matters.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub class: Criticality,
    /// The longest wait; zero for none.
    pub wait: Duration,
    /// The moment from which on a place is of no use any more, where there is one.
    pub deadline: Option<Instant>,
}

impl Patience {
    /// The end of the wait that begins now.
    pub(super) fn end(self, now: Instant) -> Instant {
        let end = now + self.wait;
        self.deadline.map_or(end, |deadline| deadline.min(end))
    }
}

impl Permits {
    /// So many places (`limit`), and a queue for as many as `size`.
    pub fn new(limit: u32, size: u32) -> Arc<Permits> {
        Arc::new(Permits {
            state: AtomicU64::new(0),
            terms: Terms::new(limit),
            size: AtomicU32::new(size),
            queue: Mutex::default(),
        })
    }

    /// Asks for a place.
    pub fn take(self: &Arc<Self>, patience: Patience) -> Turn {
        match self.take_free() {
            true => Turn::Now(self.permit()),
            false => self.take_in_turn(patience),
        }
    }

    /// A place that is free and that nobody waits for.
    pub fn take_if_free(self: &Arc<Self>) -> Option<Permit> {
        self.take_free().then(|| self.permit())
    }

    /// Places that are taken.
    pub fn in_flight(&self) -> u32 {
        taken(self.state.load(Ordering::Relaxed))
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        waiting(self.state.load(Ordering::Relaxed))
    }

    /// Places that there are.
    pub fn limit(&self) -> u32 {
        self.terms.limit()
    }

    /// Whether that is learned.
    pub fn is_learned(&self) -> bool {
        self.terms.is_learned()
    }

    /// From now on there are as many places as `limit` gives, and so many may wait (`size`): those who wait already go on.
    /// Nothing of it where a newer configuration has had a request.
    pub fn say(
        self: &Arc<Self>,
        by: Edition,
        is_learned: bool,
        size: u32,
        limit: impl FnOnce() -> u32,
    ) {
        let said = self.terms.say(by, is_learned, || {
            self.size.store(size, Ordering::Relaxed);
            limit()
        });
        if said == Some(true) {
            self.hand_over();
        }
    }

    /// So many places are good to have, as was learned. Nothing of it where the newest configuration does not go by that.
    pub fn learn(self: &Arc<Self>, limit: u32) {
        if self.terms.learn(limit) {
            self.hand_over();
        }
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit::of(Holder::Permits(self.clone()))
    }

    /// Takes a place where one is free and nobody waits.
    fn take_free(&self) -> bool {
        let limit = self.limit();
        let has_place = |state: u64| waiting(state) == 0 && taken(state) < limit;
        let take = |state: u64| has_place(state).then_some(state + 1);
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, take)
            .is_ok()
    }

    #[cold]
    fn take_in_turn(self: &Arc<Self>, patience: Patience) -> Turn {
        let size = self.size.load(Ordering::Relaxed);
        if size == 0 || patience.wait.is_zero() {
            return Turn::Never(Refused::Full);
        }
        let now = Instant::now();
        let deadline = patience.end(now);
        let mut queue = self.queue();
        // Who gives a place back from here on comes to the queue, and has to wait for it.
        self.state.fetch_add(WAITER, Ordering::AcqRel);
        if queue.len() == 0 && self.take_announced() {
            return Turn::Now(self.permit());
        }
        let joined = queue.join(size as usize, patience.class, deadline, now);
        let leaves = match &joined {
            Ok(joined) => joined.displaced.is_some(),
            Err(_) => true,
        };
        if leaves {
            self.state.fetch_sub(WAITER, Ordering::AcqRel);
        }
        drop(queue);
        match joined {
            Err(refused) => Turn::Never(refused),
            Ok(joined) => {
                if let Some(displaced) = joined.displaced {
                    // Whoever has gone meanwhile need not be told.
                    let _ = displaced.send(Err(Refused::Displaced));
                }
                Turn::Later(Waiting {
                    holder: Holder::Permits(self.clone()),
                    ticket: joined.ticket,
                    answer: joined.answer,
                    deadline,
                })
            }
        }
    }

    /// Turns an announced waiter into a place where one has become free.
    fn take_announced(&self) -> bool {
        let limit = self.limit();
        let take = |state: u64| (taken(state) < limit).then_some(state - WAITER + 1);
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, take)
            .is_ok()
    }

    fn release(self: &Arc<Self>) {
        let before = self.state.fetch_sub(1, Ordering::AcqRel);
        if waiting(before) > 0 {
            self.hand_over();
        }
    }

    /// Gives free places to those who wait.
    #[cold]
    fn hand_over(self: &Arc<Self>) {
        while let Some(answer) = self.next() {
            // Whoever has gone meanwhile leaves its place to the next: the permit comes back here, and is dropped.
            let _ = answer.send(Ok(self.permit()));
        }
    }

    /// Takes a place for whose turn it is. While somebody waits, places are taken here alone, under the lock.
    fn next(&self) -> Option<oneshot::Sender<Answer>> {
        let mut queue = self.queue();
        if taken(self.state.load(Ordering::Acquire)) >= self.limit() {
            return None;
        }
        let before = queue.len();
        let next = queue.next(Instant::now());
        let gone = (before - queue.len()) as u64;
        match next {
            Some(answer) => {
                self.state.fetch_sub(gone * WAITER - 1, Ordering::AcqRel);
                Some(answer)
            }
            None => {
                self.state.fetch_sub(gone * WAITER, Ordering::AcqRel);
                None
            }
        }
    }

    fn leave(&self, ticket: Ticket) {
        let mut queue = self.queue();
        if queue.leave(ticket) {
            self.state.fetch_sub(WAITER, Ordering::AcqRel);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken(state: u64) -> u32 {
    state as u32
}

fn waiting(state: u64) -> u32 {
    (state >> 32) as u32
}

impl Permit {
    pub(super) fn of(holder: Holder) -> Permit {
        Permit { of: holder }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match &self.of {
            Holder::Permits(permits) => permits.release(),
            Holder::Key(permits, key) => permits.release(*key),
        }
    }
}

/// A place in the queue. Dropping it gives that up.
#[derive(Debug)]
pub struct Waiting {
    pub(super) holder: Holder,
    pub(super) ticket: Ticket,
    pub(super) answer: oneshot::Receiver<Answer>,
    pub(super) deadline: Instant,
}

impl Waiting {
    /// Waits for the turn, and no longer than was said.
    pub async fn turn(mut self) -> Result<Permit, Refused> {
        let deadline = tokio::time::Instant::from(self.deadline);
        let answer = tokio::time::timeout_at(deadline, &mut self.answer).await;
        match answer {
            Ok(Ok(answer)) => answer,
            // It was let go, or its time is over.
            Ok(Err(_)) | Err(_) => Err(Refused::Late),
        }
    }
}

impl Drop for Waiting {
    /// A permit that came too late goes with `answer`.
    fn drop(&mut self) {
        match &self.holder {
            Holder::Permits(permits) => permits.leave(self.ticket),
            Holder::Key(permits, key) => permits.leave(*key, self.ticket),
        }
    }
}

#[cfg(test)]
#[path = "permits_tests.rs"]
mod tests;
