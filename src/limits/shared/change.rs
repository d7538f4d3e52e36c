//! What there is to exchange of a key.

use std::time::Instant;

use smallvec::smallvec;

use super::KeyName;
use super::clock::Clock;
use crate::limits::limiter::Counted;
use crate::limits::{Key, Limiter, Now, Rule};

/// What there is to exchange of a key.
pub(super) struct Change {
    pub(super) name: KeyName,
    /// What was taken and has not been told.
    untold: Untold,
    /// What was told and not answered, with its number: the store may know of it or not, so that it is told again under the
    /// same number. Apart from the rest, which it cannot know of.
    unanswered: Option<(u64, Untold)>,
    /// Whether anybody has asked since the last exchange, who should know next time what the store has by then.
    pub(super) is_asked: bool,
    /// Whether the store could not be told the last time.
    pub(super) is_failing: bool,
    /// Whether something was taken before that could not be noted here.
    pub(super) is_missed: bool,
    /// How often it was reset: what comes of something older says nothing any more.
    resets: u64,
}

/// What was taken, of each rule, as it is worth: see [`Rule::worth`].
struct Untold {
    worth: Counted,
    /// The oldest of it.
    since: Instant,
    /// How far the store's clock was taken to be ahead then, by which it was counted.
    ahead: i64,
}

/// What is told of a key at once.
pub(super) struct Telling {
    pub(super) number: u64,
    pub(super) worth: Counted,
    /// Whether it was told before.
    pub(super) is_again: bool,
    resets: u64,
}

impl Change {
    pub(super) fn new(name: KeyName, rules: usize) -> Change {
        Change {
            name,
            untold: Untold {
                worth: smallvec![0; rules],
                since: Instant::now(),
                ahead: 0,
            },
            unanswered: None,
            is_asked: true,
            is_failing: false,
            is_missed: false,
            resets: 0,
        }
    }

    /// Since when there is something that the store does not know, if there is.
    pub(super) fn untold_since(&self) -> Option<Instant> {
        let unanswered = self.unanswered.iter().map(|(_, it)| it);
        let all = unanswered.chain([&self.untold]);
        all.filter(|it| it.is_any()).map(|it| it.since).min()
    }

    /// What the store has not been told.
    pub(super) fn untold(&self) -> &[u64] {
        &self.untold.worth
    }

    /// Notes what was taken of each rule.
    pub(super) fn note(&mut self, worth: &[u64], clock: &Clock) {
        if !self.untold.is_any() {
            (self.untold.since, self.untold.ahead) = (Instant::now(), clock.ahead());
        }
        for (untold, worth) in self.untold.worth.iter_mut().zip(worth) {
            *untold = untold.saturating_add(*worth);
        }
    }

    /// Leaves out what others need not know: what was taken in a window that has ended; and where the store could not be
    /// told in time, what of a rate has come back here meanwhile, the oldest first. Otherwise all of a rate counts, since it
    /// comes back once for all of them together.
    pub(super) fn forget_settled(&mut self, limiter: &Limiter, key: Key, now: Now, clock: &Clock) {
        if self.untold_since().is_none() {
            return;
        }
        let Some(owed) = limiter.owed(key, clock.at(now)) else {
            if self.is_failing {
                self.forget();
            }
            return;
        };
        // A window that has ended only since the clock was set has not ended for what was taken before.
        let mut left: Counted = smallvec![u64::MAX; owed.len()];
        let unanswered = self.unanswered.iter_mut().map(|(_, it)| it);
        for part in std::iter::once(&mut self.untold).chain(unanswered) {
            let before = limiter.owed(key, Clock::at_by(now, part.ahead));
            let before = before
                .unwrap_or_default()
                .into_iter()
                .chain(std::iter::repeat(0));
            let rules = limiter.rules().iter().zip(owed.iter().zip(before));
            let parts = part.worth.iter_mut().zip(&mut left);
            for ((worth, left), (named, (owed, before))) in parts.zip(rules) {
                let counts = match named.rule {
                    Rule::Gcra(_) if self.is_failing => *owed,
                    Rule::Gcra(_) => u64::MAX,
                    Rule::Sliding(_) | Rule::Calendar(_) => before.max(*owed),
                };
                *worth = (*worth).min(counts).min(*left);
                *left = counts - *worth;
            }
        }
    }

    /// Notes what the key has here and not there, where `words` are what it has there: something could not be noted before.
    pub(super) fn note_missed(
        &mut self,
        limiter: &Limiter,
        key: Key,
        (words, now): (&[u64], Now),
        clock: &Clock,
    ) {
        let Some(ours) = limiter.owed(key, now) else {
            return;
        };
        let theirs = limiter.owed_by(words, now);
        let known = theirs.into_iter().zip(&self.untold.worth);
        let missed = ours.into_iter().zip(known);
        let missed: Counted = missed
            .map(|(ours, (theirs, untold))| ours.saturating_sub(theirs).saturating_sub(*untold))
            .collect();
        self.note(&missed, clock);
    }

    /// What is to be told next: what was told and not answered before anything else. `number` is for what was not.
    pub(super) fn tell(&mut self, number: u64) -> Telling {
        let is_again = self.unanswered.is_some();
        let (number, told) = self.unanswered.get_or_insert_with(|| {
            let none = smallvec![0; self.untold.worth.len()];
            let untold = Untold {
                worth: std::mem::replace(&mut self.untold.worth, none),
                ..self.untold
            };
            (number, untold)
        });
        Telling {
            number: *number,
            worth: told.worth.clone(),
            is_again,
            resets: self.resets,
        }
    }

    /// The store knows it. Gives whether what it says of the key is still true.
    pub(super) fn is_told(&mut self, telling: &Telling) -> bool {
        self.is_failing = false;
        if self.resets != telling.resets {
            // The store has been asked too early, or may have counted it since: it is asked again.
            self.is_asked = true;
            return false;
        }
        self.unanswered = None;
        true
    }

    /// It is not known whether the store knows it. Gives whether something was to be told, and it is the first time.
    pub(super) fn is_not_told(&mut self, telling: &Telling) -> bool {
        let is_any = telling.worth.iter().any(|worth| *worth > 0);
        if self.resets == telling.resets && !is_any {
            self.unanswered = None;
        }
        !std::mem::replace(&mut self.is_failing, true) && is_any
    }

    /// Forgets what the store does not know, as the key was reset.
    pub(super) fn reset(&mut self) {
        self.resets += 1;
        self.forget();
    }

    fn forget(&mut self) {
        self.untold.worth.fill(0);
        self.unanswered = None;
        self.is_missed = false;
    }
}

impl Untold {
    fn is_any(&self) -> bool {
        self.worth.iter().any(|worth| *worth > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::time::Duration;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::limits::{Calendar, Period, Room};

    const DAY: u64 = 86_400_000_000_000;

    fn change() -> Change {
        Change::new(KeyName::hasher().finish(), 1)
    }

    #[test]
    fn what_was_told_and_not_answered_is_kept_apart() {
        let (mut change, clock) = (change(), Clock::new());
        change.note(&[3], &clock);
        let first = change.tell(1);
        change.note(&[4], &clock);
        assert!(change.is_not_told(&first));
        change.note(&[5], &clock);
        let again = change.tell(2);
        assert_eq!(
            (again.number, &*again.worth, again.is_again),
            (1, &[3][..], true)
        );
        assert!(change.is_told(&again));
        let rest = change.tell(3);
        assert_eq!(
            (rest.number, &*rest.worth, rest.is_again),
            (3, &[9][..], false)
        );
        assert!(change.is_told(&rest) && change.untold_since().is_none());
    }

    #[test]
    fn what_comes_of_it_after_a_reset_says_nothing() {
        let (mut change, clock) = (change(), Clock::new());
        change.note(&[3], &clock);
        let telling = change.tell(1);
        change.is_asked = false;
        change.reset();
        change.note(&[1], &clock);
        assert!(!change.is_told(&telling) && change.is_asked);
        assert_eq!(change.untold(), [1]);
        let telling = change.tell(2);
        change.reset();
        assert!(change.is_not_told(&telling));
        assert!(change.untold_since().is_none());
    }

    #[test]
    fn a_window_ends_by_the_clock_that_was_counted_by() {
        let day = Calendar::new(NonZero::new(9).unwrap(), Period::Day, TimeZone::UTC);
        let rules = vec![Rule::Calendar(day).named("a")];
        let limiter = Limiter::new("a", rules, 64, &Room::default());
        let (key, now) = (Key::hasher().finish(), Now::read());
        let (mut change, clock) = (change(), Clock::new());
        limiter.charge(key, 2, clock.at(now));
        change.note(&[2], &clock);
        // The store is a day ahead, and so was it when this was taken.
        clock.set(
            Clock::at_by(now, clock.ahead() + DAY as i64),
            now,
            Duration::ZERO,
        );
        change.forget_settled(&limiter, key, now, &clock);
        assert_eq!(change.untold(), [2]);
        let nanos = now.nanos + DAY;
        change.forget_settled(&limiter, key, Now { nanos, ..now }, &clock);
        assert_eq!(change.untold(), [0]);
    }
}
