//! What other nodes are to be told, in order, until they are.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::super::marks::Purge;
use super::stream::MessageId;
use super::{MOST_UNTOLD, Told};
use crate::stores::StoreError;

/// How many of those that were told are known still, should the stream lose them.
const KNOWN: usize = 1024;
/// Among so many that wait it is looked for the same.
const NEAR: usize = 64;

/// What other nodes are to be told.
pub(super) struct Outbox {
    state: Mutex<State>,
    /// There is something to tell.
    due: Notify,
    /// How much there is.
    left: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Untold>,
    tickets: u64,
    /// Why the first of them could not be told.
    failure: Option<StoreError>,
    told: VecDeque<Past>,
    /// The last of its own that came back.
    came_back: Option<MessageId>,
    /// Up to here nothing needs to come back.
    passed: Option<MessageId>,
    /// Some were not taken; others purge everything for them, softly, as soon as few wait.
    has_dropped: bool,
    dropped: u64,
}

/// What was told.
struct Past {
    id: MessageId,
    purge: Purge,
    /// It was read in the stream, or need not be.
    has_come_back: bool,
}

struct Untold {
    ticket: u64,
    purge: Purge,
    /// It may have been told already.
    is_under_way: bool,
    /// Whoever waits for it.
    waiter: Option<oneshot::Sender<Told>>,
}

/// What to tell next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) ticket: u64,
    pub(super) purge: Purge,
}

impl Outbox {
    pub(super) fn new(untold: &[Purge]) -> Outbox {
        let outbox = Outbox {
            state: Mutex::default(),
            due: Notify::new(),
            left: watch::Sender::new(0),
        };
        untold.iter().for_each(|purge| outbox.add(*purge, None));
        outbox
    }

    /// Adds a purge. It is known at once that others cannot be told where those before it could not.
    pub(super) fn push(&self, purge: Purge) -> Result<oneshot::Receiver<Told>, StoreError> {
        let failure = self.state().failure.clone();
        if let Some(failure) = failure {
            self.add(purge, None);
            return Err(failure);
        }
        let (waiter, told) = oneshot::channel();
        self.add(purge, Some(waiter));
        Ok(told)
    }

    /// As [`Outbox::push`] without waiting. Not at all where the same waits already. Where thousands wait it counts as one of
    /// those that become one about everything, once they do not any more.
    pub(super) fn push_soon(&self, purge: Purge) {
        let mut state = self.state();
        let is_same = |it: &Untold| it.purge == purge && !it.is_under_way;
        if state.queue.iter().rev().take(NEAR).any(is_same) {
            return;
        }
        if state.queue.len() >= MOST_UNTOLD / 2 {
            state.drop_one();
            return;
        }
        drop(state);
        self.add(purge, None);
    }

    /// How many were not taken since the beginning.
    pub(super) fn dropped(&self) -> u64 {
        self.state().dropped
    }

    pub(super) fn count(&self) -> usize {
        *self.left.borrow()
    }

    pub(super) async fn next(&self) -> Next {
        loop {
            let first = self.state().queue.front_mut().map(Untold::next);
            match first {
                Some(next) => return next,
                None => self.due.notified().await,
            }
        }
    }

    pub(super) fn was_told(&self, next: &Next, id: MessageId) {
        let mut state = self.state();
        state.failure = None;
        // Others may have come before it meanwhile, or one that is about everything instead of it.
        let place = state.queue.iter().position(|it| it.ticket == next.ticket);
        if let Some(waiter) = place
            .and_then(|place| state.queue.remove(place))
            .and_then(|untold| untold.waiter)
        {
            let _ = waiter.send(Told::All);
        }
        let has_come_back = state.came_back == Some(id) || state.passed >= Some(id);
        state.told.push_back(Past {
            id,
            purge: next.purge,
            has_come_back,
        });
        if state.told.len() > KNOWN {
            state.told.pop_front();
        }
        if state.has_dropped && state.queue.len() < MOST_UNTOLD / 2 {
            state.has_dropped = false;
            let untold = state.untold(State::for_dropped(), None);
            state.queue.push_front(untold);
        }
        self.left.send_replace(state.queue.len());
    }

    /// Nobody waits any more until somebody could be told.
    pub(super) fn fails(&self, failure: &StoreError) {
        let mut state = self.state();
        state.failure = Some(failure.clone());
        state.release(failure);
    }

    /// The last that was told.
    pub(super) fn last(&self) -> Option<MessageId> {
        self.state().told.back().map(|past| past.id)
    }

    /// The stream may have lost what was told behind this place, up to that one: it is told again, before everything else.
    pub(super) fn tell_again(&self, after: MessageId, up_to: MessageId) {
        self.tell_lost(|past| past.id > after && past.id <= up_to);
    }

    /// One of its own was read in the stream.
    pub(super) fn comes_back(&self, id: MessageId) {
        let mut state = self.state();
        state.came_back = Some(id);
        let own = state.told.iter_mut().filter(|past| past.id == id);
        own.for_each(|past| past.has_come_back = true);
    }

    /// Reading goes on behind this place: what is before it does not come back.
    pub(super) fn passes(&self, place: MessageId) {
        let mut state = self.state();
        state.passed = Some(place);
        let before = state.told.iter_mut().filter(|past| past.id <= place);
        before.for_each(|past| past.has_come_back = true);
    }

    /// Reading has come to this place: what was told before it and has not come back is lost, and told again.
    pub(super) fn tell_lost_before(&self, place: MessageId) {
        self.tell_lost(|past| past.id < place && !past.has_come_back);
    }

    /// Before everything else.
    fn tell_lost(&self, is_lost: impl Fn(&Past) -> bool) {
        let mut state = self.state();
        if !state.told.iter().any(&is_lost) {
            return;
        }
        let (lost, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut state.told)
            .into_iter()
            .partition(is_lost);
        state.told = kept;
        for past in lost.into_iter().rev() {
            let untold = state.untold(past.purge, None);
            state.queue.push_front(untold);
        }
        self.is_changed(state);
    }

    pub(super) fn untold(&self) -> Vec<Purge> {
        let state = self.state();
        let for_dropped = state.has_dropped.then(State::for_dropped);
        let queued = state.queue.iter().map(|it| it.purge);
        for_dropped.into_iter().chain(queued).collect()
    }

    /// How much is left when everything is told, or after this time.
    pub(super) async fn drain(&self, patience: Duration) -> usize {
        let mut left = self.left.subscribe();
        let _ = timeout(patience, left.wait_for(|left| *left == 0)).await;
        *left.borrow()
    }

    fn add(&self, purge: Purge, waiter: Option<oneshot::Sender<Told>>) {
        let mut state = self.state();
        let untold = state.untold(purge, waiter);
        state.queue.push_back(untold);
        self.is_changed(state);
    }

    fn is_changed(&self, mut state: MutexGuard<'_, State>) {
        if state.queue.len() > MOST_UNTOLD {
            state.fold();
        }
        self.left.send_replace(state.queue.len());
        drop(state);
        self.due.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What requests have changed is only stale for others: nobody has said that it must not be seen any more, and to fetch
    /// everything anew at once is what a store that was away must not cost.
    fn for_dropped() -> Purge {
        Purge::all().soft()
    }

    fn drop_one(&mut self) {
        self.dropped += 1;
        if !self.has_dropped {
            self.has_dropped = true;
            log::warn!(
                "cache: thousands of purges wait to be told; more of requests become a soft one of everything"
            );
        }
    }

    fn untold(&mut self, purge: Purge, waiter: Option<oneshot::Sender<Told>>) -> Untold {
        self.tickets += 1;
        Untold {
            ticket: self.tickets,
            purge,
            is_under_way: false,
            waiter,
        }
    }

    /// Makes one of all, which is about everything.
    fn fold(&mut self) {
        let too_many = StoreError::Down("there are too many purges to tell".into());
        self.release(&too_many);
        let are_soft = self.queue.iter().all(|it| it.purge.is_soft());
        let count = self.queue.len();
        log::warn!("cache: {count} purges could not be told; other gateways will purge everything");
        self.queue.clear();
        self.has_dropped = false;
        let purge = match are_soft {
            true => Purge::all().soft(),
            false => Purge::all(),
        };
        let untold = self.untold(purge, None);
        self.queue.push_back(untold);
    }

    fn release(&mut self, failure: &StoreError) {
        let waiters = self.queue.iter_mut();
        for waiter in waiters.filter_map(|untold| untold.waiter.take()) {
            let _ = waiter.send(Told::LocalOnly(failure.clone()));
        }
    }
}

impl Untold {
    fn next(&mut self) -> Next {
        self.is_under_way = true;
        Next {
            ticket: self.ticket,
            purge: self.purge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: usize) -> Purge {
        Purge::tag(number.to_string().as_bytes())
    }

    fn id(number: usize) -> MessageId {
        format!("{number}-0").parse().expect("an id")
    }

    #[tokio::test]
    async fn they_are_told_in_order_and_whoever_waits_hears_it() {
        let outbox = Outbox::new(&[tag(0)]);
        let mut told: Vec<_> = (1..4)
            .map(|it| outbox.push(tag(it)).expect("no failure"))
            .collect();
        for number in 0..3 {
            let next = outbox.next().await;
            assert_eq!(next.purge, tag(number));
            outbox.was_told(&next, id(number));
        }
        assert!(matches!(told[0].try_recv(), Ok(Told::All)));
        assert!(matches!(told[1].try_recv(), Ok(Told::All)));
        assert!(told[2].try_recv().is_err());
        outbox.fails(&StoreError::Down("a".into()));
        assert!(matches!(told[2].try_recv(), Ok(Told::LocalOnly(_))));
        assert!(outbox.push(tag(4)).is_err(), "nobody waits behind it");
        assert_eq!(outbox.untold(), [tag(3), tag(4)]);
        assert_eq!(outbox.drain(Duration::ZERO).await, 2);
        let next = outbox.next().await;
        outbox.was_told(&next, id(3));
        assert!(outbox.push(tag(5)).is_ok());
    }

    #[tokio::test]
    async fn what_the_stream_has_lost_is_told_again_first() {
        let outbox = Outbox::new(&[tag(0), tag(1), tag(2), tag(3), tag(4)]);
        for number in 0..4 {
            let next = outbox.next().await;
            outbox.was_told(&next, id(number));
        }
        let next = outbox.next().await;
        assert_eq!(outbox.last(), Some(id(3)));
        outbox.tell_again(id(0), id(2));
        assert_eq!(outbox.untold(), [tag(1), tag(2), tag(4)]);
        // The one that was under way is not told twice.
        outbox.was_told(&next, id(5));
        assert_eq!(outbox.untold(), [tag(1), tag(2)]);
        outbox.tell_again(id(0), id(2));
        assert_eq!(outbox.untold(), [tag(1), tag(2)]);
    }

    #[tokio::test]
    async fn of_too_many_becomes_one_about_everything() {
        let soft: Vec<_> = (0..MOST_UNTOLD).map(|it| tag(it).soft()).collect();
        let outbox = Outbox::new(&soft);
        let under_way = outbox.next().await;
        assert!(outbox.push(tag(0).soft()).is_ok());
        assert_eq!(outbox.untold(), [Purge::all().soft()]);
        outbox.was_told(&under_way, id(1));
        assert_eq!(outbox.untold(), [Purge::all().soft()]);
        (0..MOST_UNTOLD).for_each(|it| drop(outbox.push(tag(it))));
        assert_eq!(outbox.untold(), [Purge::all()]);
    }

    #[tokio::test]
    async fn what_is_dropped_becomes_one_about_everything_when_few_wait() {
        let waiting: Vec<_> = (0..MOST_UNTOLD / 2).map(tag).collect();
        let outbox = Outbox::new(&waiting);
        outbox.push_soon(tag(MOST_UNTOLD / 2 - 1));
        assert_eq!(
            (outbox.dropped(), outbox.untold().len()),
            (0, waiting.len())
        );
        outbox.push_soon(tag(MOST_UNTOLD).soft());
        outbox.push_soon(tag(MOST_UNTOLD + 1));
        assert_eq!((outbox.dropped(), outbox.count()), (2, waiting.len()));
        // Whoever takes its place knows of it.
        assert_eq!(outbox.untold()[..2], [Purge::all().soft(), tag(0)]);
        for expected in [tag(0), Purge::all().soft(), tag(1), tag(2)] {
            let next = outbox.next().await;
            assert_eq!(next.purge, expected);
            outbox.was_told(&next, id(1));
        }
        outbox.push_soon(tag(MOST_UNTOLD));
        assert_eq!(outbox.dropped(), 2, "it is taken again");
        assert_eq!(outbox.untold().last(), Some(&tag(MOST_UNTOLD)));
    }
}
