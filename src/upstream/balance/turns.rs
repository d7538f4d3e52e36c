//! The order in which weighted endpoints take turns.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The longest sequence that weights are expanded to.
const MAX_SEQUENCE: u64 = 8192;

/// Indices of endpoints, each as often as its weight says and as far apart as can be. In each step every endpoint
/// gains its weight in credit, the one with the most credit is next and pays the sum of all weights; so 5:1:1 becomes
/// A A B A C A A. Working it out ahead keeps the request path free of the lock that the running form needs.
///
/// `None` where it would be longer than 8192 and there are fewer endpoints than that: some of a thousand with a weight of 1
/// beside others of 1000 would have to wait for half a million turns. To scale weights down would make others of them.
pub(super) fn smooth_sequence(weights: &[u32]) -> Option<Box<[u16]>> {
    let divisor = weights
        .iter()
        .fold(0, |a, &b| greatest_common_divisor(a, b))
        .max(1);
    let weights: Vec<i64> = weights
        .iter()
        .map(|&weight| i64::from(weight / divisor))
        .collect();
    let total: i64 = weights.iter().sum();
    if weights.iter().all(|&weight| weight == 1) {
        return Some((0..weights.len()).map(|index| index as u16).collect());
    }
    if total > MAX_SEQUENCE as i64 {
        return None;
    }
    let mut classes: BTreeMap<i64, Class> = BTreeMap::new();
    for (index, weight) in weights.into_iter().enumerate() {
        classes
            .entry(weight)
            .or_default()
            .members
            .push(index as u16);
    }
    let sequence = (1..=total).filter_map(|step| {
        let credits = classes.iter_mut().map(|(weight, class)| {
            let (first, taken) = class.first()?;
            Some((step * weight - taken * total, Reverse(first), class))
        });
        // The first of equals, as nginx does.
        let next = credits
            .flatten()
            .max_by_key(|(credit, first, _)| (*credit, *first));
        let (_, Reverse(next), class) = next?;
        class.taken += 1;
        Some(next)
    });
    Some(sequence.collect())
}

/// Endpoints of the same weight. The one with the most credit among them is the first of those that had the fewest turns,
/// so they have theirs in a circle, and only the next of each class has to be looked at: a thousand endpoints of three
/// weights take microseconds and not milliseconds, whenever the health of one of them changes.
#[derive(Default)]
struct Class {
    members: Vec<u16>,
    /// Turns that they have had together.
    taken: usize,
}

impl Class {
    /// Who is next, and how many turns that one has had.
    fn first(&self) -> Option<(u16, i64)> {
        let count = self.members.len().max(1);
        let first = self.members.get(self.taken % count)?;
        Some((*first, (self.taken / count) as i64))
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_are_smooth() {
        let check = |weights: &[u32], expected: &[u16]| {
            assert_eq!(
                smooth_sequence(weights).as_deref(),
                Some(expected),
                "{weights:?}"
            )
        };
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[1, 1], &[0, 1]);
        check(&[10, 20], &[1, 0, 1]);
        check(&[7], &[0]);
        check(&[], &[]);
    }

    #[test]
    fn sequences_are_bounded() {
        let uneven: Vec<u32> = (0..1000).map(|n| 997 + n % 3).collect();
        assert_eq!(smooth_sequence(&uneven), None);
        assert_eq!(smooth_sequence(&[8192, 1]), None);
        assert_eq!(smooth_sequence(&[8191, 1]).map(|it| it.len()), Some(8192));
        assert_eq!(
            smooth_sequence(&[7; 10_000]).map(|it| it.len()),
            Some(10_000)
        );
    }
    /// Step by step, as the running form does it.
    fn running(weights: &[u32]) -> Vec<u16> {
        let total: i64 = weights.iter().map(|it| i64::from(*it)).sum();
        let mut credits = vec![0; weights.len()];
        let turn = |_| {
            credits
                .iter_mut()
                .zip(weights)
                .for_each(|(credit, weight)| *credit += i64::from(*weight));
            let most = *credits.iter().max().unwrap();
            let next = credits.iter().position(|it| *it == most).unwrap();
            credits[next] -= total;
            next as u16
        };
        (0..total).map(turn).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_order_of_the_running_form(weights in prop::collection::vec(1..12_u32, 1..20)) {
            let divisor = weights.iter().fold(0, |a, &b| greatest_common_divisor(a, b));
            let least: Vec<u32> = weights.iter().map(|it| it / divisor).collect();
            prop_assert_eq!(smooth_sequence(&weights).unwrap().into_vec(), running(&least));
        }
    }
}
