//! The order in which weighted endpoints take turns.

/// The longest sequence that weights are expanded to; beyond it they are scaled down.
const MAX_SEQUENCE: u64 = 8192;

/// Indices of endpoints, each as often as its weight says and as far apart as can be. In each step every endpoint
/// gains its weight in credit, the one with the most credit is next and pays the sum of all weights; so 5:1:1 becomes
/// A A B A C A A. Working it out ahead keeps the request path free of the lock that the running form needs.
pub(super) fn smooth_sequence(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights
        .iter()
        .fold(0, |a, &b| greatest_common_divisor(a, b))
        .max(1);
    let mut weights: Vec<i64> = weights
        .iter()
        .map(|&weight| i64::from(weight / divisor))
        .collect();
    let total: i64 = weights.iter().sum();
    let limit = MAX_SEQUENCE.max(weights.len() as u64) as i64;
    if total > limit {
        for weight in &mut weights {
            *weight = (*weight * limit / total).max(1);
        }
    }
    let total: i64 = weights.iter().sum();
    if weights.iter().all(|&weight| weight == 1) {
        return (0..weights.len()).map(|index| index as u16).collect();
    }
    let mut credits = vec![0i64; weights.len()];
    (0..total)
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
        .collect()
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
            assert_eq!(&*smooth_sequence(weights), expected, "{weights:?}")
        };
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[1, 1], &[0, 1]);
        check(&[10, 20], &[1, 0, 1]);
        check(&[7], &[0]);
        check(&[], &[]);
    }

    #[test]
    fn sequences_are_bounded_and_leave_nobody_out() {
        let weights: Vec<u32> = (0..1000).map(|n| 997 + n % 3).collect();
        let sequence = smooth_sequence(&weights);
        assert!(
            sequence.len() <= 2 * MAX_SEQUENCE as usize,
            "{}",
            sequence.len()
        );
        assert!((0..1000).all(|index| sequence.contains(&index)));
    }
}
