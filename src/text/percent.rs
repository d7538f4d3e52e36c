//! Shares of a whole: `"20%"`.

use std::fmt;
use std::str::FromStr;

use super::parsed::ParsedText;
use super::{Invalid, parsed_text};

/// From 0 to 100 percent, exact to four decimals so that two equal texts are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    millionths: u32,
}

const PER_PERCENT: u32 = 10_000;
const WHOLE: u32 = 100 * PER_PERCENT;
const DECIMALS: usize = 4;

impl Percent {
    /// For defaults in the program; more than 100 fails to compile in a `const`.
    pub const fn from_whole(percent: u32) -> Self {
        assert!(percent <= 100, "a percentage is at most 100");
        Percent {
            millionths: percent * PER_PERCENT,
        }
    }

    /// From 0.0 to 1.0.
    pub fn as_ratio(self) -> f64 {
        f64::from(self.millionths) / f64::from(WHOLE)
    }

    /// This share of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        let share = u128::from(whole) * u128::from(self.millionths) / u128::from(WHOLE);
        u64::try_from(share).unwrap_or(whole)
    }
}

impl FromStr for Percent {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::Percent { got: text.into() };
        if let Ok(got) = text.parse() {
            return Err(Invalid::PercentSign { got });
        }
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > DECIMALS {
            return Err(wrong());
        }
        let fraction: u32 = format!("{decimals:0<DECIMALS$}")
            .parse()
            .map_err(|_| wrong())?;
        let millionths = whole
            .parse::<u32>()
            .ok()
            .and_then(|whole| whole.checked_mul(PER_PERCENT));
        match millionths
            .and_then(|whole| whole.checked_add(fraction))
            .filter(|&sum| sum <= WHOLE)
        {
            Some(millionths) => Ok(Percent { millionths }),
            None => Err(Invalid::PercentRange { got: text.into() }),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.millionths / PER_PERCENT, self.millionths % PER_PERCENT);
        match fraction {
            0 => write!(f, "{whole}%"),
            _ => write!(
                f,
                "{whole}.{}%",
                format!("{fraction:0DECIMALS$}").trim_end_matches('0')
            ),
        }
    }
}

impl ParsedText for Percent {
    const EXPECTED: &'static str = "a percentage such as \"20%\" or \"0.5%\"";

    fn from_number(number: i64) -> Option<Result<Self, Invalid>> {
        let got = u64::try_from(number).ok()?;
        Some(Err(Invalid::PercentSign { got }))
    }
}

parsed_text!(
    Percent,
    "string",
    r"^\d{1,3}(\.\d{1,4})?%$",
    "A share from \"0%\" to \"100%\", up to four decimals."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::{check, json};
    use super::*;

    #[test]
    fn good() {
        let check = |text, expected| check::<Percent>(text, Ok(expected));
        check("20%", "20%");
        check("0%", "0%");
        check("100%", "100%");
        check("0.5%", "0.5%");
        check("1.0%", "1%");
        check("99.0001%", "99.0001%");
        let half: Percent = "0.5%".parse().expect("a good percentage");
        assert_eq!(
            (half.as_ratio(), half.of(1000), half.of(u64::MAX)),
            (0.005, 5, u64::MAX / 200)
        );
        assert_eq!(Percent::from_whole(100).of(u64::MAX), u64::MAX);
    }

    #[test]
    fn bad() {
        for text in [
            "", "%", "five", "-1%", "1.%", ".5%", "1.00001%", "1 %", "1e1%", "é%",
        ] {
            let wrong = format!("must be a percentage such as \"20%\" or \"0.5%\", got \"{text}\"");
            check::<Percent>(text, Err(&wrong));
        }
        let check = |text, expected| check::<Percent>(text, Err(expected));
        check(
            "20",
            "must be a percentage with its sign, such as \"20%\", got 20",
        );
        check(
            "101%",
            "must be a percentage from \"0%\" to \"100%\", got \"101%\"",
        );
        check(
            "100.1%",
            "must be a percentage from \"0%\" to \"100%\", got \"100.1%\"",
        );
        check(
            "99999999999%",
            "must be a percentage from \"0%\" to \"100%\", got \"99999999999%\"",
        );
    }

    #[test]
    fn numbers_need_a_sign() {
        assert!(json::<Percent>("20").is_err_and(|error| error.contains("such as \"20%\"")));
        assert!(json::<Percent>("0.2").is_err());
    }
}
