//! Which endpoints of a set are chosen from: levels, zones, panic, subsets and slow starts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::rules::{Subset, Zone};
use super::tests::{
    ALGORITHMS, available, check_shares, endpoints, endpoints_of, member, picks, wish,
};
use super::*;
use crate::discovery::{Labels, Member};
use crate::observability::Metrics;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::peer::PeerTemplate;

fn in_levels(levels: &[(u8, usize)], rules: &Rules) -> Vec<Arc<Endpoint>> {
    let each = levels
        .iter()
        .flat_map(|(priority, count)| vec![*priority; *count]);
    let members = each.enumerate().map(|(n, priority)| Member {
        priority,
        ..member(n, 1)
    });
    endpoints_of(members.collect(), rules)
}

#[test]
fn levels_take_over_from_one_another() {
    for algorithm in ALGORITHMS {
        let rules = Rules::plain(algorithm);
        let members = in_levels(&[(1, 4), (0, 4)], &rules);
        let share_of_first = || {
            let seen = picks(&available(&members, &rules), &members, 20_000);
            seen[4..].iter().sum::<u64>() as f64 / 20_000.0
        };
        let check = |wanted: f64| {
            let share = share_of_first();
            assert!(
                (share - wanted).abs() < 0.02,
                "{algorithm:?}: {share} for {wanted}"
            );
        };
        check(1.0);
        members[4].standing().observe(Err("down"), 1);
        check(1.0);
        members[5].standing().observe(Err("down"), 1);
        check(0.7);
        members[6].standing().observe(Err("down"), 1);
        check(0.35);
        members[7].standing().observe(Err("down"), 1);
        check(0.0);
        members[4].standing().observe(Ok(()), 1);
        check(0.35);
    }
}

#[test]
fn another_level_is_tried_where_the_first_has_nobody_left() {
    let rules = Rules::plain(Algorithm::RoundRobin);
    let members = in_levels(&[(0, 1), (5, 1)], &rules);
    let available = available(&members, &rules);
    assert!((0..20).all(|_| Arc::ptr_eq(available.pick(&wish(None), &[]).unwrap(), &members[0])));
    let next = available.pick(&wish(None), &members[..1]).unwrap();
    assert!(Arc::ptr_eq(next, &members[1]));
}

#[test]
fn the_local_zone_comes_first_while_it_has_enough() {
    for algorithm in ALGORITHMS {
        let zone = Zone {
            local: "a".into(),
            at_least: 2,
        };
        let rules = Rules {
            zone: Some(zone),
            ..Rules::plain(algorithm)
        };
        let members = ["a", "a", "a", "a", "b", "c", "", ""];
        let members = members.iter().enumerate().map(|(n, zone)| Member {
            zone: (!zone.is_empty()).then(|| Arc::from(*zone)),
            ..member(n, 1)
        });
        let members = endpoints_of(members.collect(), &rules);
        let check = |wanted: f64| {
            let seen = picks(&available(&members, &rules), &members, 20_000);
            let share = seen[..4].iter().sum::<u64>() as f64 / 20_000.0;
            assert!(
                (share - wanted).abs() < 0.03,
                "{algorithm:?}: {share} for {wanted}"
            );
        };
        check(1.0);
        members[0].standing().observe(Err("down"), 1);
        check(1.0);
        members[1].standing().observe(Err("down"), 1);
        check(0.7);
        // Too few: all that are left share.
        members[2].standing().observe(Err("down"), 1);
        check(0.2);
        members[2].standing().observe(Ok(()), 1);
        members[4..]
            .iter()
            .for_each(|far| _ = far.standing().observe(Err("down"), 1));
        check(1.0);
    }
}

#[test]
fn a_panic_uses_all() {
    let rules = Rules {
        panic_threshold: Some(0.5),
        ..Rules::plain(Algorithm::RoundRobin)
    };
    let members = endpoints(&[1; 4], &rules);
    members[..2]
        .iter()
        .for_each(|ill| _ = ill.standing().observe(Err("down"), 1));
    let half = available(&members, &rules);
    assert_eq!(picks(&half, &members, 400), [0, 0, 200, 200]);
    assert!(!half.is_in_panic());
    members[2].standing().observe(Err("down"), 1);
    let few = available(&members, &rules);
    assert_eq!(picks(&few, &members, 400), [100; 4]);
    assert!(few.is_in_panic());
    members[3].standing().observe(Err("down"), 1);
    assert_eq!(picks(&available(&members, &rules), &members, 400), [100; 4]);
}

#[test]
fn a_subset_is_used_alone() {
    let labelled = |falls_back| Rules {
        subset: Some(Subset::labelled("version", "v2", falls_back)),
        ..Rules::plain(Algorithm::RoundRobin)
    };
    for falls_back in [false, true] {
        let rules = labelled(falls_back);
        let members = ["v1", "v2", "v2"]
            .into_iter()
            .enumerate()
            .map(|(n, version)| Member {
                labels: Labels::from([
                    ("other".into(), "x".into()),
                    ("version".into(), version.into()),
                ]),
                ..member(n, 1)
            });
        let members = endpoints_of(members.collect(), &rules);
        assert_eq!(
            picks(&available(&members, &rules), &members, 100),
            [0, 50, 50]
        );
        members[1..]
            .iter()
            .for_each(|ill| _ = ill.standing().observe(Err("down"), 1));
        let none = available(&members, &rules);
        match falls_back {
            true => assert_eq!(picks(&none, &members, 100), [100, 0, 0]),
            false => assert!(none.pick(&wish(None), &[]).is_none()),
        }
    }
}

#[test]
fn endpoints_that_are_new_get_less() {
    let window = Duration::from_secs(100);
    for algorithm in ALGORITHMS {
        if matches!(algorithm, Algorithm::Hash { .. }) {
            continue;
        }
        let rules = Rules {
            slow_start: Some(window),
            ..Rules::plain(algorithm)
        };
        let members = endpoints(&[1; 4], &rules);
        let begin = Instant::now();
        members[3].warmth().begin(begin);
        for (passed, percent) in [(0.0, 10.0), (0.5, 50.0), (1.0, 100.0)] {
            let now = begin + window.mul_f64(passed);
            let available = Available::of(&members, &rules, &Available::default(), now);
            let total = 300.0 + percent;
            let share = 100.0 / total;
            let seen = picks(&available, &members, 50_000);
            check_shares(
                &seen,
                &[share, share, share, percent / total],
                &format!("{algorithm:?} after {passed}"),
            );
        }
    }
}

/// What other groups have to do is no measure for how much an endpoint of this one may have.
#[test]
fn a_bound_is_by_the_load_of_the_group() {
    let rules = Rules::plain(Algorithm::Hash {
        max_load: Some(1.25),
    });
    let members = in_levels(&[(0, 4), (1, 4)], &rules);
    let before = available(&members, &rules);
    // A thousand requests of the first level, which then fails.
    (0..1000).for_each(|key| before.pick(&wish(Some(key)), &[]).unwrap().begin());
    for ill in &members[..4] {
        ill.standing().observe(Err("down"), 1);
    }
    let second = Available::of(&members, &rules, &before, Instant::now());
    for n in 1..=100_u64 {
        second.pick(&wish(Some(7)), &[]).unwrap().begin();
        let most = (1.25 * n as f64 / 4.0).ceil() as i64;
        let busiest = members[4..].iter().map(|it| it.active()).max();
        assert!(busiest <= Some(most), "{busiest:?} of {n}");
    }
    // The set that comes after knows of what is in flight, and what ends is counted where it is.
    let third = Available::of(&members, &rules, &second, Instant::now());
    members[4..]
        .iter()
        .for_each(|it| (0..it.active()).for_each(|_| it.end()));
    for n in 1..=100_u64 {
        third.pick(&wish(Some(7)), &[]).unwrap().begin();
        let most = (1.25 * n as f64 / 4.0).ceil() as i64;
        let busiest = members[4..].iter().map(|it| it.active()).max();
        assert!(busiest <= Some(most), "{busiest:?} of {n}");
    }
}

/// A reload makes an endpoint anew while its requests go on, and these end where they began.
#[test]
fn a_bound_knows_what_goes_on_when_endpoints_are_made_anew() {
    let rules = Rules::plain(Algorithm::Hash {
        max_load: Some(1.25),
    });
    let metrics = Metrics::new().upstream("u");
    let template = PeerTemplate::plain("u");
    let made = || -> Vec<Arc<Endpoint>> {
        let one = |n| Arc::new(Endpoint::new(member(n, 1), &template, &metrics));
        (0..4).map(one).collect()
    };
    let old = made();
    let before = available(&old, &rules);
    let begun: Vec<_> = (0..1000)
        .map(|key| before.pick(&wish(Some(key)), &[]).unwrap().clone())
        .inspect(|it| it.begin())
        .collect();
    let new = made();
    let after = Available::of(&new, &rules, &before, Instant::now());
    assert_eq!(new.iter().map(|it| it.active()).sum::<i64>(), 1000);
    begun.iter().for_each(|it| it.end());
    for n in 1..=100_u64 {
        after.pick(&wish(Some(7)), &[]).unwrap().begin();
        let most = (1.25 * n as f64 / 4.0).ceil() as i64;
        let busiest = new.iter().map(|it| it.active()).max();
        assert!(busiest <= Some(most), "{busiest:?} of {n}");
    }
}

#[test]
fn what_each_gets_can_be_told_and_why_it_is_nothing() {
    let zone = Zone {
        local: "a".into(),
        at_least: 1,
    };
    let rules = Rules {
        zone: Some(zone),
        subset: Some(Subset::labelled("version", "v2", true)),
        ..Rules::plain(Algorithm::RoundRobin)
    };
    let said = |n: usize, priority, zone: &str, version: &str, weight| Member {
        priority,
        zone: Some(zone.into()),
        labels: Labels::from([("version".into(), version.into())]),
        ..member(n, weight)
    };
    let members = endpoints_of(
        vec![
            said(0, 0, "a", "v2", 3),
            said(1, 0, "a", "v2", 1),
            said(2, 0, "b", "v2", 1),
            said(3, 1, "a", "v2", 1),
            said(4, 0, "a", "v1", 1),
        ],
        &rules,
    );
    let check = |expected: [(f64, Option<Idle>); 5], way: &str| {
        let available = available(&members, &rules);
        let parts = available.parts();
        for (member, (share, idle)) in members.iter().zip(expected) {
            let part = parts.get(&Arc::as_ptr(member));
            let seen = part.map_or((0.0, Some(Idle::Subset)), |it| (it.share, it.idle));
            assert!((seen.0 - share).abs() < 0.001, "{seen:?} for {share}");
            assert_eq!(seen.1, idle);
        }
        assert_eq!(available.way().to_string(), way);
    };
    let no_part = (0.0, Some(Idle::Subset));
    check(
        [
            (0.75, None),
            (0.25, None),
            (0.0, Some(Idle::Zone)),
            (0.0, Some(Idle::Priority)),
            no_part,
        ],
        "priority 0 in the local zone",
    );
    members[0].standing().observe(Err("down"), 1);
    // Of its zone a quarter is left, which can take 0.35 of what the level gets, 0.56 of all.
    check(
        [
            no_part,
            (0.56 * 0.35, None),
            (0.56 * 0.65, None),
            (0.44, None),
            no_part,
        ],
        "priority 0 in the local zone and priority 0 in other zones and priority 1 in the local zone",
    );
    members[..4]
        .iter()
        .for_each(|it| _ = it.standing().observe(Err("down"), 1));
    check(
        [no_part, no_part, no_part, no_part, (1.0, None)],
        "priority 0 in the local zone, with or without the labels of subset",
    );
    members[4].standing().observe(Err("down"), 1);
    check([no_part; 5], "no endpoint");
}

proptest! {
    /// Whatever is healthy, and whatever the rules, there is an endpoint as long as one is healthy, and it is healthy
    /// unless there is a panic.
    #[test]
    fn one_that_is_healthy_is_found(
        levels in prop::collection::vec((0..3_u8, any::<bool>(), 0..3_usize, 1..5_u32), 1..12),
        algorithm in 0..ALGORITHMS.len(),
        panic in prop::option::of(0.1..1.0_f64),
        local in prop::option::of(1..3_usize),
        keys in prop::collection::vec(prop::option::of(any::<u64>()), 1..20),
    ) {
        let zones = ["a", "b", "c"];
        let zone = local.map(|at_least| Zone { local: "a".into(), at_least });
        let rules = Rules { panic_threshold: panic, zone, ..Rules::plain(ALGORITHMS[algorithm]) };
        let members = levels.iter().enumerate().map(|(n, (priority, _, zone, weight))| Member {
            priority: *priority,
            zone: Some(zones[*zone].into()),
            ..member(n, *weight)
        });
        let members = endpoints_of(members.collect(), &rules);
        for (member, (_, is_healthy, ..)) in members.iter().zip(&levels) {
            let seen = if *is_healthy { Ok(()) } else { Err("down") };
            member.standing().observe(seen, 1);
        }
        let available = available(&members, &rules);
        let healthy = members.iter().filter(|it| it.is_healthy()).count();
        for key in keys {
            let mut tried = Vec::new();
            while let Some(chosen) = available.pick(&wish(key), &tried) {
                prop_assert!(chosen.is_healthy() || available.is_in_panic());
                prop_assert!(!tried.iter().any(|it| Arc::ptr_eq(it, chosen)));
                tried.push(chosen.clone());
            }
            let found = tried.iter().filter(|it| it.is_healthy()).count();
            prop_assert_eq!(found, healthy, "each that is healthy comes up");
            if healthy == 0 {
                prop_assert_eq!(tried.is_empty(), panic.is_none());
            }
        }
    }
}
