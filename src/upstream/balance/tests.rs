//! How requests are shared between endpoints. Counts may be off by what counts of random things vary by, five
//! standard deviations, and by a fiftieth beyond.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::discovery::Member;
use crate::observability::Metrics;
use crate::text::mix;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::peer::PeerTemplate;

pub(super) const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::LeastRequest,
    Algorithm::Ewma,
    Algorithm::Random,
    Algorithm::Hash { max_load: None },
    Algorithm::Hash {
        max_load: Some(1.25),
    },
];

pub(super) fn member(n: usize, weight: u32) -> Member {
    let address = std::net::SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8], 80));
    Member::at(address, weight)
}

pub(super) fn endpoints_of(members: Vec<Member>, rules: &Rules) -> Vec<Arc<Endpoint>> {
    let metrics = Metrics::new().upstream("u");
    let template = PeerTemplate::plain("u");
    let endpoint = |member| {
        let endpoint = Endpoint::new(member, &template, &metrics);
        Arc::new(endpoint.chosen_by(rules))
    };
    members.into_iter().map(endpoint).collect()
}

pub(super) fn endpoints(weights: &[u32], rules: &Rules) -> Vec<Arc<Endpoint>> {
    let members = weights.iter().enumerate();
    endpoints_of(
        members.map(|(n, &weight)| member(n, weight)).collect(),
        rules,
    )
}

pub(super) fn available(members: &[Arc<Endpoint>], rules: &Rules) -> Available {
    Available::of(members, rules, &Available::default(), Instant::now())
}

pub(super) fn wish(key: Option<u64>) -> Wish {
    Wish {
        now: Instant::now(),
        key: key.map(mix),
        tag: None,
    }
}

/// How often each is chosen; each pick has a key of its own.
pub(super) fn picks(available: &Available, members: &[Arc<Endpoint>], count: u64) -> Vec<u64> {
    let places: HashMap<*const Endpoint, usize> = members
        .iter()
        .enumerate()
        .map(|(n, it)| (Arc::as_ptr(it), n))
        .collect();
    let mut seen = vec![0; members.len()];
    let now = wish(None);
    for key in 0..count {
        let wish = Wish {
            key: Some(mix(key)),
            ..now
        };
        let chosen = available.pick(&wish, &[]).unwrap();
        seen[places[&Arc::as_ptr(chosen)]] += 1;
    }
    seen
}

#[track_caller]
pub(super) fn check_shares(seen: &[u64], wanted: &[f64], what: &str) {
    let count: u64 = seen.iter().sum();
    for (n, (seen, share)) in seen.iter().zip(wanted).enumerate() {
        let wanted = count as f64 * share;
        let tolerance = wanted * 0.02 + 5.0 * wanted.sqrt();
        let off = (*seen as f64 - wanted).abs();
        assert!(off <= tolerance, "{what}: {seen} for {wanted} on {n}");
    }
}

pub(super) fn shares_of(weights: &[u32]) -> Vec<f64> {
    let total: u32 = weights.iter().sum();
    let share = |weight: &u32| f64::from(*weight) / f64::from(total);
    weights.iter().map(share).collect()
}

/// Pearson's sum over all endpoints together: where the differences from what is wanted are those of chance, it is as many
/// as there are, and varies by the root of twice that. It finds what is too small to be seen of one endpoint.
#[track_caller]
fn check_spread(seen: &[u64], wanted: &[f64], what: &str) {
    let count: u64 = seen.iter().sum();
    let part = |(seen, share): (&u64, &f64)| {
        let wanted = count as f64 * share;
        (*seen as f64 - wanted).powi(2) / wanted
    };
    let sum: f64 = seen.iter().zip(wanted).map(part).sum();
    let n = seen.len() as f64;
    let most = n + 5.0 * (2.0 * n).sqrt();
    assert!(sum <= most, "{what}: {sum} where {most} may be");
}

#[test]
fn every_algorithm_shares_by_weight() {
    for algorithm in ALGORITHMS {
        let rules = Rules::plain(algorithm);
        for weights in [
            vec![1; 3],
            vec![3, 1],
            vec![1; 100],
            vec![1, 2, 3, 4],
            vec![5; 1000],
            (0..1000).map(|n| 1 + n % 3).collect(),
        ] {
            let members = endpoints(&weights, &rules);
            let count = 50_000.max(100 * weights.len() as u64);
            let seen = picks(&available(&members, &rules), &members, count);
            let what = format!("{algorithm:?} of {}", weights.len());
            let wanted = shares_of(&weights);
            check_shares(&seen, &wanted, &what);
            check_spread(&seen, &wanted, &what);
        }
    }
}

#[test]
fn every_algorithm_goes_on_when_endpoints_come_and_go() {
    for (algorithm, size) in ALGORITHMS
        .into_iter()
        .flat_map(|algorithm| [(algorithm, 3), (algorithm, 10), (algorithm, 100)])
    {
        let rules = Rules::plain(algorithm);
        let rounds = 10;
        let all = endpoints(&vec![1; size + rounds], &rules);
        let mut before = Available::default();
        let count = 1000 + 100 * size as u64;
        // Windows that overlap, as a rolling deployment makes them, with one that is not healthy in each.
        for start in 0..rounds {
            let members = &all[start..start + size];
            let ill = &members[start % size];
            ill.standing().observe(Err("down"), 1);
            before = Available::of(members, &rules, &before, Instant::now());
            let seen = picks(&before, members, count);
            let wanted: Vec<f64> = (0..size)
                .map(|n| {
                    if n == start % size {
                        0.0
                    } else {
                        1.0 / (size - 1) as f64
                    }
                })
                .collect();
            // The keys of the one that is out of a table are spread by chance.
            let tolerance = if matches!(algorithm, Algorithm::Hash { .. }) {
                0.25
            } else {
                0.02
            };
            for (seen, wanted) in seen.iter().zip(&wanted) {
                let wanted = count as f64 * wanted;
                let off = (*seen as f64 - wanted).abs();
                assert!(
                    off <= wanted * tolerance + 5.0 * wanted.sqrt(),
                    "{algorithm:?} of {size}: {seen} for {wanted}"
                );
            }
            ill.standing().observe(Ok(()), 1);
        }
    }
}

/// However often a set comes in the place of another, even after each pick, everybody has its turn.
#[test]
fn turns_go_on_over_rebuilds() {
    let rules = Rules::plain(Algorithm::RoundRobin);
    for (weights, picks_each) in [
        (vec![1; 10], 1),
        (vec![1; 10], 7),
        (vec![3, 1], 1),
        (vec![5, 1, 1], 3),
        ((0..300).map(|n| 1 + n % 3).collect(), 11),
    ] {
        let members = endpoints(&weights, &rules);
        let mut set = available(&members, &rules);
        let total: u32 = weights.iter().sum();
        let mut seen = vec![0; members.len()];
        for turn in 0..2 * total {
            if turn % picks_each == 0 {
                set = Available::of(&members, &rules, &set, Instant::now());
            }
            let chosen = set.pick(&wish(None), &[]).unwrap();
            let place = members.iter().position(|it| Arc::ptr_eq(it, chosen));
            seen[place.unwrap()] += 1;
        }
        let wanted: Vec<u32> = weights.iter().map(|weight| 2 * weight).collect();
        assert_eq!(seen, wanted, "a new set after each {picks_each}");
    }
}

#[test]
fn turns_are_even_while_one_comes_and_goes() {
    let rules = Rules::plain(Algorithm::RoundRobin);
    let members = endpoints(&[1; 10], &rules);
    let mut set = available(&members, &rules);
    let mut seen = vec![0_i32; members.len()];
    for turn in 0..4000 {
        let comes_and_goes = &members[3];
        let result = if turn % 2 == 0 { Err("down") } else { Ok(()) };
        comes_and_goes.standing().observe(result, 1);
        set = Available::of(&members, &rules, &set, Instant::now());
        let chosen = set.pick(&wish(None), &[]).unwrap();
        let place = members.iter().position(|it| Arc::ptr_eq(it, chosen));
        seen[place.unwrap()] += 1;
    }
    // Half of the time it has a tenth, and the others a ninth of what is left.
    assert!((190..=210).contains(&seen[3]), "{seen:?}");
    for (place, seen) in seen.iter().enumerate().filter(|(place, _)| *place != 3) {
        assert!((412..=432).contains(seen), "{seen} on {place}");
    }
}

#[test]
fn what_was_tried_is_not_tried_again() {
    for algorithm in ALGORITHMS {
        let rules = Rules::plain(algorithm);
        let members = endpoints(&[1000, 1, 1], &rules);
        let available = available(&members, &rules);
        for key in [None, Some(1), Some(2)] {
            let chosen = available.pick(&wish(key), &members[..2]).unwrap();
            assert!(Arc::ptr_eq(chosen, &members[2]), "{algorithm:?}");
            assert!(
                available.pick(&wish(key), &members).is_none(),
                "{algorithm:?}"
            );
        }
    }
}

#[test]
fn the_unhealthy_are_left_out() {
    for algorithm in ALGORITHMS {
        let rules = Rules::plain(algorithm);
        let members = endpoints(&[1, 1], &rules);
        assert!(members[0].standing().observe(Err("down"), 1));
        assert_eq!(picks(&available(&members, &rules), &members, 10), [0, 10]);
        assert!(members[1].standing().observe(Err("down"), 1));
        assert!(
            available(&members, &rules)
                .pick(&wish(Some(1)), &[])
                .is_none()
        );
    }
}

#[test]
fn round_robin_keeps_to_the_weights_exactly() {
    let rules = Rules::plain(Algorithm::RoundRobin);
    let members = endpoints(&[3, 1], &rules);
    assert_eq!(
        picks(&available(&members, &rules), &members, 400),
        [300, 100]
    );
}

#[test]
fn the_less_busy_of_two_is_chosen() {
    let rules = Rules::plain(Algorithm::LeastRequest);
    let members = endpoints(&[1, 1], &rules);
    (0..5).for_each(|_| members[0].begin());
    assert_eq!(picks(&available(&members, &rules), &members, 100), [0, 100]);
}

#[test]
fn least_request_fills_by_weight() {
    let rules = Rules::plain(Algorithm::LeastRequest);
    let members = endpoints(&[3, 1], &rules);
    let available = available(&members, &rules);
    for _ in 0..400 {
        available.pick(&wish(None), &[]).unwrap().begin();
    }
    let share = members[0].active();
    assert!(
        (290..=310).contains(&share),
        "{share} of 400 for three quarters of the weight"
    );
}

#[test]
fn the_quicker_of_two_is_chosen() {
    let rules = Rules::plain(Algorithm::Ewma);
    let members = endpoints(&[1; 4], &rules);
    let available = available(&members, &rules);
    let now = Instant::now();
    for member in &members {
        member.latency().observe(now, Duration::from_millis(10));
    }
    members[0]
        .latency()
        .observe(now, Duration::from_millis(200));
    let seen = picks(&available, &members, 10_000);
    assert_eq!(seen[0], 0, "nobody waits for the slow one");
    check_shares(&seen[1..], &[1.0 / 3.0; 3], "the others");
    // With enough in flight on the others it is the quicker one all the same.
    for member in &members[1..] {
        (0..40).for_each(|_| member.begin());
    }
    let seen = picks(&available, &members, 10_000);
    let others = seen[1..].iter().sum();
    check_shares(
        &[seen[0], others],
        &[0.5, 0.5],
        "whenever it is one of the two",
    );
}

#[test]
fn of_an_endpoint_that_is_not_known_one_answer_is_waited_for() {
    let rules = Rules::plain(Algorithm::Ewma);
    let members = endpoints(&[1, 1], &rules);
    members[0]
        .latency()
        .observe(Instant::now(), Duration::from_millis(10));
    let available = available(&members, &rules);
    let first = available.pick(&wish(None), &[]).unwrap();
    assert!(Arc::ptr_eq(first, &members[1]));
    first.begin();
    assert_eq!(picks(&available, &members, 100), [100, 0]);
}

#[test]
fn keys_stay_and_few_move() {
    let rules = Rules::plain(Algorithm::Hash { max_load: None });
    for count in [3, 10, 100, 1000] {
        let members = endpoints(&vec![1; count], &rules);
        let mut reversed = members.clone();
        reversed.reverse();
        let (all, same) = (available(&members, &rules), available(&reversed, &rules));
        let gone = &members[count / 2];
        let left: Vec<_> = members
            .iter()
            .filter(|it| !Arc::ptr_eq(it, gone))
            .cloned()
            .collect();
        let left = available(&left, &rules);
        let place = |set: &Available, key| {
            set.pick(&wish(Some(key)), &[])
                .unwrap()
                .address()
                .to_owned()
        };
        let mut moved = 0;
        for key in 0..20_000 {
            let home = place(&all, key);
            assert_eq!(home, place(&same, key), "the order of the list matters");
            moved += u32::from(home != place(&left, key));
        }
        let share = f64::from(moved) / 20_000.0;
        assert!(
            share <= 1.0 / count as f64 + 0.05,
            "{share} moved of {count}"
        );
    }
}

#[test]
fn a_favourite_key_is_bounded() {
    let max_load = 1.25;
    let rules = Rules::plain(Algorithm::Hash {
        max_load: Some(max_load),
    });
    for (weights, keys) in [
        (vec![1; 10], 1),
        (vec![1; 10], 3),
        (vec![4, 1, 1], 1),
        (vec![1; 100], 2),
    ] {
        let members = endpoints(&weights, &rules);
        let available = available(&members, &rules);
        for n in 1..=1000_u64 {
            available.pick(&wish(Some(n % keys)), &[]).unwrap().begin();
            for (member, share) in members.iter().zip(shares_of(&weights)) {
                let most = (max_load * n as f64 * share).ceil();
                let active = member.active() as f64;
                assert!(active <= most, "{active} of {n} where {most} may be");
            }
        }
    }
}

#[test]
fn requests_without_a_key_go_anywhere() {
    let rules = Rules::plain(Algorithm::Hash { max_load: None });
    let members = endpoints(&[3, 1], &rules);
    let available = available(&members, &rules);
    let mut seen = [0; 2];
    for _ in 0..20_000 {
        let chosen = available.pick(&wish(None), &[]).unwrap();
        seen[usize::from(Arc::ptr_eq(chosen, &members[1]))] += 1;
    }
    check_shares(&seen, &[0.75, 0.25], "without a key");
}

/// One of the endpoints fails, and each of its requests is tried once more.
#[test]
fn who_fails_gets_its_share_of_first_tries_and_the_others_share_the_second() {
    for count in [2, 3, 4] {
        let rules = Rules::plain(Algorithm::RoundRobin);
        let members = endpoints(&vec![1; count], &rules);
        let available = available(&members, &rules);
        let mut seen = vec![0_u64; count];
        for _ in 0..1200 {
            let first = available.pick(&wish(None), &[]).unwrap();
            assert!(available.has_other(&members[..1]));
            let last = match Arc::ptr_eq(first, &members[0]) {
                true => {
                    seen[0] += 1;
                    available.pick(&wish(None), &members[..1]).unwrap()
                }
                false => first,
            };
            let place = members.iter().position(|it| Arc::ptr_eq(it, last));
            seen[place.unwrap()] += 1;
        }
        let firsts = 1200 / count as u64;
        assert_eq!(seen[0], firsts, "{seen:?}");
        let share = 1200.0 / (count - 1) as f64;
        for others in &seen[1..] {
            let off = (*others as f64 - share).abs();
            assert!(off <= 5.0 * share.sqrt(), "{seen:?}");
        }
    }
}
