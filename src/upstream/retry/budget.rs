//! How many requests an upstream gets twice.
//!
//! Where everything fails, sending again makes more of what fails already: a retry storm. So the retries of an upstream
//! are a share of its requests, both counted over the last seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::text::Percent;

/// How many seconds are looked back upon.
const WINDOW: u64 = 10;
/// As many in that time are allowed whatever the share, so that upstreams of few requests have any.
const LEAST: u64 = 10;
/// Counts are in the lower half of a cell, and in the upper which second they are of.
const HALF: u32 = 32;

/// The budget of one upstream.
#[derive(Debug)]
pub(in crate::upstream) struct Budget {
    share: Percent,
    began: Instant,
    /// Debts that are open.
    owed: AtomicU64,
    seconds: [Second; WINDOW as usize],
}

#[derive(Debug, Default)]
struct Second {
    requests: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
}

/// What is counted in the window that ends now: how many may be sent twice, how many have been or may still be, and how
/// many of these for having failed.
struct Sum {
    allowed: u64,
    spent: u64,
    retries: u64,
}

impl Budget {
    pub(in crate::upstream) fn new(share: Percent) -> Arc<Budget> {
        Arc::new(Budget {
            share,
            began: Instant::now(),
            owed: AtomicU64::new(0),
            seconds: Default::default(),
        })
    }

    /// A request has come. Costs an addition.
    pub(in crate::upstream) fn request(&self, now: Instant) {
        let second = self.second(now);
        count(&self.cell(second).requests, second);
    }

    /// Whether a request may be sent again, which counts from now on. Threads that ask at the same moment may each get the
    /// last one.
    pub(in crate::upstream) fn spend(&self, now: Instant) -> bool {
        let Sum { allowed, spent, .. } = self.sum(now);
        let has_room = spent < allowed;
        if has_room {
            self.count_retry(now);
        }
        has_room
    }

    /// Whether a request may be sent twice although it has not failed, which counts from now on. Half of what there is stays
    /// for those that have.
    pub(in crate::upstream) fn spend_on_hedge(&self, now: Instant) -> bool {
        let Sum { allowed, spent, .. } = self.sum(now);
        let has_room = spent < allowed / 2;
        if has_room {
            let second = self.second(now);
            count(&self.cell(second).hedges, second);
        }
        has_room
    }

    /// Whether a request may be sent again, which counts if it fails again. As long as none has, they are not limited: where
    /// one of few endpoints cannot be reached any more, many requests at a time go to the others.
    pub(in crate::upstream) fn owe(self: &Arc<Self>, now: Instant) -> Option<Debt> {
        let may = self.may_owe(now);
        self.owed.fetch_add(1, Ordering::Relaxed);
        let debt = Debt {
            budget: self.clone(),
            retries: 1,
        };
        may.then_some(debt)
    }

    fn may_owe(&self, now: Instant) -> bool {
        let sum = self.sum(now);
        sum.retries == 0 || sum.spent < sum.allowed
    }

    fn count_retry(&self, now: Instant) {
        let second = self.second(now);
        count(&self.cell(second).retries, second);
    }

    fn sum(&self, now: Instant) -> Sum {
        let second = self.second(now);
        let (mut requests, mut retries, mut hedges) = (0, 0, 0);
        for cell in &self.seconds {
            requests += counted(&cell.requests, second);
            retries += counted(&cell.retries, second);
            hedges += counted(&cell.hedges, second);
        }
        Sum {
            allowed: self.share.of(requests).max(LEAST),
            spent: retries + hedges + self.owed.load(Ordering::Relaxed),
            retries,
        }
    }

    /// Seconds since there is a budget, from 1 on: 0 is of cells that nothing was counted in.
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began)
            .saturating_add(Duration::from_secs(1))
            .as_secs()
    }

    fn cell(&self, second: u64) -> &Second {
        &self.seconds[(second % WINDOW) as usize]
    }
}

/// Retries of one request that count if it fails. It is over with its end.
#[derive(Debug)]
pub(in crate::upstream) struct Debt {
    budget: Arc<Budget>,
    retries: u32,
}

impl Debt {
    /// Whether the request may be sent once more, as [`Budget::owe`].
    pub(in crate::upstream) fn owe_more(mut self, now: Instant) -> Result<Debt, Debt> {
        if !self.budget.may_owe(now) {
            return Err(self);
        }
        self.retries += 1;
        Ok(self)
    }

    /// It has failed.
    pub(in crate::upstream) fn pay(self, now: Instant) {
        (0..self.retries).for_each(|_| self.budget.count_retry(now));
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.budget.owed.fetch_sub(1, Ordering::Relaxed);
    }
}

fn count(cell: &AtomicU64, second: u64) {
    // The cell is another second's once in a window; between looking and adding there is no time for that.
    if cell.load(Ordering::Relaxed) >> HALF == second {
        cell.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let mine = |before: u64| match before >> HALF {
        of if of > second => None,
        of if of == second => Some(before + 1),
        _ => Some(second << HALF | 1),
    };
    // Where the clock of another thread is ahead, the count has gone where it would be forgotten now.
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, mine);
}

/// What is in a cell, where it is of the window that ends with this second.
fn counted(cell: &AtomicU64, second: u64) -> u64 {
    let cell = cell.load(Ordering::Relaxed);
    let of = cell >> HALF;
    let is_in_window = of + WINDOW > second && of <= second;
    if is_in_window {
        cell & u64::from(u32::MAX)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn budget(percent: u32) -> (Arc<Budget>, Instant) {
        let budget = Budget::new(Percent::from_whole(percent));
        let began = budget.began;
        (budget, began)
    }

    /// As many retries as there are to be had.
    fn exhaust(budget: &Budget, now: Instant) -> u64 {
        let mut taken = 0;
        while budget.spend(now) {
            taken += 1;
        }
        taken
    }

    #[test]
    fn retries_are_a_share_of_requests_and_a_few_in_any_case() {
        for (percent, requests, expected) in [
            (20, 0, LEAST),
            (20, 40, LEAST),
            (20, 100, 20),
            (20, 1004, 200),
            (0, 1000, LEAST),
            (100, 1000, 1000),
        ] {
            let (budget, now) = budget(percent);
            (0..requests).for_each(|_| budget.request(now));
            assert_eq!(exhaust(&budget, now), expected, "{percent} % of {requests}");
            assert!(budget.owe(now).is_none());
        }
    }

    #[test]
    fn what_is_counted_counts_for_ten_seconds() {
        let (budget, began) = budget(20);
        (0..500).for_each(|_| budget.request(began));
        assert_eq!(exhaust(&budget, began), 100);
        assert!(!budget.spend(began + SECOND * 9));
        assert_eq!(exhaust(&budget, began + SECOND * 10), LEAST);
        // After a long rest, with the cells of another time.
        let later = began + SECOND * 3605;
        (0..200).for_each(|_| budget.request(later));
        assert_eq!(exhaust(&budget, later), 40);
    }

    #[test]
    fn in_no_time_are_there_more_than_the_share() {
        let (budget, began) = budget(20);
        let (mut requests, mut retries) = (0, 0u64);
        for step in 0..60_000u32 {
            let now = began + Duration::from_millis(u64::from(step));
            budget.request(now);
            requests += 1;
            retries += u64::from(budget.spend(now));
        }
        assert!(retries * 100 <= requests * 20 + LEAST * 100, "{retries}");
        assert!(retries * 100 >= requests * 19, "{retries}");
    }

    #[test]
    fn hedges_leave_half_to_what_has_failed() {
        let (budget, now) = budget(20);
        (0..100).for_each(|_| budget.request(now));
        let hedges = (0..100).filter(|_| budget.spend_on_hedge(now)).count();
        assert_eq!(hedges, 10);
        // What certainly was no work is sent again whatever hedges there are, until it fails again.
        let debts: Vec<Debt> = (0..50).filter_map(|_| budget.owe(now)).collect();
        assert_eq!(debts.len(), 50);
        drop(debts);
        assert_eq!(exhaust(&budget, now), 10);
        assert!(!budget.spend_on_hedge(now + SECOND * 9));
        assert!(budget.spend_on_hedge(now + SECOND * 10));
    }

    #[test]
    fn what_is_owed_counts_once_something_has_failed() {
        let (budget, now) = budget(20);
        (0..100).for_each(|_| budget.request(now));
        let mut debts: Vec<Debt> = (0..50).filter_map(|_| budget.owe(now)).collect();
        assert_eq!(debts.len(), 50, "nothing has failed");
        debts.pop().unwrap().pay(now);
        assert!(budget.owe(now).is_none(), "one has, and the others may");
        debts.clear();
        debts.extend((0..50).map_while(|_| budget.owe(now)));
        assert_eq!(debts.len(), 19);
        assert!(!budget.spend(now));
        debts.clear();
        assert_eq!(exhaust(&budget, now), 19);
    }

    #[test]
    fn threads_lose_no_count() {
        let (budget, now) = budget(20);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| budget.request(now)));
            }
        });
        assert_eq!(exhaust(&budget, now), 8000);
    }
}
