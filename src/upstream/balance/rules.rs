//! How an upstream chooses, compiled.

use std::sync::Arc;
use std::time::Duration;

use super::{Balance, Sticky, SubsetConfig, SubsetFallback, Tag};
use crate::discovery::Member;
use crate::facts::KeyBy;
use crate::upstream::{Build, Config};

/// What endpoints are chosen by.
#[derive(Debug)]
pub(in crate::upstream) struct Rules {
    pub algorithm: Algorithm,
    /// What is hashed.
    pub hash: Option<KeyBy>,
    /// From 0 to 1; `None` for never.
    pub panic_threshold: Option<f64>,
    pub zone: Option<Zone>,
    pub subset: Option<Subset>,
    pub slow_start: Option<Duration>,
    pub sticky: Option<Arc<Sticky>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::upstream) enum Algorithm {
    RoundRobin,
    LeastRequest,
    Ewma,
    Random,
    Hash {
        /// How many times its share of what is in flight an endpoint may have.
        max_load: Option<f64>,
    },
}

/// The zone that is near.
#[derive(Debug)]
pub(in crate::upstream) struct Zone {
    pub local: Box<str>,
    pub at_least: usize,
}

/// The endpoints that are used.
#[derive(Debug)]
pub(in crate::upstream) struct Subset {
    labels: Box<[(Box<str>, Box<str>)]>,
    pub falls_back: bool,
}

impl Rules {
    /// `None` after diagnostics.
    pub(in crate::upstream) fn build(
        name: &str,
        config: &Config,
        context: &mut Build<'_>,
    ) -> Option<Rules> {
        let errors = context.subject.error_count();
        super::check(&config.balance, &mut context.subject.key("balance"));
        if let Some(subset) = &config.subset {
            super::check_subset(subset, &mut context.subject.key("subset"));
        }
        let sticky = match &config.sticky {
            None => None,
            Some(sticky) => {
                let mut subject = context.subject.key("sticky");
                Sticky::build(name, sticky, context.base, &mut subject)
            }
        };
        let (algorithm, hash) = match &config.balance {
            Balance::RoundRobin => (Algorithm::RoundRobin, None),
            Balance::LeastRequest => (Algorithm::LeastRequest, None),
            Balance::Ewma => (Algorithm::Ewma, None),
            Balance::Random => (Algorithm::Random, None),
            Balance::Hash(hash) => {
                let max_load = hash.max_load.as_ref().map(|load| load.value);
                (Algorithm::Hash { max_load }, Some(hash.hash.value.clone()))
            }
        };
        (context.subject.error_count() == errors).then(|| Rules {
            algorithm,
            hash,
            panic_threshold: config.panic_threshold.map(|least| least.as_f64()),
            zone: config.zones.as_ref().map(|zones| Zone {
                local: zones.local.clone(),
                at_least: zones.at_least.get() as usize,
            }),
            subset: config.subset.as_ref().map(|subset| Subset::of(subset)),
            slow_start: config.slow_start.as_ref().map(|window| window.as_std()),
            sticky: sticky.map(Arc::new),
        })
    }

    /// Whether it does not have the labels of the subset.
    pub(in crate::upstream) fn leaves_out(&self, member: &Member) -> bool {
        let subset = self.subset.as_ref();
        subset.is_some_and(|subset| !subset.has(member))
    }

    /// Tells one key of sticky sessions from another.
    pub(in crate::upstream) fn fingerprint(&self) -> Option<Tag> {
        let mark = self.sticky.as_ref()?.mark("")?;
        Some(mark.tag)
    }

    #[cfg(test)]
    pub(super) fn plain(algorithm: Algorithm) -> Rules {
        Rules {
            algorithm,
            hash: None,
            panic_threshold: None,
            zone: None,
            subset: None,
            slow_start: None,
            sticky: None,
        }
    }
}

impl Subset {
    fn of(config: &SubsetConfig) -> Subset {
        let labels = config.labels.iter();
        let labels = labels.map(|(name, value)| (name.as_str().into(), value.as_str().into()));
        Subset {
            labels: labels.collect(),
            falls_back: config.fallback == SubsetFallback::Any,
        }
    }

    pub(super) fn has(&self, member: &Member) -> bool {
        self.labels
            .iter()
            .all(|label| member.labels.contains(label))
    }

    #[cfg(test)]
    pub(super) fn labelled(name: &str, value: &str, falls_back: bool) -> Subset {
        Subset {
            labels: [(name.into(), value.into())].into(),
            falls_back,
        }
    }
}
