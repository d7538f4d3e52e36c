//! How much the endpoints of a group have to do together.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// At each choice, so many endpoints are looked at on average.
const LOOKS: usize = 8;

/// Requests in flight on the endpoints of a group. Each endpoint counts its own, whoever chose it and whichever set it was
/// chosen from, so nothing has to be handed on when sets take each other's place: the sum is made from these, now and then,
/// and whoever was chosen since is added.
#[derive(Debug)]
pub(super) struct Load {
    summed: AtomicI64,
    /// Choices since then.
    since: AtomicUsize,
}

impl Load {
    pub(super) fn new() -> Load {
        Load {
            summed: AtomicI64::new(0),
            since: AtomicUsize::new(usize::MAX / 2),
        }
    }

    /// What there is, for one more choice among these. It is no less than the truth, but for what others choose in the same
    /// moment, and more by those that have ended within an eighth as many choices as there are endpoints.
    pub(super) fn at_choice(&self, each: impl ExactSizeIterator<Item = i64>) -> i64 {
        let since = self.since.fetch_add(1, Ordering::Relaxed);
        if since < each.len() / LOOKS {
            let since = i64::try_from(since).unwrap_or(i64::MAX);
            return self.summed.load(Ordering::Relaxed).saturating_add(since);
        }
        let sum = each.map(|active| active.max(0)).sum();
        self.summed.store(sum, Ordering::Relaxed);
        self.since.store(1, Ordering::Relaxed);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_each_has_and_whoever_was_chosen_since() {
        for count in [1, 7, 8, 100, 1000] {
            let load = Load::new();
            let mut active = vec![3; count];
            for choice in 0..3 * count {
                let all: i64 = active.iter().sum();
                assert_eq!(load.at_choice(active.iter().copied()), all, "{count}");
                active[choice % count] += 1;
            }
            // What has ended is seen soon.
            active.fill(0);
            (0..=count / LOOKS).for_each(|_| _ = load.at_choice(active.iter().copied()));
            let most = (count / LOOKS) as i64 + 1;
            assert!(load.at_choice(active.iter().copied()) <= most, "{count}");
        }
    }
}
