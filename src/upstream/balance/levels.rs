//! How requests are shared between priorities, and between the local zone and others.

/// Envoy's overprovisioning factor: a level or a zone of which five sevenths are available still takes all that is
/// its own, since whoever runs it has some to spare.
const OVERPROVISIONING: f64 = 1.4;

/// The endpoints of one priority, by weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub available: u64,
    pub all: u64,
}

/// What a level gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// From 0 to 1.
    pub of_requests: f64,
    /// Its available endpoints are too few: all of them are used, whatever is known of them.
    pub is_in_panic: bool,
}

/// How much of what it should take it can, from 0 to 1.
pub(super) fn capacity(level: Level) -> f64 {
    match level.all {
        0 => 0.0,
        all => (OVERPROVISIONING * level.available as f64 / all as f64).min(1.0),
    }
}

/// Each level takes what it can of what those before it leave; where all together cannot take everything, each takes its
/// share of it. Shares add up to 1, or are all 0 where nothing is available and nobody may panic. The rules are Envoy's
/// ("Priority levels", "Panic threshold"): panic is for levels that have too little left, and only while all levels
/// together cannot take everything.
pub(super) fn shares(levels: &[Level], panic_threshold: Option<f64>) -> Vec<Share> {
    let sum: f64 = levels.iter().map(|level| capacity(*level)).sum();
    let is_short = sum < 1.0;
    let mut left = 1.0;
    let mut shares: Vec<Share> = levels
        .iter()
        .map(|level| {
            let wanted = match is_short {
                true if sum > 0.0 => capacity(*level) / sum,
                true => 0.0,
                false => capacity(*level),
            };
            let of_requests = wanted.min(left);
            left -= of_requests;
            let has = level.available as f64 / level.all.max(1) as f64;
            let is_in_panic = is_short && panic_threshold.is_some_and(|least| has < least);
            Share {
                of_requests,
                is_in_panic,
            }
        })
        .collect();
    if sum == 0.0
        && let Some(first) = shares.iter_mut().find(|share| share.is_in_panic)
    {
        first.of_requests = 1.0;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level((available, all): (u64, u64)) -> Level {
        Level { available, all }
    }

    /// In percent, with `!` behind a level in panic.
    fn check(levels: &[(u64, u64)], panic: Option<f64>, expected: &str) {
        let levels: Vec<Level> = levels.iter().copied().map(level).collect();
        let shares = shares(&levels, panic);
        let text = shares.iter().map(|share| {
            let panic = if share.is_in_panic { "!" } else { "" };
            format!("{:.0}{panic}", share.of_requests * 100.0)
        });
        let text: Vec<String> = text.collect();
        assert_eq!(text.join(" "), expected, "{levels:?}");
    }

    #[test]
    fn levels_spill_over() {
        // The tables of Envoy's documentation of priority levels.
        check(&[(100, 100), (100, 100)], None, "100 0");
        check(&[(72, 100), (72, 100)], None, "100 0");
        check(&[(71, 100), (71, 100)], None, "99 1");
        check(&[(50, 100), (50, 100)], None, "70 30");
        check(&[(25, 100), (100, 100)], None, "35 65");
        check(&[(25, 100), (25, 100)], None, "50 50");
        check(&[(0, 100), (25, 100)], None, "0 100");
        check(&[(20, 100), (20, 100), (10, 100)], None, "40 40 20");
        check(&[(0, 100), (0, 100)], None, "0 0");
        check(&[], None, "");
    }

    #[test]
    fn panic_is_for_who_has_too_little() {
        let half = Some(0.5);
        check(&[(1, 2)], half, "100");
        check(&[(1, 3)], half, "100!");
        check(&[(1, 3)], None, "100");
        check(&[(0, 3)], half, "100!");
        check(&[(0, 3)], None, "0");
        // The second takes what the first cannot.
        check(&[(1, 3), (3, 3)], half, "47 53");
        check(&[(1, 10), (1, 10)], half, "50! 50!");
        check(&[(0, 3), (0, 3)], half, "100! 0!");
    }

    proptest! {
        #[test]
        fn shares_are_a_whole(
            levels in prop::collection::vec((0..20_u64, 1..20_u64), 1..6),
            panic in prop::option::of(0.01..1.0_f64),
        ) {
            let levels: Vec<Level> =
                levels.into_iter().map(|(available, all)| level((available.min(all), all))).collect();
            let shares = shares(&levels, panic);
            let sum: f64 = shares.iter().map(|share| share.of_requests).sum();
            let is_none = levels.iter().all(|level| level.available == 0);
            let expected = if is_none && panic.is_none() { 0.0 } else { 1.0 };
            prop_assert!((sum - expected).abs() < 1e-9, "{}", sum);
            let mut is_full = true;
            for (share, level) in shares.iter().zip(&levels) {
                prop_assert!((0.0..=1.0).contains(&share.of_requests));
                // Nothing goes where nothing is available, unless everything is used.
                prop_assert!(level.available > 0 || share.of_requests == 0.0 || share.is_in_panic);
                // Nobody is asked before those that come first have all that they can take.
                prop_assert!(share.of_requests < 1e-9 || is_full || sum < 1.0 || capacity_sum(&levels) < 1.0);
                is_full &= share.of_requests + 1e-9 >= capacity(*level).min(1.0);
            }
        }
    }

    fn capacity_sum(levels: &[Level]) -> f64 {
        levels.iter().map(|level| capacity(*level)).sum()
    }
}
