//! The order in which weighted endpoints take turns.

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
    let mut credits = vec![0i64; weights.len()];
    let sequence = (0..total)
        .filter_map(|_| {
            for (credit, weight) in credits.iter_mut().zip(&weights) {
                *credit += weight;
            }
            // The first of equals, as nginx does.
            let (next, credit) = credits
                .iter_mut()
                .enumerate()
                .reduce(|best, other| if other.1 > best.1 { other } else { best })?;
            *credit -= total;
            Some(next as u16)
        })
        .collect();
    Some(sequence)
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
}
