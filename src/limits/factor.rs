//! How many times its limit a key has.

use std::fmt;
use std::str::FromStr;

/// How many times its limit a key has: from 0, which is nothing, to 1000, in steps of a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    thousandths: u32,
}

/// What is no factor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from 0 to 1000 with at most three decimals, such as 2 or 0.5")]
pub struct NoFactor;

const ONE: u32 = 1000;
const MOST: u32 = 1000 * ONE;
const DECIMALS: usize = 3;

impl Factor {
    /// So many times a limit, rounded down; but one at least, unless it is to be nothing.
    pub(super) fn of(self, limit: u64) -> u64 {
        let times = u128::from(limit) * u128::from(self.thousandths) / u128::from(ONE);
        let least = u64::from(self.thousandths > 0);
        u64::try_from(times).unwrap_or(u64::MAX).max(least)
    }

    /// Between two of a flow that is so many times as dense, rounded up. Of one that is nothing it is as before.
    pub(super) fn part_of(self, interval: u64) -> u64 {
        if self.thousandths == 0 {
            return interval;
        }
        let part = (u128::from(interval) * u128::from(ONE)).div_ceil(self.thousandths.into());
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

impl FromStr for Factor {
    type Err = NoFactor;

    fn from_str(text: &str) -> Result<Factor, NoFactor> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(whole, 4) || !is_number(decimals, DECIMALS) {
            return Err(NoFactor);
        }
        let digits = format!("{whole}{decimals:0<DECIMALS$}");
        let thousandths = digits.parse().map_err(|_| NoFactor)?;
        match thousandths {
            0..=MOST => Ok(Factor { thousandths }),
            _ => Err(NoFactor),
        }
    }
}

/// As short as it can be written: `2`, `0.5`.
impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.thousandths / ONE, self.thousandths % ONE);
        match rest {
            0 => write!(f, "{whole}"),
            _ => write!(f, "{whole}.{}", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_it_is_written_as() {
        for (text, shown, of_ten) in [
            ("0", "0", 0),
            ("0.0", "0", 0),
            ("0.001", "0.001", 1),
            ("0.5", "0.5", 5),
            ("0.55", "0.55", 5),
            ("1", "1", 10),
            ("1.250", "1.25", 12),
            ("1000", "1000", 10_000),
        ] {
            let factor: Factor = text.parse().unwrap();
            assert_eq!(
                (factor.to_string().as_str(), factor.of(10)),
                (shown, of_ten)
            );
        }
        for text in [
            "", ".5", "1.", "-1", "+1", "1e2", "1000.001", "1001", "0.0001", "00000", "x",
        ] {
            assert_eq!(text.parse::<Factor>(), Err(NoFactor), "{text}");
        }
    }

    #[test]
    fn it_never_allows_more_than_so_many_times() {
        let factor: Factor = "3".parse().unwrap();
        // 10 is no multiple of 3: four nanoseconds apart they are fewer than three times as many.
        assert_eq!(factor.part_of(10), 4);
        assert_eq!(factor.of(u64::MAX), u64::MAX);
        let nothing: Factor = "0".parse().unwrap();
        assert_eq!((nothing.part_of(10), nothing.of(u64::MAX)), (10, 0));
    }
}
