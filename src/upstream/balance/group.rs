//! Endpoints of which one is as good as another, and the order in which they are chosen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dice::{below, roll};
use super::draws::Draws;
use super::latency::Now;
use super::load::Load;
use super::maglev::Maglev;
use super::turns::smooth_sequence;
use super::{Algorithm, Wish};
use crate::text::StableHash;
use crate::upstream::endpoint::Endpoint;

/// An endpoint as the group has it: with the weight that it has now.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub endpoint: Arc<Endpoint>,
    /// At least 1.
    pub weight: u32,
}

/// Which of the endpoints of an upstream a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Rank {
    pub priority: u8,
    pub side: Side,
}

/// Where zones make a difference, on which side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Side {
    Both,
    Local,
    Elsewhere,
}

/// Available endpoints. Immutable but for the turn and what is known of the load.
#[derive(Debug)]
pub(super) struct Group {
    rank: Rank,
    candidates: Box<[Candidate]>,
    weight: u64,
    order: Order,
}

#[derive(Debug)]
enum Order {
    Turns {
        /// Indices of candidates, each as often as its weight says.
        sequence: Box<[u16]>,
        /// How far around the turn is, in parts of 2^64, so that it goes on where it was when another sequence comes in
        /// the place of this one: turns are as even while endpoints come and go.
        turn: Arc<AtomicU64>,
        step: u64,
    },
    Random(Draws),
    LeastRequest(Draws),
    Ewma(Draws),
    Hash(Box<Hash>),
}

#[derive(Debug)]
struct Hash {
    table: Arc<Maglev>,
    /// Which candidate each place of the table is; `None` for one that is not available.
    places: Box<[Option<u16>]>,
    /// For requests without a key.
    draws: Draws,
    bound: Option<Bound>,
}

/// How much of the requests in flight an endpoint may have.
#[derive(Debug)]
struct Bound {
    /// How many times its share.
    most: f64,
    /// Of all candidates: what other groups have to do is no measure for these.
    load: Load,
}

/// As many as an index of 16 bits can name, less one.
pub(in crate::upstream) const MOST: usize = u16::MAX as usize;

/// What costs less than this part of another is better; between others the weights decide.
const CLEARLY_LESS: f32 = 0.8;
/// What an endpoint is believed to take, in seconds, of which nothing is known and that has yet to answer: so that
/// it gets one request to show itself by, and not all of them.
const UNKNOWN: f32 = 1000.0;

impl Group {
    /// `all` are the endpoints that there would be if all were available. Of the groups that there were `before`, a table
    /// that still holds is taken over, and whose turn it is.
    pub(super) fn new(
        rank: Rank,
        candidates: Vec<Candidate>,
        all: &[Arc<Endpoint>],
        algorithm: &Algorithm,
        before: &[Group],
    ) -> Group {
        let weights: Vec<u32> = candidates.iter().map(|it| it.weight).collect();
        let order = match algorithm {
            Algorithm::RoundRobin => match smooth_sequence(&weights) {
                Some(sequence) => Order::Turns {
                    turn: turn(rank, before),
                    step: (u64::MAX / sequence.len().max(1) as u64).wrapping_add(1),
                    sequence,
                },
                None => Order::Random(Draws::new(&weights)),
            },
            Algorithm::Random => Order::Random(Draws::new(&weights)),
            Algorithm::LeastRequest => Order::LeastRequest(Draws::new(&weights)),
            Algorithm::Ewma => Order::Ewma(Draws::new(&weights)),
            Algorithm::Hash { max_load } => {
                let (table, places) = table(&candidates, all, before);
                let bound = max_load.map(|most| Bound {
                    most,
                    load: Load::new(),
                });
                Order::Hash(Box::new(Hash {
                    table,
                    places,
                    draws: Draws::new(&weights),
                    bound,
                }))
            }
        };
        Group {
            rank,
            weight: weights.iter().map(|weight| u64::from(*weight)).sum(),
            candidates: candidates.into(),
            order,
        }
    }

    /// An endpoint that is not among the `tried`; `None` where there is none left. Allocates nothing.
    pub(super) fn pick(&self, wish: &Wish, tried: &[Arc<Endpoint>]) -> Option<&Arc<Endpoint>> {
        let is_left = |place: usize| {
            let candidate = self.candidates.get(place);
            candidate.is_some_and(|it| is_untried(&it.endpoint, tried))
        };
        let place = match &self.order {
            Order::Turns {
                sequence,
                turn,
                step,
            } => {
                // Who is tried again takes nobody's turn: if it did, first tries of two endpoints would all go to the one that
                // fails. And those that it is tried on share it.
                let now = match tried {
                    [] => turn.fetch_add(*step, Ordering::Relaxed),
                    _ => roll(),
                };
                next(sequence, below(now, sequence.len()), is_left)?
            }
            Order::Random(draws) => draws.one_of(is_left)?,
            Order::LeastRequest(draws) => self.of_two(draws, is_left, |one, other| {
                // With the one to come, or whoever is idle would be better than the heaviest that is not.
                let [one, other] = [&self.candidates[one], &self.candidates[other]];
                let there = other.endpoint.active().saturating_add(1);
                let here = one.endpoint.active();
                there.saturating_mul(i64::from(one.weight))
                    <= here.saturating_mul(i64::from(other.weight))
            })?,
            Order::Ewma(draws) => {
                let now = Now::of(wish.now);
                self.of_two(draws, is_left, |one, other| {
                    self.cost(other, now) < CLEARLY_LESS * self.cost(one, now)
                })?
            }
            Order::Hash(hash) => match wish.key {
                Some(key) => self.home_of(key, hash, is_left)?,
                None => hash.draws.one_of(is_left)?,
            },
        };
        self.candidates.get(place).map(|it| &it.endpoint)
    }

    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    pub(super) fn rank(&self) -> Rank {
        self.rank
    }

    /// The sum of those of its candidates.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001): comparing two random endpoints
    /// spreads load almost as well as looking at all, without the herd that runs to the single best. Both are drawn by
    /// weight, and the first is kept unless the second `is_better`, so that shares are as the weights say where there is
    /// nothing to choose between.
    fn of_two(
        &self,
        draws: &Draws,
        is_left: impl Fn(usize) -> bool,
        is_better: impl Fn(usize, usize) -> bool,
    ) -> Option<usize> {
        let one = draws.one_of(&is_left)?;
        let other = match self.candidates.len() {
            0 | 1 => None,
            _ => draws.one_of(|other| other != one && is_left(other)),
        };
        Some(match other {
            Some(other) if is_better(one, other) => other,
            _ => one,
        })
    }

    /// How long an answer will take: as long as of late, after those that are in flight, of which an endpoint of more
    /// weight can have more for the same.
    fn cost(&self, place: usize, now: Now) -> f32 {
        let Candidate { endpoint, weight } = &self.candidates[place];
        let active = endpoint.active().max(0) as f32;
        let usual = self.weight as f32 / self.candidates.len() as f32;
        let ahead = active * usual / *weight as f32;
        let took = match endpoint.latency().at(now) {
            Some(took) => took,
            None if active > 0.0 => UNKNOWN,
            None => 0.0,
        };
        took * (ahead + 1.0)
    }

    /// With a bound, the first that has room ("Consistent Hashing with Bounded Loads", Mirrokni and others, 2016):
    /// there is always one that has, but where others come in between.
    fn home_of(&self, key: u64, hash: &Hash, is_left: impl Fn(usize) -> bool) -> Option<usize> {
        let home = |place: usize| {
            let candidate = hash.places.get(place).copied().flatten();
            candidate.map(usize::from).filter(|it| is_left(*it))
        };
        if let Some(bound) = &hash.bound {
            let active = self.candidates.iter().map(|it| it.endpoint.active());
            let all = bound.load.at_choice(active);
            let roomy = |place: usize| home(place).filter(|it| self.has_room(*it, bound.most, all));
            if let Some(found) = hash.table.find(key, roomy) {
                return Some(found);
            }
        }
        hash.table.find(key, home)
    }

    /// Whether one more is no more than so many times its share of `all` requests in flight.
    fn has_room(&self, place: usize, most: f64, all: i64) -> bool {
        let Candidate { endpoint, weight } = &self.candidates[place];
        let share = (all as f64 + 1.0) * f64::from(*weight) / self.weight as f64;
        endpoint.active().max(0) as f64 + 1.0 <= (most * share).ceil()
    }
}

/// Whose turn it was in the group of this rank; where there was none it begins somewhere, so that gateways that are started
/// together do not all begin with the same endpoint.
fn turn(rank: Rank, before: &[Group]) -> Arc<AtomicU64> {
    let known = before.iter().find_map(|group| match &group.order {
        Order::Turns { turn, .. } if group.rank == rank => Some(turn.clone()),
        _ => None,
    });
    known.unwrap_or_else(|| Arc::new(AtomicU64::new(roll())))
}

fn next(sequence: &[u16], start: usize, is_left: impl Fn(usize) -> bool) -> Option<usize> {
    (0..sequence.len())
        .map(|step| usize::from(sequence[start.wrapping_add(step) % sequence.len()]))
        .find(|place| is_left(*place))
}

/// The table of all, and which of the candidates each of its places is.
fn table(
    candidates: &[Candidate],
    all: &[Arc<Endpoint>],
    before: &[Group],
) -> (Arc<Maglev>, Box<[Option<u16>]>) {
    let mut members: Vec<(u64, u32, &Arc<Endpoint>)> = all
        .iter()
        .map(|it| (name_hash(it), it.weight(), it))
        .collect();
    // Gateways may know them in different orders.
    members.sort_unstable_by_key(|(hash, weight, _)| (*hash, *weight));
    let of: Vec<(u64, u32)> = members
        .iter()
        .map(|(hash, weight, _)| (*hash, *weight))
        .collect();
    let known = before.iter().find_map(|group| match &group.order {
        Order::Hash(hash) if hash.table.is_of(&of) => Some(&hash.table),
        _ => None,
    });
    let table = known.cloned().unwrap_or_else(|| Arc::new(Maglev::new(&of)));
    let places: std::collections::HashMap<*const Endpoint, u16> = candidates
        .iter()
        .enumerate()
        .map(|(place, it)| (Arc::as_ptr(&it.endpoint), place as u16))
        .collect();
    let places = members
        .iter()
        .map(|(_, _, it)| places.get(&Arc::as_ptr(it)).copied());
    (table, places.collect())
}

fn name_hash(endpoint: &Endpoint) -> u64 {
    let mut hash = StableHash::new();
    hash.part(endpoint.address().as_bytes());
    hash.finish()
}

pub(super) fn is_untried(endpoint: &Arc<Endpoint>, tried: &[Arc<Endpoint>]) -> bool {
    !tried.iter().any(|known| Arc::ptr_eq(known, endpoint))
}
