//! Random draws by weight.

use super::dice::{below, roll};

/// Draws an endpoint as often as its weight says, by two loads whatever their number (Vose, "A Linear Algorithm for
/// Generating Random Numbers with a Given Distribution", 1991).
#[derive(Debug)]
pub(super) struct Draws {
    columns: Box<[Column]>,
}

/// A share of `1 / n` of the draws: up to `own` of 2^32 for the endpoint of this place, the rest for another.
#[derive(Clone, Copy, Debug)]
struct Column {
    own: u64,
    other: u16,
}

const WHOLE: u64 = 1 << 32;
/// Draws before the rest are looked through: with one endpoint left out of two of the same weight, all of these miss
/// once in 256.
const MOST_DRAWS: usize = 8;

impl Draws {
    pub(super) fn new(weights: &[u32]) -> Draws {
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let count = weights.len() as u64;
        // In units in which a whole column is `total`: exact, whatever the weights.
        let mut shares: Vec<u64> = weights.iter().map(|&it| u64::from(it) * count).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..shares.len()).partition(|&place| shares[place] < total);
        let whole = |place: usize| Column {
            own: WHOLE,
            other: place as u16,
        };
        let mut columns: Vec<Column> = (0..weights.len()).map(whole).collect();
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            let own = u128::from(shares[poor]) * u128::from(WHOLE) / u128::from(total.max(1));
            columns[poor] = Column {
                own: own as u64,
                other: rich as u16,
            };
            shares[rich] -= total - shares[poor];
            if shares[rich] < total {
                large.pop();
                small.push(rich);
            }
        }
        Draws {
            columns: columns.into(),
        }
    }

    /// Any of them; 0 where there is none.
    fn any(&self) -> usize {
        let random = roll();
        let place = below(random, self.columns.len());
        // The place has used up the high bits; for a thousand endpoints the low half is as good as new.
        match self.columns.get(place) {
            Some(column) if random & (WHOLE - 1) >= column.own => usize::from(column.other),
            _ => place,
        }
    }

    /// One that will do: mostly as the weights say, and any that is left where few are. `None` where there is none.
    pub(super) fn one_of(&self, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.columns.len();
        let tries = if count == 0 { 0 } else { MOST_DRAWS };
        let mut draws = (0..tries).map(|_| self.any());
        draws.find(|&place| will_do(place)).or_else(|| {
            let start = below(roll(), count);
            let mut all = (0..count).map(|step| (start + step) % count);
            all.find(|&place| will_do(place))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two in a hundred of each share, and what a count of so many draws varies by (five standard deviations).
    #[test]
    fn draws_follow_the_weights() {
        for weights in [
            vec![1, 1, 1],
            vec![3, 1],
            vec![1, 1000],
            (1..=100).collect::<Vec<u32>>(),
            vec![7; 1000],
        ] {
            let draws = Draws::new(&weights);
            let mut seen = vec![0u32; weights.len()];
            let count = 400_000;
            (0..count).for_each(|_| seen[draws.any()] += 1);
            let total: u32 = weights.iter().sum();
            for (seen, weight) in seen.into_iter().zip(&weights) {
                let wanted = f64::from(count) * f64::from(*weight) / f64::from(total);
                let tolerance = wanted * 0.02 + 5.0 * wanted.sqrt();
                let off = (f64::from(seen) - wanted).abs();
                assert!(off <= tolerance, "{seen} for {wanted} of {}", weights.len());
            }
        }
    }

    #[test]
    fn what_is_left_is_found() {
        let draws = Draws::new(&[1_000_000, 1, 1]);
        assert_eq!(draws.one_of(|place| place == 2), Some(2));
        assert_eq!(draws.one_of(|_| false), None);
        assert_eq!(Draws::new(&[]).one_of(|_| true), None);
    }
}
