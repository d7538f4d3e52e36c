//! `rate = "10/s"`, or several windows at once, as written.

use std::num::NonZero;
use std::time;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Gcra, NamedRule, Rule, Sliding};
use crate::text::{Duration, Name, Rate, Span, Spanned, Subject};

/// How often in which time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "RatesConfig")]
pub struct RatesConfig {
    /// How often in the long run.
    pub rate: Option<Rate>,
    /// How many may come at once. Default: as many as `rate` allows in its time.
    pub burst: Option<Spanned<NonZero<u32>>>,
    /// Several limits that hold at once, in the place of `rate`; at most eight. What one of them refuses is not counted
    /// by the others.
    pub windows: Option<Spanned<Vec<Spanned<WindowConfig>>>>,
}

/// One of several limits: a rate, `{ rate = "10/s", burst = 20 }`, or so many in any window of a length,
/// `{ requests = 1000, window = "1h" }`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WindowConfig")]
pub struct WindowConfig {
    /// What clients and the log are told that it is called. Default: what it says, `"10/s"` or `"1000/h"`.
    pub name: Option<Spanned<Name>>,
    /// How often in the long run.
    pub rate: Option<Rate>,
    /// How many may come at once. Default: as many as `rate` allows in its time.
    pub burst: Option<Spanned<NonZero<u32>>>,
    /// How many in any window of the length `window`, wherever it begins. What is taken counts for up to a fifteenth of
    /// the window longer than it need.
    pub requests: Option<NonZero<u32>>,
    /// How long the window is that `requests` are for.
    pub window: Option<Duration>,
}

/// Each costs a few words of memory a key.
const MOST_WINDOWS: usize = 8;
/// As long as a duration may be that is written.
const LONGEST: time::Duration = time::Duration::from_secs(3650 * 86_400);

impl RatesConfig {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == RatesConfig::default()
    }

    /// What it says, which is something. `None` after diagnostics.
    pub fn build(&self, span: Span, subject: &mut Subject<'_>) -> Option<Vec<NamedRule>> {
        match (self.rate, &self.windows) {
            (Some(rate), None) => Some(vec![gcra(rate, self.burst, subject)?]),
            (None, Some(windows)) => {
                if let Some(burst) = self.burst {
                    needless_burst(burst.span, subject);
                    return None;
                }
                build(windows, &mut subject.key("windows"))
            }
            (None, None) => {
                match self.burst {
                    Some(burst) => needless_burst(burst.span, subject),
                    None => {
                        let problem = subject.error(span, "must say how often");
                        problem.help("write rate = \"10/s\"");
                    }
                }
                None
            }
            (Some(_), Some(windows)) => {
                let problem = subject.error(windows.span, "has both rate and windows");
                problem.help("make the rate one of the windows: { rate = \"…\", burst = … }");
                None
            }
        }
    }
}

fn build(
    windows: &Spanned<Vec<Spanned<WindowConfig>>>,
    subject: &mut Subject<'_>,
) -> Option<Vec<NamedRule>> {
    if windows.is_empty() || windows.len() > MOST_WINDOWS {
        let what = format!("must be 1 to {MOST_WINDOWS} windows, got {}", windows.len());
        subject.error(windows.span, what);
        return None;
    }
    let build = |(index, window): (usize, &Spanned<WindowConfig>)| {
        window.build(window.span, &mut subject.index(index))
    };
    let rules: Vec<_> = windows.iter().enumerate().map(build).collect();
    let rules: Vec<NamedRule> = rules.into_iter().collect::<Option<_>>()?;
    let places = windows.iter().map(|window| match &window.name {
        Some(name) => name.span,
        None => window.span,
    });
    are_apart(&rules, places, subject).then_some(rules)
}

/// Whether no two rules are called the same; if they are, after a diagnostic.
pub(super) fn are_apart(
    rules: &[NamedRule],
    places: impl Iterator<Item = Span>,
    subject: &mut Subject<'_>,
) -> bool {
    for (index, (rule, place)) in rules.iter().zip(places).enumerate() {
        if rules[..index].iter().any(|it| it.name == rule.name) {
            let mut subject = subject.index(index);
            let what = format!("has the name of another window, {:?}", rule.name);
            subject
                .error(place, what)
                .help("give it one of its own: name = \"…\"");
            return false;
        }
    }
    true
}

impl WindowConfig {
    fn build(&self, span: Span, subject: &mut Subject<'_>) -> Option<NamedRule> {
        let rule = match (self.rate, self.requests, self.window) {
            (Some(rate), None, None) => gcra(rate, self.burst, subject)?,
            (None, Some(requests), Some(window)) => {
                if let Some(burst) = self.burst {
                    needless_burst(burst.span, subject);
                    return None;
                }
                let rule = Rule::Sliding(Sliding::new(requests, window.as_std()));
                rule.named(Rate::new(requests, window).to_string())
            }
            _ => {
                let what = "must be either a rate or requests in a window";
                subject.error(span, what).help(
                    "write { rate = \"10/s\", burst = 20 } or { requests = 1000, window = \"1h\" }",
                );
                return None;
            }
        };
        Some(match &self.name {
            Some(name) => rule.rule.named(name.as_str()),
            None => rule,
        })
    }
}

fn needless_burst(span: Span, subject: &mut Subject<'_>) {
    let mut subject = subject.key("burst");
    subject.error(span, "is of use only beside rate");
}

fn gcra(
    rate: Rate,
    burst: Option<Spanned<NonZero<u32>>>,
    subject: &mut Subject<'_>,
) -> Option<NamedRule> {
    let most = burst.map_or(rate.count(), |burst| burst.value);
    if let Some(burst) = burst {
        let nanos = rate.period().as_nanos().div_ceil(rate.count().get().into());
        if nanos.saturating_mul(most.get().into()) > LONGEST.as_nanos() {
            let mut subject = subject.key("burst");
            let what = format!("must be no more than {rate} brings back in ten years, got {most}");
            subject.error(burst.span, what);
            return None;
        }
    }
    let gcra = Gcra::new(rate.count().into(), rate.period(), most.into());
    Some(Rule::Gcra(gcra).named(rate.to_string()))
}
