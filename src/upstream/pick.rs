//! Which endpoint a try goes to, past the breakers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Upstream;
use super::balance::Wish;
use super::breaker::{Probe, Shut};
use super::endpoint::Endpoint;
use super::outcome::Probes;
use crate::response::Code;

/// Of an upstream whose breakers are nearly all shut, endpoints are chosen so often as they should be; then whoever lets
/// somebody in is taken. To choose among what is left gets dearer each time.
const MOST_PICKS: usize = 16;

impl Upstream {
    /// Whether it is left alone now.
    pub fn is_shut(&self) -> bool {
        let breaker = self.guards.breaker.as_ref();
        breaker.is_some_and(|it| it.breaker.is_open())
    }

    /// How long nobody needs to ask again, while its breaker is open.
    pub fn shut_for(&self, now: Instant) -> Option<Duration> {
        self.guards.breaker.as_ref()?.shut_for(now)
    }

    /// The next endpoint, and leave of the breakers to try it.
    pub(super) fn pick(
        &self,
        wish: &Wish,
        tried: &[Arc<Endpoint>],
    ) -> Result<(Arc<Endpoint>, Probes), Code> {
        let of_upstream = match &self.guards.breaker {
            None => None,
            Some(breaker) => breaker.enter(wish.now).map_err(|Shut| Code::CircuitOpen)?,
        };
        let (endpoint, of_endpoint) = self.pick_endpoint(wish, tried)?;
        let probes = Probes {
            of_upstream,
            of_endpoint,
        };
        Ok((endpoint, probes))
    }

    /// Whether there is an endpoint that is not among the `tried`. To ask takes nobody's turn, and no leave of a breaker.
    pub(super) fn has_other(&self, tried: &[Arc<Endpoint>]) -> bool {
        self.available.load().has_other(tried)
    }

    /// One whose breaker lets somebody in. A half-open one is among those that can be chosen, and lets in a few.
    fn pick_endpoint(
        &self,
        wish: &Wish,
        tried: &[Arc<Endpoint>],
    ) -> Result<(Arc<Endpoint>, Option<Probe>), Code> {
        let available = self.available.load();
        let pick = |tried: &[Arc<Endpoint>]| available.pick(wish, tried).cloned();
        let mut endpoint = pick(tried).ok_or(Code::UpstreamUnhealthy)?;
        let mut shut: SmallVec<[Arc<Endpoint>; 4]> = SmallVec::new();
        for _ in 0..MOST_PICKS {
            match endpoint.enter(wish.now) {
                Ok(probe) => return Ok((endpoint, probe)),
                Err(Shut) => {
                    if shut.is_empty() {
                        shut.extend(tried.iter().cloned());
                    }
                    shut.push(endpoint);
                    endpoint = pick(&shut).ok_or(Code::CircuitOpen)?;
                }
            }
        }
        let mut others = available.others(tried);
        let found = others.find_map(|it| Some((it.clone(), it.enter(wish.now).ok()?)));
        found.ok_or(Code::CircuitOpen)
    }
}
