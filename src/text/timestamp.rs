//! Points in time: `2027-01-31`, `2027-01-31T12:00:00Z`.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil;

use super::parsed::ParsedText;
use super::{Invalid, parsed_text};

/// A second, as RFC 3339 writes it, from 1970 to 9998. A date alone is its beginning in UTC. Both are read as they are
/// and as strings, since TOML has dates of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// The end of the year 9998: RFC 3339 ends with 9999, and there is no need to be near that end in any time zone.
const LAST: i64 = 253_370_764_799;

impl Timestamp {
    /// Seconds since 1970.
    pub fn unix(self) -> u64 {
        self.0
    }

    /// `None` after the year 9998.
    pub fn from_unix(seconds: u64) -> Option<Timestamp> {
        i64::try_from(seconds)
            .is_ok_and(|seconds| seconds <= LAST)
            .then_some(Timestamp(seconds))
    }

    /// This second. A clock that is before 1970 counts as 1970.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp(since.map_or(0, |since| since.as_secs()))
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Timestamp, Invalid> {
        let wrong = || Invalid::Timestamp { got: text.into() };
        // jiff takes more spellings than RFC 3339 has.
        let is_plain = |byte: u8| byte.is_ascii_digit() || b"-+:.TtZz ".contains(&byte);
        if !text.bytes().all(is_plain) || text.as_bytes().get(4) != Some(&b'-') {
            return Err(wrong());
        }
        let seconds = match text.len() {
            ..=10 => {
                let date: civil::Date = text.parse().map_err(|_| wrong())?;
                let midnight = date.to_zoned(jiff::tz::TimeZone::UTC);
                midnight.map_or(-1, |midnight| midnight.timestamp().as_second())
            }
            _ => match text.parse::<jiff::Timestamp>() {
                Ok(time) => time.as_second(),
                Err(_) if text.parse::<civil::DateTime>().is_ok() => {
                    return Err(Invalid::TimestampOffset { got: text.into() });
                }
                Err(_) => return Err(wrong()),
            },
        };
        let seconds = u64::try_from(seconds).ok();
        let read = seconds.and_then(Timestamp::from_unix);
        read.ok_or_else(|| Invalid::TimestampRange { got: text.into() })
    }
}

/// In UTC: `2027-01-31T12:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0).unwrap_or(LAST).min(LAST);
        match jiff::Timestamp::from_second(seconds) {
            Ok(time) => time.fmt(f),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl ParsedText for Timestamp {
    const EXPECTED: &'static str =
        "a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z";
}

parsed_text!(
    Timestamp,
    "string",
    r"^\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2}))?$",
    "A date such as 2027-01-31, which is its beginning in UTC, or a time of RFC 3339 such as 2027-01-31T12:00:00Z."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::check;
    use super::*;

    #[test]
    fn times_of_rfc_3339() {
        for (text, shown) in [
            ("2027-01-31", "2027-01-31T00:00:00Z"),
            ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"),
            ("2027-01-31 12:00:00z", "2027-01-31T12:00:00Z"),
            ("2027-01-31T12:00:00.9Z", "2027-01-31T12:00:00Z"),
            ("2027-01-31T12:00:00+02:30", "2027-01-31T09:30:00Z"),
            ("2028-02-29T23:59:59-00:01", "2028-03-01T00:00:59Z"),
            ("1970-01-01", "1970-01-01T00:00:00Z"),
            ("9998-12-31", "9998-12-31T00:00:00Z"),
        ] {
            check::<Timestamp>(text, Ok(shown));
        }
        assert_eq!("1970-01-02".parse::<Timestamp>().unwrap().unix(), 86_400);
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "soon",
            "2027",
            "2027-02-29",
            "2027-13-01",
            "2027-1-1",
            "20270131",
            "2027-01-31T25:00:00Z",
            "2027-01-31T12:00:00+02:00[Europe/Berlin]",
            "12:00:00",
            "é027-01-31",
        ] {
            let message = format!(
                "must be a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z, got {}",
                super::super::quoted(text)
            );
            check::<Timestamp>(text, Err(&message));
        }
        check::<Timestamp>(
            "2027-01-31T12:00:00",
            Err(
                "must be a time with its offset from UTC, such as 2027-01-31T12:00:00Z, got 2027-01-31T12:00:00",
            ),
        );
        for text in ["1969-12-31", "9999-01-01", "9999-12-31"] {
            let message = format!("must be a time from 1970 to 9998, got \"{text}\"");
            check::<Timestamp>(text, Err(&message));
        }
    }
}
