//! What one request has taken of limits.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Key, Limiter, Permit, Standing};

/// What one request has taken of limits, and how its keys stand since.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order in which they were asked. The last one is why the request was refused, if it was.
    pub charges: SmallVec<[Charge; 2]>,
    /// The places that it has.
    pub permits: SmallVec<[Permit; 1]>,
}

/// One limiter's decision about a request.
#[derive(Clone, Debug)]
pub struct Charge {
    pub limiter: Arc<Limiter>,
    pub key: Key,
    /// What was asked for; it was taken where that is within all rules.
    pub cost: u64,
    pub standing: Standing,
    /// Whether the limiter only watches: what it says decides nothing, and is for operators alone.
    pub is_shadow: bool,
}

/// Which rule has no room for a request.
#[derive(Clone, Copy, Debug)]
pub struct Exceeded<'t> {
    /// The limiter's name.
    pub limit: &'t str,
    pub rule: &'t str,
    pub is_shadow: bool,
}

impl Taken {
    /// The rule that has refused the request; or else the first that would have, if it did not only watch.
    pub fn exceeded(&self) -> Option<Exceeded<'_>> {
        let mut exceeded = self.charges.iter().filter_map(Charge::exceeded);
        let first = exceeded.next()?;
        match first.is_shadow {
            true => exceeded.find(|it| !it.is_shadow).or(Some(first)),
            false => Some(first),
        }
    }
}

impl Charge {
    fn exceeded(&self) -> Option<Exceeded<'_>> {
        let mut rules = self.limiter.rules().iter().zip(&self.standing.rules);
        let (rule, _) = rules.find(|(_, standing)| !standing.is_within())?;
        Some(Exceeded {
            limit: self.limiter.name(),
            rule: &rule.name,
            is_shadow: self.is_shadow,
        })
    }
}
