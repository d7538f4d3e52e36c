//! What rules promise, whatever comes when.

use std::num::NonZero;
use std::time::Duration;

use proptest::prelude::*;

use super::{Gcra, Key, Limiter, Now, Room, Rule, Sliding};

/// Arrivals: how long after the one before, and what they cost.
fn arrivals() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let gap = prop_oneof![
        3 => Just(0_u64),
        3 => 0..2_000_000_u64,
        2 => 0..300_000_000_u64,
        1 => 0..20_000_000_000_u64,
    ];
    prop::collection::vec((gap, 1..4_u64), 1..400)
}

/// What was admitted, with its time.
fn admitted(limiter: &Limiter, arrivals: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut hasher = Key::hasher();
    hasher.part(b"somebody");
    let key = hasher.finish();
    let mut nanos = 1_000_000_000;
    let mut admitted = Vec::new();
    for (gap, cost) in arrivals {
        nanos += gap;
        let now = Now { nanos, unix: 0 };
        let before = limiter.look(key, *cost, now);
        let standing = limiter.take(key, *cost, now);
        assert_eq!(before.is_within(), standing.is_within());
        if standing.is_within() {
            admitted.push((nanos, *cost));
        } else if let Some(wait) = standing.wait() {
            // What it says of the wait is true, and not longer than need be by more than it admits.
            let then = nanos + wait.as_nanos() as u64;
            let then = Now {
                nanos: then,
                unix: 0,
            };
            assert!(limiter.look(key, *cost, then).is_within());
        }
        for rule in &standing.rules {
            assert_eq!(rule.remaining > 0, rule.next == Duration::ZERO);
            assert!(rule.next <= rule.reset);
        }
    }
    admitted
}

/// The most that any interval of this length, both ends included, holds.
fn most_within(admitted: &[(u64, u64)], length: u64) -> u64 {
    let from = |start: usize| {
        let end = admitted[start].0.saturating_add(length);
        let inside = admitted[start..]
            .iter()
            .take_while(move |(at, _)| *at <= end);
        inside.map(|(_, cost)| cost).sum::<u64>()
    };
    (0..admitted.len()).map(from).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn gcra_admits_no_more_than_its_rate_and_a_burst(
        arrivals in arrivals(),
        count in 1..2_000_u64,
        period in prop_oneof![Just(1_u64), Just(60), Just(3600)],
        burst in 1..50_u64,
    ) {
        let (one, of) = (NonZero::new(count).unwrap(), NonZero::new(burst).unwrap());
        let period = Duration::from_secs(period);
        let rule = Rule::Gcra(Gcra::new(one, period, of));
        let limiter = Limiter::new("gcra", vec![rule.named("a")], 64, &Room::default());
        let admitted = admitted(&limiter, &arrivals);
        for start in 0..admitted.len() {
            let mut sum = 0;
            for (at, cost) in &admitted[start..] {
                sum += cost;
                let elapsed = at - admitted[start].0;
                let most = u128::from(elapsed) * u128::from(count) / period.as_nanos() + u128::from(burst);
                prop_assert!(u128::from(sum) <= most, "{} in {} ns, at most {}", sum, elapsed, most);
            }
        }
    }

    #[test]
    fn gcra_admits_all_of_an_even_flow(count in 1..1_000_u64, period in 1..100_u64) {
        let rule = Gcra::new(NonZero::new(count).unwrap(), Duration::from_secs(period), NonZero::<u64>::MIN);
        let interval = rule.interval();
        let limiter = Limiter::new("gcra", vec![Rule::Gcra(rule).named("a")], 64, &Room::default());
        let arrivals = vec![(interval, 1); 200];
        prop_assert_eq!(admitted(&limiter, &arrivals).len(), 200);
    }

    #[test]
    fn a_sliding_window_admits_no_more_than_its_limit(
        arrivals in arrivals(),
        limit in 1..60_u32,
        window in prop_oneof![Just(1_000_000_u64), Just(1_000_000_000), Just(7_777_777_777), Just(60_000_000_000)],
    ) {
        let rule = Sliding::new(NonZero::new(limit).unwrap(), Duration::from_nanos(window));
        let limiter = Limiter::new("sliding", vec![Rule::Sliding(rule).named("a")], 64, &Room::default());
        let admitted = admitted(&limiter, &arrivals);
        // A window of this length that has one of its ends.
        prop_assert!(most_within(&admitted, window - 1) <= u64::from(limit));
    }

    #[test]
    fn a_sliding_window_gives_back_what_is_older(limit in 1..60_u32, window in 1_000_u64..100_000_000_000) {
        let rule = Sliding::new(NonZero::new(limit).unwrap(), Duration::from_nanos(window));
        let limiter = Limiter::new("sliding", vec![Rule::Sliding(rule).named("a")], 64, &Room::default());
        let mut arrivals = vec![(0, 1); limit as usize];
        // At the latest a fifteenth of the window later than it need be, and a slot is rounded up.
        arrivals.push((window + window / 15 + 20, u64::from(limit)));
        let admitted = admitted(&limiter, &arrivals);
        prop_assert_eq!(admitted.len(), limit as usize + 1);
    }

    #[test]
    fn all_rules_are_charged_or_none(arrivals in arrivals(), limit in 1..40_u32) {
        let rules = || [
            Rule::Gcra(Gcra::new(NonZero::new(100).unwrap(), Duration::from_secs(1), NonZero::new(20).unwrap())).named("a"),
            Rule::Sliding(Sliding::new(NonZero::new(limit).unwrap(), Duration::from_secs(1))).named("b"),
        ];
        let both = Limiter::new("both", rules().into(), 64, &Room::default());
        let alone = rules().map(|rule| Limiter::new("alone", vec![rule], 64, &Room::default()));
        let mut nanos = 1_000_000_000;
        let key = Key::hasher().finish();
        for (gap, cost) in arrivals {
            nanos += gap;
            let now = Now { nanos, unix: 0 };
            let is_admitted = both.take(key, cost, now).is_within();
            // Each rule alone, given only what both have let through, stands as it does beside the other.
            let standing = both.look(key, 0, now);
            for (index, alone) in alone.iter().enumerate() {
                if is_admitted {
                    prop_assert!(alone.take(key, cost, now).is_within());
                }
                prop_assert_eq!(alone.look(key, 0, now).rules[0], standing.rules[index]);
            }
        }
    }
}
