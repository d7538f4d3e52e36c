//! Lengths of time: `"250ms"`, `"5s"`, `"1m30s"`.

use std::fmt;
use std::str::FromStr;
use std::time;

use super::parsed::ParsedText;
use super::{Invalid, parsed_text};

/// A length of time, more than zero and at most 3650 days, in whole milliseconds.
///
/// The upper bound is there so that adding one to an `Instant` cannot overflow, which would panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// From the largest: that is the order in which they are written.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
const LONGEST_MILLIS: u64 = 3650 * 86_400_000;

impl Duration {
    /// For defaults in the program; the argument must be within the type's bounds, or a `const` fails to compile.
    pub const fn from_millis(millis: u64) -> Self {
        assert!(
            millis > 0 && millis <= LONGEST_MILLIS,
            "a duration is more than zero and at most 3650 days"
        );
        Duration(time::Duration::from_millis(millis))
    }

    /// Like [`Duration::from_millis`].
    pub const fn from_secs(secs: u64) -> Self {
        assert!(
            secs <= LONGEST_MILLIS / 1000,
            "a duration is at most 3650 days"
        );
        Duration::from_millis(secs * 1000)
    }

    pub const fn as_std(self) -> time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::Duration { got: text.into() };
        if let Ok(got) = text.parse() {
            return Err(Invalid::DurationUnit { got });
        }
        let mut rest = text;
        let mut millis = 0u64;
        let mut allowed = UNITS.as_slice();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, after) = rest.split_at(digits);
            let letters = after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            rest = after;
            if number.is_empty() || !UNITS.iter().any(|&(name, _)| name == unit) {
                return Err(wrong());
            }
            let at = allowed.iter().position(|&(name, _)| name == unit);
            let Some((&(_, factor), smaller)) = at
                .and_then(|at| allowed.get(at..))
                .and_then(<[_]>::split_first)
            else {
                return Err(Invalid::DurationOrder { got: text.into() });
            };
            allowed = smaller;
            // All digits, so a number that does not parse is one too long.
            let part = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(factor));
            let sum = part
                .and_then(|part| millis.checked_add(part))
                .filter(|&sum| sum <= LONGEST_MILLIS);
            millis = sum.ok_or_else(|| Invalid::DurationLong { got: text.into() })?;
        }
        match (text, millis) {
            ("", _) => Err(wrong()),
            (_, 0) => Err(Invalid::DurationZero { got: text.into() }),
            _ => Ok(Duration(time::Duration::from_millis(millis))),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        for (name, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl ParsedText for Duration {
    const EXPECTED: &'static str = "a duration such as \"1s\" or \"5m\"";

    fn from_number(number: i64) -> Option<Result<Self, Invalid>> {
        let got = u64::try_from(number).ok()?;
        Some(Err(Invalid::DurationUnit { got }))
    }
}

parsed_text!(
    Duration,
    "string",
    r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$",
    "A length of time above zero: \"250ms\", \"5s\", \"5m\", \"1h\", \"1d\" or several together, \"1m30s\"."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::{check, json};
    use super::*;

    #[test]
    fn good() {
        let check = |text, expected| check::<Duration>(text, Ok(expected));
        check("250ms", "250ms");
        check("5s", "5s");
        check("5m", "5m");
        check("1h", "1h");
        check("1d", "1d");
        check("1m30s", "1m30s");
        check("90s", "1m30s");
        check("1s500ms", "1s500ms");
        check("0m5s", "5s");
        check("3650d", "3650d");
        assert_eq!(
            "1m30s".parse::<Duration>().map(Duration::as_std),
            Ok(time::Duration::from_secs(90))
        );
    }

    #[test]
    fn bad() {
        let wrong =
            |text: &str| format!("must be a duration such as \"1s\" or \"5m\", got \"{text}\"");
        for text in [
            "", "five", "-5s", "1.5s", "5 s", "s", "5S", "5s3", "5us", "5s-", "é",
        ] {
            check::<Duration>(text, Err(&wrong(text)));
        }
        let check = |text, expected| check::<Duration>(text, Err(expected));
        check(
            "5",
            "must be a duration with its unit, such as \"5s\" or \"5ms\", got 5",
        );
        check("0s", "must be a duration longer than zero, got \"0s\"");
        check(
            "30s1m",
            "must be a duration with its largest unit first and each unit once, such as \"1m30s\", got \"30s1m\"",
        );
        check(
            "1s1s",
            "must be a duration with its largest unit first and each unit once, such as \"1m30s\", got \"1s1s\"",
        );
        check(
            "3651d",
            "must be a duration of at most 3650d, got \"3651d\"",
        );
        check(
            "3650d1ms",
            "must be a duration of at most 3650d, got \"3650d1ms\"",
        );
        check(
            "99999999999999999999999s",
            "must be a duration of at most 3650d, got \"99999999999999999999999s\"",
        );
    }

    #[test]
    fn numbers_need_a_unit() {
        assert!(json::<Duration>("5").is_err_and(|error| error.contains("such as \"5s\"")));
        assert!(json::<Duration>("-5").is_err_and(|error| error.contains("a duration")));
        assert!(json::<Duration>("18446744073709551615").is_err());
    }
}
