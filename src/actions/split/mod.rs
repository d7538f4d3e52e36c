//! `split`: one of several upstreams, by weight.
//!
//! # Which one
//! Each branch gets a number from the hash of the request's key and of the name of its upstream, and the branch wins
//! whose number is the best for its weight: weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted
//! distributed hash tables", 2005). So the same key has the same branch in every gateway, after every start and
//! in whatever order the branches stand; and where a weight is raised, requests move to that branch alone, and no
//! more of them than it needs. A request without a key is given a number by chance.
//!
//! Where a branch is rolled back that others have handed over to, so that none of those has a weight any more, they have
//! it back: the weight that is written of them, as before their ramps. Where nobody has a weight even so, the request
//! goes the way of one whose upstream is not available: the fallback of the route answers, or a 503.

mod canary;
mod ramp;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::upstream_name::upstream;
use crate::facts::{Affinity, KeyBy, View};
use crate::observability::Metrics;
use crate::text::{self, Bounded, Fingerprint, Name, Spanned, StableHash, Subject, mix};
use crate::upstream::Upstream;

pub use canary::{Canary, GuardConfig, Seen};
pub use ramp::RampConfig;

use ramp::Ramp;

/// Forwards to one of several upstreams:
/// `split = { by = "consumer", to = [{ upstream = "v1", weight = 95 }, { upstream = "v2", weight = 5 }] }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose requests stay with one branch, as long as weights allow: those of one `"consumer"` (or `"identity"`, which is the
    /// same), where strangers are told apart by their addresses, of one `"client"`, which is its address, of one `"credential"`, of one `"plan"`, or of one value of `"header:NAME"`,
    /// `"cookie:NAME"`, `"claim:NAME"` or `"path:NAME"`. Requests that have none of it are shared out by chance. A client
    /// can choose its branch where it can choose the value. Default: all of them are shared out by chance.
    pub by: Option<Spanned<KeyBy>>,
    /// The branches. While none of them has a weight, the route's `fallback` answers (`"unavailable"`), or a 503.
    pub to: Spanned<Vec<Spanned<BranchConfig>>>,
    /// A header in which a client may say by itself which upstream of `to` it wants, whatever the weights are. Other
    /// values in it mean nothing. It leads to a branch that is rolled back, too. Default: there is none.
    pub force_header: Option<text::HeaderName>,
}

/// One branch.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchConfig {
    #[serde(deserialize_with = "upstream")]
    pub upstream: Spanned<Name>,
    /// The share of requests that it gets, relative to the others: 0 to 1000.
    pub weight: Spanned<Bounded<0, 1000>>,
    /// Changes the weight with time. Default: it stays.
    pub ramp: Option<Box<RampConfig>>,
    /// Takes the branch out of the split where it does worse than this. Default: nothing does.
    pub guard: Option<Box<Spanned<GuardConfig>>>,
}

/// What guarded branches need from around them.
pub struct Guards<'a> {
    pub route: &'a str,
    /// What is written of the route.
    pub written: Fingerprint,
    pub metrics: &'a Metrics,
    /// Of the route's path, where that is known.
    pub parameters: Option<&'a [Box<str>]>,
    /// Those that run, by their route and their upstream.
    pub before: &'a Canaries,
}

/// Guarded branches by their route and their upstream, each with a weight.
pub type Canaries = BTreeMap<(Box<str>, Box<str>), (Arc<Canary>, f64)>;

/// The branches of a route.
#[derive(Debug)]
pub struct Split {
    by: Option<Affinity>,
    force: Option<HeaderName>,
    branches: Box<[Branch]>,
}

/// One upstream of a split.
#[derive(Debug)]
pub struct Branch {
    pub upstream: Arc<Upstream>,
    /// Of the upstream's name.
    salt: u64,
    weight: f64,
    ramp: Option<Ramp>,
    /// Where it is guarded.
    pub canary: Option<Arc<Canary>>,
}

impl Split {
    /// `find` resolves an upstream's name, and is `None` after a diagnostic.
    pub fn build(
        config: &Config,
        guards: &Guards<'_>,
        mut find: impl FnMut(&Spanned<Name>, &mut Subject<'_>) -> Option<Arc<Upstream>>,
        subject: &mut Subject<'_>,
    ) -> Option<Split> {
        let errors = subject.error_count();
        let by = config.by.as_ref();
        let by = by.and_then(|by| keep_together(by, guards, &mut subject.key("by")));
        let mut to = subject.key("to");
        if config.to.is_empty() {
            let problem = to.error(
                config.to.span,
                "is empty; a split needs two branches or more",
            );
            problem.help("write to = [{ upstream = \"v1\", weight = 95 }, { upstream = \"v2\", weight = 5 }]");
        } else if config
            .to
            .iter()
            .all(|it| it.weight.get() == 0 && it.ramp.is_none())
        {
            let what = "has no branch with a weight above 0, so nobody gets a request";
            to.error(config.to.span, what);
        }
        let mut branches = Vec::with_capacity(config.to.len());
        for (index, branch) in config.to.iter().enumerate() {
            let mut to = to.index(index);
            let mut before = config.to.iter().take(index);
            if let Some(first) = before.find(|it| *it.upstream == *branch.upstream) {
                to.error(branch.upstream.span, "is among the branches twice")
                    .also(first.upstream.span, "first here");
            }
            if let Some(guard) = &branch.guard {
                guard.check(guard.span, &mut to.key("guard"));
            }
            let is_forced = config.force_header.is_some();
            if branch.weight.get() == 0 && branch.ramp.is_none() && !is_forced {
                let what = "is 0, so no request comes here";
                to.key("weight").warning(branch.weight.span, what);
            }
            let upstream = find(&branch.upstream, &mut to.key("upstream"));
            branches.extend(upstream.map(|upstream| Branch::new(upstream, branch, guards)));
        }
        let is_whole = branches.len() == config.to.len() && subject.error_count() == errors;
        is_whole.then(|| Split {
            by,
            force: config.force_header.as_ref().map(|name| (**name).clone()),
            branches: branches.into(),
        })
    }

    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// The branch that this request takes. `None` only where no branch has a weight at the moment, nor one to go back to.
    pub fn choose(&self, view: View<'_>) -> Option<&Branch> {
        if let Some(header) = &self.force
            && let Some(wanted) = view.request.headers.get(header)
            && let Some(branch) = self.named(wanted.as_bytes())
        {
            return Some(branch);
        }
        let key = self.by.as_ref().and_then(|by| by.key(view));
        let key = key.unwrap_or_else(rand::random);
        let best = |weight: fn(&Branch) -> f64| {
            let weighted = self.branches.iter().map(|it| (it.salt, weight(it)));
            self.branches.get(rendezvous(weighted, key)?)
        };
        best(Branch::weight).or_else(|| best(self.weight_back()?))
    }

    /// What weighs the branches where a rollback leaves none of them a weight.
    fn weight_back(&self) -> Option<fn(&Branch) -> f64> {
        let mut branches = self.branches.iter();
        let is_rolled_back = branches.any(Branch::is_rolled_back);
        is_rolled_back.then_some(|branch| match branch.is_rolled_back() {
            true => 0.0,
            false => branch.weight,
        })
    }

    fn named(&self, name: &[u8]) -> Option<&Branch> {
        let mut branches = self.branches.iter();
        branches.find(|branch| branch.upstream.name().as_bytes() == name)
    }
}

impl Branch {
    fn new(upstream: Arc<Upstream>, config: &BranchConfig, guards: &Guards<'_>) -> Branch {
        let canary = config.guard.as_ref().map(|guard| {
            let (route, name) = (guards.route, upstream.name());
            let before = guards.before.get(&(route.into(), name.into()));
            let before = before.map(|(canary, _)| canary);
            let metrics = guards.metrics.canary(route, name);
            Canary::build((route, name), guard, guards.written, metrics, before)
        });
        let mut salt = StableHash::new();
        salt.part(upstream.name().as_bytes());
        Branch {
            salt: salt.finish(),
            weight: f64::from(config.weight.get()),
            ramp: config.ramp.as_ref().map(|ramp| Ramp::new(ramp)),
            canary,
            upstream,
        }
    }

    /// The share that it has now, relative to the others.
    pub fn weight(&self) -> f64 {
        match &self.ramp {
            _ if self.is_rolled_back() => 0.0,
            Some(ramp) => ramp.of(self.weight),
            None => self.weight,
        }
    }

    fn is_rolled_back(&self) -> bool {
        let canary = self.canary.as_ref();
        canary.is_some_and(|canary| canary.is_rolled_back())
    }

    /// For people: how its weight changes, and what it must not do. `None` where there is neither.
    pub fn describe(&self) -> Option<String> {
        let ramp = self.ramp.as_ref().map(Ramp::describe);
        let guard = self.canary.as_ref().map(|canary| canary.describe());
        let parts: Vec<String> = ramp.into_iter().chain(guard).collect();
        let is_any = !parts.is_empty();
        is_any.then(|| format!("{}: {}", self.upstream.name(), parts.join("; ")))
    }
}

/// `None` after a diagnostic, or where it cannot be known yet.
fn keep_together(
    by: &Spanned<KeyBy>,
    guards: &Guards<'_>,
    subject: &mut Subject<'_>,
) -> Option<Affinity> {
    if let Some(name) = by.credential() {
        let what = format!("must not be the credential {name} itself");
        let problem = subject.error(by.span, what);
        problem.help("write by = \"consumer\", which is who was proven to call");
        return None;
    }
    let affinity = Affinity::of(by, guards.parameters?);
    if affinity.is_none() {
        let what = format!("{} needs such a parameter in the route's path", by.value);
        subject.error(by.span, what);
    }
    affinity
}

/// The place of the one with the best number for its weight; `None` where none has a weight. With numbers that are
/// spread evenly over (0, 1], −ln is spread as the waiting time for the first of events that happen at such a rate,
/// and the first of several such to come is each as often as its rate is of all rates.
fn rendezvous(weighted: impl Iterator<Item = (u64, f64)>, key: u64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (place, (salt, weight)) in weighted.enumerate() {
        if weight <= 0.0 {
            continue;
        }
        // The 53 highest bits, which is what an f64 holds exactly.
        let number = ((mix(key ^ salt) >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let time = -number.ln() / weight;
        if best.is_none_or(|(_, least)| time < least) {
            best = Some((place, time));
        }
    }
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 100_000;

    fn salt(name: &str) -> u64 {
        let mut hash = StableHash::new();
        hash.part(name.as_bytes());
        hash.finish()
    }

    /// Which branch each key takes.
    fn taken(weights: &[(&str, f64)]) -> Vec<usize> {
        let branches: Vec<_> = weights
            .iter()
            .map(|&(name, weight)| (salt(name), weight))
            .collect();
        let key = |n: u64| {
            let mut hash = StableHash::new();
            hash.part(format!("user-{n}").as_bytes());
            hash.finish()
        };
        let place = |n| rendezvous(branches.iter().copied(), key(n)).expect("a branch");
        (0..KEYS).map(place).collect()
    }

    fn share(taken: &[usize], branch: usize) -> f64 {
        let count = taken.iter().filter(|&&it| it == branch).count();
        count as f64 / taken.len() as f64
    }

    #[test]
    fn branches_get_their_share() {
        let check = |weights: &[f64]| {
            let names = ["v1", "v2", "v3", "v4"];
            let weighted: Vec<_> = names.into_iter().zip(weights.iter().copied()).collect();
            let (taken, all) = (taken(&weighted), weights.iter().sum::<f64>());
            for (branch, weight) in weights.iter().enumerate() {
                let (got, due) = (share(&taken, branch), weight / all);
                // Five standard deviations: once in a million by chance, and these keys are always the same.
                let most = 5.0 * (due * (1.0 - due) / KEYS as f64).sqrt();
                assert!((got - due).abs() <= most, "{weights:?}: {branch} has {got}");
            }
        };
        check(&[95.0, 5.0]);
        check(&[50.0, 50.0]);
        check(&[999.0, 1.0]);
        check(&[1.0, 2.0, 3.0, 4.0]);
        check(&[10.0, 0.0, 10.0]);
    }

    #[test]
    fn raising_a_weight_moves_only_what_it_needs() {
        let before = taken(&[("v1", 95.0), ("v2", 5.0), ("v3", 20.0)]);
        let after = taken(&[("v1", 95.0), ("v2", 10.0), ("v3", 20.0)]);
        let mut moved = 0;
        for (before, after) in before.iter().zip(&after) {
            if before != after {
                moved += 1;
                assert_eq!(*after, 1, "who moves, moves to the branch that grows");
            }
        }
        // From 5 of 120 to 10 of 125.
        let due = 10.0 / 125.0 - 5.0 / 120.0;
        let share = f64::from(moved) / KEYS as f64;
        assert!((share - due).abs() < 0.004, "{share} of {due}");
    }

    #[test]
    fn the_order_of_branches_means_nothing() {
        let one = taken(&[("v1", 95.0), ("v2", 5.0)]);
        let other = taken(&[("v2", 5.0), ("v1", 95.0)]);
        assert!(one.iter().zip(&other).all(|(one, other)| one + other == 1));
    }

    #[test]
    fn without_weights_there_is_none() {
        let branches = [(salt("v1"), 0.0), (salt("v2"), 0.0)];
        assert_eq!(rendezvous(branches.into_iter(), 7), None);
        assert_eq!(rendezvous([].into_iter(), 7), None);
    }
}
