//! Which endpoint serves the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;

use super::endpoint::Endpoint;

/// The longest sequence that weights are expanded to; beyond it they are scaled down.
const MAX_SEQUENCE: u64 = 8192;

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, as often as the weights say and spread evenly (smooth weighted round robin, as in nginx).
    #[default]
    RoundRobin,
    /// Of two random endpoints the one with fewer requests in flight for its weight (power of two choices).
    LeastRequest,
}

/// The endpoints that are available now, ready to be chosen from. Immutable but for the turn counter.
#[derive(Debug, Default)]
pub(super) struct Available {
    endpoints: Box<[Arc<Endpoint>]>,
    /// Indices into `endpoints`, each as often as its weight says and as far apart as can be.
    sequence: Box<[u16]>,
    turn: AtomicUsize,
}

impl Available {
    pub(super) fn of(members: &[Arc<Endpoint>]) -> Available {
        let endpoints: Box<[Arc<Endpoint>]> = members
            .iter()
            .filter(|endpoint| endpoint.is_healthy())
            .take(usize::from(u16::MAX))
            .cloned()
            .collect();
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight()).collect();
        let sequence = smooth_sequence(&weights);
        // A random start, so that many gateways that are started together do not all begin with the same one.
        let turn = AtomicUsize::new(rand::rng().random_range(0..sequence.len().max(1)));
        Available {
            endpoints,
            sequence,
            turn,
        }
    }

    /// Chooses an endpoint that is not among the `tried`; `None` where there is none left.
    pub(super) fn pick(&self, balance: Balance, tried: &[Arc<Endpoint>]) -> Option<Arc<Endpoint>> {
        match balance {
            Balance::RoundRobin => self.next(tried),
            Balance::LeastRequest => self.less_busy_of_two(tried),
        }
    }

    fn next(&self, tried: &[Arc<Endpoint>]) -> Option<Arc<Endpoint>> {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let sequence = &self.sequence;
        (0..sequence.len())
            .map(|step| {
                &self.endpoints[usize::from(sequence[start.wrapping_add(step) % sequence.len()])]
            })
            .find(|endpoint| is_untried(endpoint, tried))
            .cloned()
    }

    /// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001): comparing two random
    /// endpoints spreads load almost as well as looking at all, without the herd that runs to the single best.
    fn less_busy_of_two(&self, tried: &[Arc<Endpoint>]) -> Option<Arc<Endpoint>> {
        if self.endpoints.len() < 2 || !tried.is_empty() {
            return self
                .endpoints
                .iter()
                .filter(|endpoint| is_untried(endpoint, tried))
                .min_by_key(|e| load(e))
                .cloned();
        }
        let mut random = rand::rng();
        let one = usize::from(self.sequence[random.random_range(0..self.sequence.len())]);
        // Another one than the first: uniform over the rest, moved past it.
        let mut other = random.random_range(0..self.endpoints.len() - 1);
        if other >= one {
            other += 1;
        }
        let (one, other) = (&self.endpoints[one], &self.endpoints[other]);
        let chosen = if load(other) < load(one) { other } else { one };
        Some(chosen.clone())
    }
}

/// Requests in flight, the one to come included, for the weight; scaled so that it compares as an integer.
fn load(endpoint: &Endpoint) -> u64 {
    let active = u64::try_from(endpoint.active())
        .unwrap_or_default()
        .saturating_add(1);
    active.saturating_mul(1000) / u64::from(endpoint.weight().max(1))
}

fn is_untried(endpoint: &Arc<Endpoint>, tried: &[Arc<Endpoint>]) -> bool {
    !tried.iter().any(|known| Arc::ptr_eq(known, endpoint))
}

/// The order in which weighted endpoints take turns. In each step every endpoint gains its weight in credit, the
/// one with the most credit is next and pays the sum of all weights; so 5:1:1 becomes A A B A C A A. Working it
/// out ahead keeps the request path free of the lock that the running form needs.
fn smooth_sequence(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights
        .iter()
        .fold(0, |a, &b| greatest_common_divisor(a, b))
        .max(1);
    let mut weights: Vec<i64> = weights
        .iter()
        .map(|&weight| i64::from(weight / divisor))
        .collect();
    let total: i64 = weights.iter().sum();
    let limit = MAX_SEQUENCE.max(weights.len() as u64) as i64;
    if total > limit {
        for weight in &mut weights {
            *weight = (*weight * limit / total).max(1);
        }
    }
    let total: i64 = weights.iter().sum();
    if weights.iter().all(|&weight| weight == 1) {
        return (0..weights.len()).map(|index| index as u16).collect();
    }
    let mut credits = vec![0i64; weights.len()];
    (0..total)
        .filter_map(|_| {
            for (credit, weight) in credits.iter_mut().zip(&weights) {
                *credit += weight;
            }
            // The first of equals, as nginx does.
            let (next, credit) = credits
                .iter_mut()
                .enumerate()
                .reduce(|best, other| if other.1 > best.1 { other } else { best })?;
            *credit -= total;
            Some(next as u16)
        })
        .collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Member;
    use crate::observability::Metrics;
    use crate::upstream::peer::PeerTemplate;

    fn endpoints(weights: &[u32]) -> Vec<Arc<Endpoint>> {
        let metrics = Metrics::new().upstream("u");
        let template = PeerTemplate::plain("u");
        let at = |(index, &weight): (usize, &u32)| {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1000 + index as u16));
            Arc::new(Endpoint::new(
                Member::at(address, weight),
                &template,
                &metrics,
            ))
        };
        weights.iter().enumerate().map(at).collect()
    }

    fn picks(available: &Available, balance: Balance, count: usize) -> Vec<usize> {
        let mut seen = vec![0; available.endpoints.len()];
        for _ in 0..count {
            let chosen = available.pick(balance, &[]).unwrap();
            seen[available
                .endpoints
                .iter()
                .position(|endpoint| Arc::ptr_eq(endpoint, &chosen))
                .unwrap()] += 1;
        }
        seen
    }

    #[test]
    fn turns_are_smooth() {
        let check = |weights: &[u32], expected: &[u16]| {
            assert_eq!(&*smooth_sequence(weights), expected, "{weights:?}")
        };
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[1, 1], &[0, 1]);
        check(&[10, 20], &[1, 0, 1]);
        check(&[7], &[0]);
        check(&[], &[]);
    }

    #[test]
    fn sequences_are_bounded_and_leave_nobody_out() {
        let weights: Vec<u32> = (0..1000).map(|n| 997 + n % 3).collect();
        let sequence = smooth_sequence(&weights);
        assert!(
            sequence.len() <= 2 * MAX_SEQUENCE as usize,
            "{}",
            sequence.len()
        );
        assert!((0..1000).all(|index| sequence.contains(&index)));
    }

    #[test]
    fn round_robin_keeps_to_the_weights() {
        let available = Available::of(&endpoints(&[3, 1]));
        assert_eq!(picks(&available, Balance::RoundRobin, 400), [300, 100]);
    }

    #[test]
    fn the_less_busy_of_two_is_chosen() {
        let members = endpoints(&[1, 1]);
        (0..5).for_each(|_| members[0].begin());
        let available = Available::of(&members);
        assert_eq!(picks(&available, Balance::LeastRequest, 100), [0, 100]);
    }

    #[test]
    fn least_request_fills_by_weight() {
        let members = endpoints(&[3, 1]);
        let available = Available::of(&members);
        for _ in 0..400 {
            available.pick(Balance::LeastRequest, &[]).unwrap().begin();
        }
        let share = members[0].active();
        assert!(
            (290..=310).contains(&share),
            "{share} of 400 for three quarters of the weight"
        );
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let members = endpoints(&[1, 1, 1]);
        let available = Available::of(&members);
        for balance in [Balance::RoundRobin, Balance::LeastRequest] {
            let chosen = available.pick(balance, &members[..2]).unwrap();
            assert!(Arc::ptr_eq(&chosen, &members[2]));
            assert!(available.pick(balance, &members).is_none());
        }
    }

    #[test]
    fn the_unhealthy_are_left_out() {
        let members = endpoints(&[1, 1]);
        assert!(members[0].observe(false, 1));
        assert_eq!(
            picks(&Available::of(&members), Balance::RoundRobin, 10),
            [10]
        );
        assert!(members[1].observe(false, 1));
        assert!(
            Available::of(&members)
                .pick(Balance::RoundRobin, &[])
                .is_none()
        );
    }
}
