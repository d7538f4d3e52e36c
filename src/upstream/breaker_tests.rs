use http::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::response::Code;

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    Rules::of(&BreakerConfig {
        slow_call: Some(crate::text::Duration::from_secs(2)),
        min_requests: crate::text::Bounded::new(4).unwrap(),
        probes: crate::text::Bounded::new(2).unwrap(),
        ..BreakerConfig::default()
    })
}

fn breaker(now: Instant) -> Arc<Breaker> {
    Arc::new(Breaker::new(rules(), now))
}

fn well() -> Outcome {
    Outcome::answered(StatusCode::OK, None, Some(Duration::from_millis(5)))
}

fn slow() -> Outcome {
    Outcome::answered(StatusCode::OK, None, Some(2 * SECOND))
}

fn failed() -> Outcome {
    Outcome::failed(Code::UpstreamReset)
}

/// One that has opened just now.
fn opened(now: Instant) -> Arc<Breaker> {
    let breaker = breaker(now);
    (0..4).for_each(|_| {
        breaker.hear(None, now, &failed());
    });
    assert_eq!(breaker.phase(), Phase::Open);
    breaker
}

fn half_open(now: Instant) -> Arc<Breaker> {
    let breaker = opened(now);
    breaker.tick(now + 5 * SECOND);
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    breaker
}

#[test]
fn enough_of_the_window_opens_it() {
    let check = |outcomes: &[Outcome], expected: Phase| {
        let now = Instant::now();
        let breaker = breaker(now);
        let changes = outcomes
            .iter()
            .filter(|outcome| breaker.hear(None, now, outcome))
            .count();
        assert_eq!(breaker.phase(), expected, "{outcomes:?}");
        assert_eq!(changes, usize::from(expected == Phase::Open));
    };
    check(&[failed(); 3], Phase::Closed);
    check(&[failed(); 4], Phase::Open);
    check(&[failed(); 9], Phase::Open);
    check(&[well(), well(), failed(), failed()], Phase::Open);
    check(&[well(), well(), well(), failed()], Phase::Closed);
    check(&[slow(); 4], Phase::Open);
    // Each share is of its own.
    check(&[well(), well(), failed(), slow(), well()], Phase::Closed);
    // A response that breaks off has been counted before.
    let off = Outcome::broken_off(Code::UpstreamReset);
    check(&[well(), well(), well(), well(), off, off], Phase::Open);
}

#[test]
fn failures_of_long_ago_open_nothing() {
    let now = Instant::now();
    let breaker = breaker(now);
    for step in 0..20 {
        breaker.hear(None, now + step * 4 * SECOND, &failed());
    }
    assert_eq!(breaker.phase(), Phase::Closed);
}

#[test]
fn nobody_is_let_in_until_it_half_opens() {
    let now = Instant::now();
    let breaker = opened(now);
    assert_eq!(breaker.due(), Some(now + 5 * SECOND));
    assert!(breaker.enter(now).is_err());
    breaker.tick(now + 5 * SECOND - Duration::from_nanos(1));
    assert!(breaker.enter(now + 5 * SECOND).is_err());
    breaker.tick(now + 5 * SECOND);
    assert_eq!((breaker.phase(), breaker.due()), (Phase::HalfOpen, None));
}

#[test]
fn few_are_let_in_and_close_it() {
    let now = Instant::now();
    let breaker = half_open(now);
    let probes: Vec<_> = (0..2).map(|_| breaker.enter(now).unwrap()).collect();
    assert!(probes.iter().all(Option::is_some));
    assert!(breaker.enter(now).is_err());
    let changes: Vec<bool> = probes
        .into_iter()
        .map(|probe| breaker.hear(probe, now, &well()))
        .collect();
    assert_eq!(
        (changes, breaker.phase()),
        (vec![false, true], Phase::Closed)
    );
    assert!(matches!(breaker.enter(now), Ok(None)));
    // It begins anew: what opened it is forgotten.
    breaker.hear(None, now, &failed());
    assert_eq!(breaker.phase(), Phase::Closed);
}

#[test]
fn a_bad_probe_opens_it_again_for_as_long() {
    for bad in [failed(), slow()] {
        let now = Instant::now();
        let breaker = half_open(now);
        let probe = breaker.enter(now).unwrap();
        assert!(breaker.hear(probe, now + 6 * SECOND, &bad));
        assert_eq!(breaker.phase(), Phase::Open);
        assert_eq!(breaker.due(), Some(now + 11 * SECOND));
    }
}

#[test]
fn a_probe_that_comes_to_nothing_gives_its_place_back() {
    let now = Instant::now();
    let breaker = half_open(now);
    for _ in 0..100 {
        let probes: Vec<_> = (0..2).map(|_| breaker.enter(now).unwrap()).collect();
        assert!(breaker.enter(now).is_err());
        drop(probes);
    }
    assert_eq!(breaker.word().probing, 0);
    // So does one that has told how it went.
    let probe = breaker.enter(now).unwrap();
    breaker.hear(probe, now, &well());
    assert_eq!((breaker.word().probing, breaker.word().passed), (0, 1));
}

#[test]
fn probes_that_take_for_ever_hold_no_place_and_count_in_the_end() {
    let now = Instant::now();
    let breaker = half_open(now);
    let slow = [breaker.enter(now).unwrap(), breaker.enter(now).unwrap()];
    let patience = now + PATIENCE;
    assert!(breaker.enter(patience - Duration::from_nanos(1)).is_err());
    let next = breaker.enter(patience).unwrap();
    assert_eq!((breaker.word().probing, breaker.word().round), (1, 1));
    let other = breaker.enter(patience).unwrap();
    assert!(breaker.enter(patience).is_err(), "no more than two again");
    // They have no place to give back any more.
    let [first, second] = slow;
    drop(first);
    assert_eq!(breaker.word().probing, 2);
    assert!(!breaker.hear(second, patience, &well()));
    assert_eq!((breaker.word().probing, breaker.word().passed), (2, 1));
    assert!(breaker.hear(next, patience, &well()));
    assert_eq!(breaker.phase(), Phase::Closed);
    drop(other);
    assert_eq!(breaker.word().probing, 0);
}

#[test]
fn a_breaker_that_is_open_for_long_waits_as_long_for_its_probes() {
    let now = Instant::now();
    let rules = Rules {
        open_for: 60 * SECOND,
        probes: 1,
        ..rules()
    };
    let breaker = Arc::new(Breaker::new(rules, now));
    (0..4).for_each(|_| {
        breaker.hear(None, now, &failed());
    });
    let now = now + 60 * SECOND;
    breaker.tick(now);
    let probe = breaker.enter(now).unwrap();
    assert!(breaker.enter(now + 59 * SECOND).is_err());
    assert!(breaker.enter(now + 60 * SECOND).is_ok());
    // It fails after all.
    assert!(breaker.hear(probe, now + 61 * SECOND, &failed()));
    assert_eq!(breaker.phase(), Phase::Open);
}

#[test]
fn who_is_overtaken_passes_no_probe() {
    let now = Instant::now();
    let breaker = half_open(now);
    let now = now + 5 * SECOND;
    for _ in 0..10 {
        let probe = breaker.enter(now).ok().flatten();
        assert!(probe.is_some(), "its place is free again");
        let overtaken = Outcome::overtaken(SECOND);
        assert!(!breaker.hear(probe, now, &overtaken));
        assert_eq!(breaker.phase(), Phase::HalfOpen);
    }
    let probe = breaker.enter(now).ok().flatten();
    assert!(breaker.hear(probe, now, &Outcome::overtaken(2 * SECOND)));
    assert_eq!(breaker.phase(), Phase::Open, "it is known to be slow");
}

#[test]
fn probes_of_before_say_nothing() {
    let now = Instant::now();
    let breaker = half_open(now);
    let late = breaker.enter(now).unwrap();
    let bad = breaker.enter(now).unwrap();
    breaker.hear(bad, now, &failed());
    breaker.tick(now + 10 * SECOND);
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    let current = breaker.enter(now).unwrap();
    assert!(!breaker.hear(late, now, &failed()));
    assert_eq!(
        (breaker.phase(), breaker.word().probing),
        (Phase::HalfOpen, 1)
    );
    drop(current);
    // Nor do requests that were let in before it opened.
    (0..9).for_each(|_| assert!(!breaker.hear(None, now, &failed())));
    assert_eq!(breaker.phase(), Phase::HalfOpen);
}

#[test]
fn an_operator_has_the_last_word() {
    let now = Instant::now();
    let end = Timestamp::now();
    let hold = |is_open, expires: Option<Duration>| Forced {
        is_open,
        expires: expires.map(|after| (now + after, end)),
    };
    let breaker = breaker(now);
    breaker.force(hold(true, None));
    assert!(breaker.enter(now).is_err());
    breaker.tick(now + 3600 * SECOND);
    assert_eq!((breaker.phase(), breaker.due()), (Phase::ForcedOpen, None));
    // What was held open is tried first.
    assert!(breaker.release());
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    assert!(!breaker.release());
    breaker.force(hold(false, Some(SECOND)));
    (0..9).for_each(|_| {
        breaker.hear(None, now, &failed());
    });
    assert_eq!(breaker.phase(), Phase::ForcedClosed);
    assert!(matches!(breaker.enter(now), Ok(None)));
    breaker.tick(now + SECOND);
    assert_eq!((breaker.phase(), breaker.forced()), (Phase::Closed, None));
    // Nothing of the time in which it was held counts.
    breaker.hear(None, now + SECOND, &failed());
    assert_eq!(breaker.phase(), Phase::Closed);
}

#[test]
fn it_goes_on_over_reloads_and_so_does_what_was_said() {
    let now = Instant::now();
    let config = BreakerConfig::default();
    let first = Breaker::build(&config, None, now);
    assert!(Arc::ptr_eq(
        &first,
        &Breaker::build(&config, Some(&first), now)
    ));
    let forced = Forced {
        is_open: true,
        expires: None,
    };
    first.force(forced);
    let other = BreakerConfig {
        probes: crate::text::Bounded::new(7).unwrap(),
        ..config
    };
    let second = Breaker::build(&other, Some(&first), now);
    assert_eq!(
        (second.phase(), second.forced()),
        (Phase::ForcedOpen, Some(forced))
    );
}

#[test]
fn what_is_said_while_another_takes_over_holds_for_that() {
    let now = Instant::now();
    let (before, next) = (breaker(now), breaker(now));
    let forced = |is_open| Forced {
        is_open,
        expires: None,
    };
    before.force(forced(true));
    next.hold_as(&before);
    assert_eq!(next.phase(), Phase::ForcedOpen);
    before.force(forced(false));
    next.hold_as(&before);
    assert_eq!(next.phase(), Phase::ForcedClosed);
    before.release();
    next.hold_as(&before);
    assert_eq!((next.phase(), next.forced()), (Phase::Closed, None));
    // Nothing was said: it is as it is by itself.
    (0..4).for_each(|_| {
        next.hear(None, now, &failed());
    });
    next.hold_as(&before);
    assert_eq!(next.phase(), Phase::Open);
}

#[test]
fn places_are_not_lost_among_threads() {
    let now = Instant::now();
    let breaker = half_open(now);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let probe = breaker.enter(now);
                    assert!(breaker.word().probing <= 2);
                    drop(probe);
                }
            });
        }
    });
    assert_eq!(breaker.word().probing, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    Tell(usize, bool),
    Abort(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Enter),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, is_ok)| Step::Tell(which, is_ok)),
        1 => any::<usize>().prop_map(Step::Abort),
        2 => (1u64..3000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..300)
}

proptest! {
    /// Whatever comes when: half-open, never more probes have a place than may, and it lets somebody in again in its time,
    /// whoever keeps a place.
    #[test]
    fn it_always_finds_its_way_back(steps in steps()) {
        let mut now = Instant::now();
        let breaker = breaker(now);
        let mut under_way: Vec<Option<Probe>> = Vec::new();
        for step in steps {
            match step {
                Step::Enter => if let Ok(probe) = breaker.enter(now) {
                    under_way.push(probe);
                },
                Step::Tell(which, is_ok) if !under_way.is_empty() => {
                    let probe = under_way.swap_remove(which % under_way.len());
                    breaker.hear(probe, now, &if is_ok { well() } else { failed() });
                }
                Step::Abort(which) if !under_way.is_empty() => {
                    drop(under_way.swap_remove(which % under_way.len()));
                }
                Step::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    breaker.tick(now);
                }
                _ => {}
            }
            let current = breaker.word();
            let is_current = |it: &&Probe| {
                (it.generation, it.round) == (current.generation, current.round)
            };
            let probing = under_way.iter().flatten().filter(is_current);
            prop_assert_eq!(probing.count() as u64, current.probing);
            prop_assert!(current.probing <= 2);
        }
        // Those who are under way stay so, for ever.
        now += 5 * SECOND;
        breaker.tick(now);
        now += PATIENCE;
        for _ in 0..2 {
            let probe = breaker.enter(now);
            prop_assert!(probe.is_ok());
            breaker.hear(probe.unwrap_or_default(), now, &well());
        }
        prop_assert_eq!(breaker.phase(), Phase::Closed);
    }
}
