//! Windows of the calendar: so much a minute, hour, day, week or month, as people there count them.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit, Zoned};

use super::{Factor, RuleStanding, Shape};

/// A window of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Minute,
    Hour,
    /// From midnight to midnight; where clocks are changed, of 23 or 25 hours.
    Day,
    /// From Monday (ISO 8601).
    Week,
    Month,
}

impl Period {
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Minute => "minute",
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        }
    }

    /// About how long one is.
    pub fn length(self) -> Duration {
        Duration::from_secs(match self {
            Period::Minute => 60,
            Period::Hour => 3600,
            Period::Day => 86_400,
            Period::Week => 7 * 86_400,
            Period::Month => 30 * 86_400,
        })
    }

    /// The first moment of the window that this one is in, and that of the next.
    fn around(self, moment: &Zoned) -> Result<(Zoned, Zoned), jiff::Error> {
        let (start, length) = match self {
            Period::Minute => return rounded(moment, Unit::Minute, 1.minute()),
            Period::Hour => return rounded(moment, Unit::Hour, 1.hour()),
            Period::Day => (moment.start_of_day()?, 1.day()),
            Period::Week => {
                let back = moment.weekday().since(Weekday::Monday);
                let monday = moment.date().checked_sub(i64::from(back).days())?;
                (monday.to_zoned(moment.time_zone().clone())?, 1.week())
            }
            Period::Month => {
                let first = moment.date().first_of_month();
                (first.to_zoned(moment.time_zone().clone())?, 1.month())
            }
        };
        // By dates: a day that begins at one o'clock, because there is no midnight, ends at midnight all the same.
        let next = start.date().checked_add(length)?;
        let end = next.to_zoned(moment.time_zone().clone())?;
        Ok((start, end))
    }
}

/// Minutes and hours are lengths of time; where clocks are set back, one hour has the name of the one before it.
fn rounded(moment: &Zoned, unit: Unit, length: jiff::Span) -> Result<(Zoned, Zoned), jiff::Error> {
    let start = moment.round(
        jiff::ZonedRound::new()
            .smallest(unit)
            .mode(jiff::RoundMode::Trunc),
    )?;
    let end = start.checked_add(length)?;
    Ok((start, end))
}

/// So much in each window of the calendar.
#[derive(Debug)]
pub struct Calendar {
    limit: u64,
    period: Period,
    zone: TimeZone,
    /// The window of the moment, in Unix seconds of 32 bits each: first and end. It is looked up once a window.
    window: AtomicU64,
}

impl Clone for Calendar {
    fn clone(&self) -> Calendar {
        Calendar {
            window: AtomicU64::new(self.window.load(Ordering::Relaxed)),
            zone: self.zone.clone(),
            ..*self
        }
    }
}

impl Calendar {
    pub(super) const WORDS: usize = 2;

    pub fn new(limit: NonZero<u64>, period: Period, zone: TimeZone) -> Calendar {
        Calendar {
            limit: limit.get(),
            period,
            zone,
            window: AtomicU64::new(0),
        }
    }

    pub(super) fn times(&self, factor: Factor) -> Calendar {
        Calendar {
            limit: factor.of(self.limit),
            ..self.clone()
        }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn period(&self) -> Period {
        self.period
    }

    pub(super) fn shape(&self) -> Shape {
        Shape::Calendar {
            period: self.period,
            zone: self.zone.iana_name().unwrap_or("UTC").into(),
        }
    }

    /// The first second of the window that `unix` is in, and that of the next.
    pub fn window(&self, unix: u64) -> (u64, u64) {
        let known = self.window.load(Ordering::Relaxed);
        let (start, end) = (known >> 32, known & u64::from(u32::MAX));
        if (start..end).contains(&unix) {
            return (start, end);
        }
        let (start, end) = self.look_up(unix);
        self.window.store(start << 32 | end, Ordering::Relaxed);
        (start, end)
    }

    #[cold]
    fn look_up(&self, unix: u64) -> (u64, u64) {
        let moment = i64::try_from(unix)
            .ok()
            .and_then(|it| Timestamp::from_second(it).ok());
        let moment = moment.map(|moment| moment.to_zoned(self.zone.clone()));
        let window = moment.and_then(|moment| self.period.around(&moment).ok());
        let second =
            |moment: Zoned| moment.timestamp().as_second().clamp(0, i64::from(u32::MAX)) as u64;
        match window {
            Some((start, end)) => (second(start), second(end)),
            // Beyond the calendar that is known, windows are counted from 1970.
            None => {
                let length = self.period.length().as_secs();
                let start = (unix / length * length).min(u64::from(u32::MAX) - length);
                (start, start + length)
            }
        }
    }

    pub(super) fn weigh(&self, words: &[u64], cost: u64, unix: u64) -> RuleStanding {
        let (start, end) = self.window(unix);
        let first = counted(words, start, end);
        let used = if words[0] == first { words[1] } else { 0 };
        let with_cost = used.saturating_add(cost);
        let is_within = with_cost <= self.limit;
        let used = if is_within { with_cost } else { used };
        // Of the window after this one, that is about its end.
        let later = if first > start { end - start } else { 0 };
        let rest = Duration::from_secs((end.saturating_sub(unix) + later).max(1));
        RuleStanding {
            quota: self.limit,
            remaining: self.limit.saturating_sub(used),
            next: if used < self.limit {
                Duration::ZERO
            } else {
                rest
            },
            reset: if used == 0 { Duration::ZERO } else { rest },
            wait: match is_within {
                true => Some(Duration::ZERO),
                false => (cost <= self.limit).then_some(rest),
            },
        }
    }

    pub(super) fn owed(&self, words: &[u64], unix: u64) -> u64 {
        let (start, end) = self.window(unix);
        match words[0] == counted(words, start, end) {
            true => words[1],
            false => 0,
        }
    }

    pub(super) fn add(&self, words: &mut [u64], cost: u64, unix: u64) {
        let (start, end) = self.window(unix);
        let first = counted(words, start, end);
        if words[0] != first {
            words[0] = first;
            words[1] = 0;
        }
        words[1] = words[1].saturating_add(cost);
    }

    pub(super) fn fresh_in(&self, words: &[u64], unix: u64) -> u64 {
        let (start, end) = self.window(unix);
        if words[0] != counted(words, start, end) || words[1] == 0 {
            return 0;
        }
        // All keys have the same end: of these, who has taken the smaller share of the limit is nearer.
        let share = u128::from(words[1].min(self.limit)) * u128::from(SECOND - 1);
        let share = share / u128::from(self.limit.max(1));
        let seconds = end.saturating_sub(unix).max(1);
        seconds.saturating_mul(SECOND).saturating_add(share as u64)
    }
}

const SECOND: u64 = 1_000_000_000;

/// The beginning of the window that is counted in: that of this moment, or the next one where somebody whose clock is
/// ahead, be it another thread's, has begun it. A clock that was ahead by more than a window was wrong.
fn counted(words: &[u64], start: u64, end: u64) -> u64 {
    if words[0] == end { end } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_at_a_border_give_nothing_twice() {
        let five = NonZero::new(5).unwrap();
        let calendar = Calendar::new(five, Period::Minute, TimeZone::UTC);
        let mut words = [0; 2];
        let mut admitted = 0;
        for round in 0..40 {
            // One clock is still before the border.
            let unix = 6000 - round % 2;
            if calendar.weigh(&words, 1, unix).is_within() {
                calendar.add(&mut words, 1, unix);
                admitted += 1;
            }
        }
        assert_eq!(admitted, 5);
        let standing = calendar.weigh(&words, 1, 5999);
        assert_eq!(standing.wait, Some(Duration::from_secs(61)));
        assert!(calendar.fresh_in(&words, 5999) > 0);
        // A clock that has been wrong by more refuses nobody until it is right.
        assert!(calendar.weigh(&words, 5, 5000).is_within());
        // Of a window that has ended nothing counts.
        let owed = [5000, 5999, 6059, 6060].map(|unix| calendar.owed(&words, unix));
        assert_eq!(owed, [0, 5, 5, 0]);
    }

    #[test]
    fn who_has_taken_less_is_nearer_to_fresh() {
        let calendar = Calendar::new(NonZero::new(1000).unwrap(), Period::Day, TimeZone::UTC);
        let fresh_in = |used| {
            let mut words = [0; 2];
            calendar.add(&mut words, used, 6000);
            calendar.fresh_in(&words, 6000)
        };
        assert!(fresh_in(1) < fresh_in(2) && fresh_in(2) < fresh_in(1000));
        assert_eq!(fresh_in(1000) / SECOND, 80_400);
    }

    #[test]
    fn windows_are_those_of_the_place() {
        let check = |period, zone: &str, moment: &str, start: &str, end: &str| {
            let zone = TimeZone::get(zone).unwrap();
            let calendar = Calendar::new(NonZero::<u64>::MIN, period, zone);
            let unix = |text: &str| text.parse::<Timestamp>().unwrap().as_second() as u64;
            assert_eq!(
                calendar.window(unix(moment)),
                (unix(start), unix(end)),
                "{period:?} {moment}"
            );
            // As it is remembered.
            assert_eq!(
                calendar.window(unix(start)),
                (unix(start), unix(end)),
                "{period:?} {moment}"
            );
        };
        use Period::{Day, Hour, Minute, Month, Week};
        check(
            Minute,
            "UTC",
            "2026-11-22T13:59:59Z",
            "2026-11-22T13:59:00Z",
            "2026-11-22T14:00:00Z",
        );
        check(
            Hour,
            "UTC",
            "2026-11-22T13:59:59Z",
            "2026-11-22T13:00:00Z",
            "2026-11-22T14:00:00Z",
        );
        check(
            Hour,
            "Asia/Kolkata",
            "2026-11-22T13:59:59Z",
            "2026-11-22T13:30:00Z",
            "2026-11-22T14:30:00Z",
        );
        check(
            Day,
            "UTC",
            "2026-11-22T00:00:00Z",
            "2026-11-22T00:00:00Z",
            "2026-11-23T00:00:00Z",
        );
        check(
            Day,
            "Europe/Berlin",
            "2026-11-22T23:30:00Z",
            "2026-11-22T23:00:00Z",
            "2026-11-23T23:00:00Z",
        );
        // Days on which clocks are changed.
        check(
            Day,
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        );
        check(
            Day,
            "Europe/Berlin",
            "2026-10-25T12:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        );
        // The hour that comes twice.
        check(
            Hour,
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            "2026-10-25T00:00:00Z",
            "2026-10-25T01:00:00Z",
        );
        check(
            Hour,
            "Europe/Berlin",
            "2026-10-25T01:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T02:00:00Z",
        );
        // There is no midnight that day.
        check(
            Day,
            "Africa/Cairo",
            "2026-04-24T12:00:00Z",
            "2026-04-23T22:00:00Z",
            "2026-04-24T21:00:00Z",
        );
        check(
            Week,
            "UTC",
            "2026-11-22T13:59:59Z",
            "2026-11-16T00:00:00Z",
            "2026-11-23T00:00:00Z",
        );
        check(
            Week,
            "UTC",
            "2026-11-23T00:00:00Z",
            "2026-11-23T00:00:00Z",
            "2026-11-30T00:00:00Z",
        );
        check(
            Month,
            "UTC",
            "2028-02-29T13:00:00Z",
            "2028-02-01T00:00:00Z",
            "2028-03-01T00:00:00Z",
        );
        check(
            Month,
            "America/New_York",
            "2026-12-01T02:00:00Z",
            "2026-11-01T04:00:00Z",
            "2026-12-01T05:00:00Z",
        );
    }
}
