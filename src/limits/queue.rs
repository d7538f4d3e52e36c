//! Who waits for a place, in which order, and for whom it is no use to wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Criticality, Permit, Refused};

/// What a waiter is told in the end.
pub(super) type Answer = Result<Permit, Refused>;

/// Those who wait for places of one kind: the more important first, and among equals who came first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [VecDeque<Waiter>; Criticality::ALL.len()],
    waiting: usize,
    tickets: u64,
    pace: Pace,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    deadline: Instant,
    answer: oneshot::Sender<Answer>,
}

/// What a waiter leaves the queue by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    class: Criticality,
    number: u64,
}

/// What came of joining.
pub(super) struct Joined {
    pub(super) ticket: Ticket,
    pub(super) answer: oneshot::Receiver<Answer>,
    /// Who has lost its place to somebody more important. To be told when no lock is held.
    pub(super) displaced: Option<oneshot::Sender<Answer>>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Takes a place in a queue of `size`. Where that is full, the last of the least important makes room for who is
    /// more important. Nobody takes a place whose turn is not to be expected before its `deadline`.
    pub(super) fn join(
        &mut self,
        size: usize,
        class: Criticality,
        deadline: Instant,
        now: Instant,
    ) -> Result<Joined, Refused> {
        let ahead: usize = self.lanes[class as usize..].iter().map(VecDeque::len).sum();
        if now + self.pace.expected(ahead) >= deadline {
            return Err(Refused::Late);
        }
        let mut displaced = None;
        if self.waiting >= size {
            displaced = Some(self.displace(class).ok_or(Refused::Full)?);
        }
        let (answer, receiver) = oneshot::channel();
        self.tickets += 1;
        let number = self.tickets;
        if self.waiting == 0 {
            self.pace.begin(now);
        }
        self.waiting += 1;
        self.lanes[class as usize].push_back(Waiter {
            number,
            deadline,
            answer,
        });
        Ok(Joined {
            ticket: Ticket { class, number },
            answer: receiver,
            displaced,
        })
    }

    /// The last of the least important class below `class`.
    fn displace(&mut self, class: Criticality) -> Option<oneshot::Sender<Answer>> {
        let mut below = self.lanes[..class as usize].iter_mut();
        let last = below.find_map(VecDeque::pop_back)?;
        self.waiting -= 1;
        Some(last.answer)
    }

    /// Whoever waits by this ticket waits no more. False where it is not in the queue: it has its answer.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        let lane = &mut self.lanes[ticket.class as usize];
        // Numbers grow from front to back.
        let Ok(place) = lane.binary_search_by_key(&ticket.number, |waiter| waiter.number) else {
            return false;
        };
        lane.remove(place);
        self.waiting -= 1;
        true
    }

    /// Whose turn it is. Those for whom it comes too late are let go on the way.
    pub(super) fn next(&mut self, now: Instant) -> Option<oneshot::Sender<Answer>> {
        while let Some(first) = self.lanes.iter_mut().rev().find_map(VecDeque::pop_front) {
            self.waiting -= 1;
            if first.deadline > now {
                self.pace.turn(now, self.waiting > 0);
                return Some(first.answer);
            }
        }
        None
    }
}

/// How fast places become free while somebody waits for them.
#[derive(Debug, Default)]
struct Pace {
    /// Between two of them in seconds, averaged over about [`MEMORY`]; 0 where nothing is known.
    interval: f64,
    last: Option<Instant>,
}

/// How many turns the average looks back.
const MEMORY: f64 = 16.0;

impl Pace {
    /// Somebody waits from now on.
    fn begin(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// It was somebody's turn, and whether others wait on.
    fn turn(&mut self, now: Instant, others_wait: bool) {
        if let Some(last) = self.last {
            let seen = now.saturating_duration_since(last).as_secs_f64();
            match self.interval == 0.0 {
                true => self.interval = seen,
                false => self.interval += (seen - self.interval) / MEMORY,
            }
        }
        self.last = others_wait.then_some(now);
    }

    /// How long it takes until so many have had their turn. Whoever is first may always wait: without anybody waiting
    /// nothing new would ever be learned.
    fn expected(&self, ahead: usize) -> Duration {
        let seconds = self.interval * ahead as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn join(
        queue: &mut Queue,
        size: usize,
        class: Criticality,
        now: Instant,
    ) -> Result<Joined, Refused> {
        queue.join(size, class, now + LONG, now)
    }

    #[test]
    fn the_more_important_comes_first_and_among_equals_who_came_first() {
        use Criticality::*;
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut joined: Vec<_> = [Low, Normal, High, Normal, Critical, Low]
            .map(|class| join(&mut queue, 6, class, now).ok().unwrap())
            .into();
        let mut order = Vec::new();
        while let Some(answer) = queue.next(now) {
            answer.send(Err(Refused::Full)).ok();
            let place = joined
                .iter_mut()
                .position(|joined| joined.answer.try_recv().is_ok());
            order.push(place.unwrap());
        }
        assert_eq!(order, [4, 2, 1, 3, 0, 5]);
    }

    #[test]
    fn a_full_queue_makes_room_for_the_more_important_alone() {
        use Criticality::*;
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut first = join(&mut queue, 2, Low, now).ok().unwrap();
        let mut second = join(&mut queue, 2, Low, now).ok().unwrap();
        assert_eq!(join(&mut queue, 2, Low, now).err(), Some(Refused::Full));
        let third = join(&mut queue, 2, Normal, now).ok().unwrap();
        drop(third.displaced);
        assert!(
            second
                .answer
                .try_recv()
                .is_err_and(|it| it == oneshot::error::TryRecvError::Closed)
        );
        assert!(
            first
                .answer
                .try_recv()
                .is_err_and(|it| it == oneshot::error::TryRecvError::Empty)
        );
        assert_eq!(queue.len(), 2);
        assert!(!queue.leave(second.ticket), "it is out already");
        assert!(queue.leave(first.ticket));
        assert!(queue.leave(third.ticket));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn nobody_waits_whose_turn_comes_too_late() {
        let (mut queue, begin) = (Queue::default(), Instant::now());
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let mut waiting = Vec::new();
        for _ in 0..10 {
            waiting.push(
                join(&mut queue, 100, Criticality::Normal, begin)
                    .ok()
                    .unwrap(),
            );
        }
        for turn in 1..=4 {
            assert!(queue.next(at(100 * turn)).is_some());
        }
        // Six are ahead, and a place becomes free every 100 ms.
        let now = at(400);
        let refused = queue.join(100, Criticality::Normal, at(900), now).err();
        assert_eq!(refused, Some(Refused::Late));
        assert!(queue.join(100, Criticality::Normal, at(1100), now).is_ok());
        // Nobody is ahead of what matters more.
        assert!(queue.join(100, Criticality::High, at(450), now).is_ok());
    }

    #[test]
    fn whose_time_is_over_is_passed_over() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        let mut late = queue.join(9, Criticality::High, later, now).ok().unwrap();
        let mut next = join(&mut queue, 9, Criticality::Low, now).ok().unwrap();
        queue.next(later).unwrap().send(Err(Refused::Full)).ok();
        assert!(next.answer.try_recv().is_ok());
        assert!(late.answer.try_recv().is_err());
        assert_eq!(queue.len(), 0);
        assert!(queue.next(later).is_none());
    }
}
