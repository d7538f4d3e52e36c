//! `{ requests = 10_000, per = "day" }`, as written.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::rates::are_apart;
use super::{Calendar, NamedRule, Period, Rule};
use crate::text::{Name, ParsedText, Span, Spanned, Subject, parsed_text, quoted};

/// How much in each minute, hour, day, week or month.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "QuotaWindows")]
pub struct QuotaConfig {
    /// How much in each `per`.
    pub requests: Option<NonZero<u64>>,
    /// In which time: `minute`, `hour`, `day`, `week` (from Monday) or `month` of the calendar.
    pub per: Option<Period>,
    /// Several quotas that hold at once, in the place of `requests` and `per`; at most five. What one of them refuses is
    /// not counted by the others.
    pub windows: Option<Spanned<Vec<Spanned<PeriodConfig>>>>,
    /// Where days begin, a name of the IANA time zone database such as `"Europe/Berlin"`. Default `"UTC"`.
    pub time_zone: Option<TimeZoneName>,
}

/// One of several quotas.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "QuotaPeriod")]
pub struct PeriodConfig {
    /// What clients and the log are told that it is called. Default: what it says, `"10000/day"`.
    #[serde(default)]
    pub name: Option<Name>,
    /// How much in each `per`.
    pub requests: NonZero<u64>,
    /// In which time.
    pub per: Period,
}

/// As many as there are periods.
const MOST_WINDOWS: usize = 5;

impl QuotaConfig {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == QuotaConfig::default()
    }

    /// What it says, which is something. `None` after diagnostics.
    pub fn build(&self, span: Span, subject: &mut Subject<'_>) -> Option<Vec<NamedRule>> {
        let zone = self.time_zone.as_ref().map(|it| it.zone.clone());
        let zone = zone.unwrap_or(TimeZone::UTC);
        match (self.requests, self.per, &self.windows) {
            (Some(requests), Some(per), None) => Some(vec![calendar(None, requests, per, zone)]),
            (None, None, Some(windows)) => {
                let mut subject = subject.key("windows");
                if windows.is_empty() || windows.len() > MOST_WINDOWS {
                    let what =
                        format!("must be 1 to {MOST_WINDOWS} windows, got {}", windows.len());
                    subject.error(windows.span, what);
                    return None;
                }
                let rules = windows.iter();
                let rules =
                    rules.map(|it| calendar(it.name.as_ref(), it.requests, it.per, zone.clone()));
                let rules: Vec<_> = rules.collect();
                let places = windows.iter().map(|window| window.span);
                are_apart(&rules, places, &mut subject).then_some(rules)
            }
            _ => {
                let what = "must be either requests in a time or windows";
                subject.error(span, what).help(
                    "write requests = 10_000, per = \"day\", or windows = [{ requests = 10_000, per = \"day\" }, …]",
                );
                None
            }
        }
    }
}

fn calendar(name: Option<&Name>, requests: NonZero<u64>, per: Period, zone: TimeZone) -> NamedRule {
    let rule = Rule::Calendar(Calendar::new(requests, per, zone));
    match name {
        Some(name) => rule.named(name.as_str()),
        None => rule.named(format!("{requests}/{}", per.as_str())),
    }
}

/// A time zone by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZoneName {
    name: Box<str>,
    zone: TimeZone,
}

/// What is no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a name of the IANA time zone database such as \"Europe/Berlin\", got {}", quoted(.0))]
pub struct NoTimeZone(Box<str>);

impl FromStr for TimeZoneName {
    type Err = NoTimeZone;

    fn from_str(text: &str) -> Result<TimeZoneName, NoTimeZone> {
        let zone = TimeZone::get(text).map_err(|_| NoTimeZone(text.into()))?;
        Ok(TimeZoneName {
            name: text.into(),
            zone,
        })
    }
}

impl fmt::Display for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl ParsedText for TimeZoneName {
    const EXPECTED: &'static str = "a time zone such as \"Europe/Berlin\"";
}

parsed_text!(
    TimeZoneName,
    "string",
    r"^[A-Za-z]",
    "A name of the IANA time zone database, \"Europe/Berlin\"."
);
