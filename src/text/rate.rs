//! How often in a time: `"60/min"`.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;
use std::time;

use super::parsed::ParsedText;
use super::{Duration, Invalid, parsed_text};

/// A count in a time, both above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZero<u32>,
    period: Duration,
}

const UNITS: [(&str, &str); 9] = [
    ("s", "1s"),
    ("sec", "1s"),
    ("second", "1s"),
    ("m", "1m"),
    ("min", "1m"),
    ("minute", "1m"),
    ("h", "1h"),
    ("hour", "1h"),
    ("day", "1d"),
];

/// As they are written by a program, where the length is one of a unit.
const UNITS_WRITTEN: [(&str, &str); 4] = [("s", "1s"), ("min", "1m"), ("h", "1h"), ("day", "1d")];

impl Rate {
    pub fn new(count: NonZero<u32>, period: Duration) -> Rate {
        Rate { count, period }
    }

    pub fn count(self) -> NonZero<u32> {
        self.count
    }

    pub fn period(self) -> time::Duration {
        self.period.as_std()
    }
}

impl FromStr for Rate {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Rate, Invalid> {
        let wrong = || Invalid::Rate { got: text.into() };
        let (count, period) = text.split_once('/').ok_or_else(wrong)?;
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let unit = UNITS.into_iter().find(|(unit, _)| *unit == period);
        let period = unit.map_or(period, |(_, length)| length);
        Ok(Rate {
            count: count.parse().map_err(|_| wrong())?,
            period: period.parse().map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = self.period.to_string();
        let unit = UNITS_WRITTEN
            .into_iter()
            .find(|(_, length)| *length == period);
        write!(f, "{}/{}", self.count, unit.map_or(&*period, |it| it.0))
    }
}

impl ParsedText for Rate {
    const EXPECTED: &'static str = "a rate such as \"100/s\" or \"60/min\"";
}

parsed_text!(
    Rate,
    "string",
    r"^[0-9]+/[0-9a-z]+$",
    "How often in a time: \"100/s\", \"60/min\", \"1000/h\" or \"500/10s\". The time is s, min, h, day or a duration."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::check;
    use super::*;

    #[test]
    fn good() {
        let check = |text, expected| check::<Rate>(text, Ok(expected));
        check("100/s", "100/s");
        check("60/min", "60/min");
        check("60/m", "60/min");
        check("1000/hour", "1000/h");
        check("5/day", "5/day");
        check("500/10s", "500/10s");
        check("1/1m30s", "1/1m30s");
        check("4294967295/1ms", "4294967295/1ms");
    }

    #[test]
    fn bad() {
        for text in [
            "",
            "/",
            "5",
            "5/",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "5/0s",
            "5 / s",
            "5/S",
            "5/month",
            "4294967296/s",
        ] {
            let wrong = format!(
                "must be a rate such as \"100/s\", \"60/min\" or \"500/10s\", got \"{text}\""
            );
            check::<Rate>(text, Err(&wrong));
        }
    }
}
