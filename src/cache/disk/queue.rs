//! Work for a thread, bound by what it weighs.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// First in, first out. Whoever gives work never waits; whoever takes it waits until there is some, or no more to come.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    most: u64,
}

#[derive(Debug)]
struct State<T> {
    work: VecDeque<(T, u64)>,
    weight: u64,
    is_closed: bool,
}

/// Why work was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

impl<T> Queue<T> {
    /// For so much weight, of whatever kind.
    pub(super) fn new(most: u64) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                work: VecDeque::new(),
                weight: 0,
                is_closed: false,
            }),
            changed: Condvar::new(),
            most,
        }
    }

    /// What is heavier than all that is allowed is taken where nothing else waits.
    pub(super) fn push(&self, work: T, weight: u64) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if !state.work.is_empty() && state.weight.saturating_add(weight) > self.most {
            return Err(Refused::Full);
        }
        state.weight += weight;
        state.work.push_back((work, weight));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for work. `None` when it is closed and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.take() {
                return Some(work);
            }
            if state.is_closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What is there now.
    pub(super) fn pop_ready(&self) -> Option<T> {
        self.lock().take()
    }

    /// No more is taken; what was taken is still given out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    pub(super) fn weight(&self) -> u64 {
        self.lock().weight
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Option<T> {
        let (work, weight) = self.work.pop_front()?;
        self.weight -= weight;
        Some(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bound_and_comes_out_in_order() {
        let queue = Queue::new(10);
        assert_eq!(queue.push("alone", 99), Ok(()));
        assert_eq!(queue.push("no more", 1), Err(Refused::Full));
        assert_eq!(queue.pop(), Some("alone"));
        assert_eq!((queue.push("a", 6), queue.push("b", 4)), (Ok(()), Ok(())));
        assert_eq!(queue.push("c", 1), Err(Refused::Full));
        assert_eq!(queue.weight(), 10);
        queue.close();
        assert_eq!(queue.push("d", 0), Err(Refused::Closed));
        assert_eq!((queue.pop(), queue.pop_ready()), (Some("a"), Some("b")));
        assert_eq!((queue.pop(), queue.pop_ready()), (None, None));
    }

    #[test]
    fn who_waits_hears_of_work_and_of_the_end() {
        let queue = Queue::new(10);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| (queue.pop(), queue.pop()));
            queue.push(7, 1).unwrap();
            queue.close();
            assert_eq!(taken.join().unwrap(), (Some(7), None));
        });
    }
}
