use http::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::response::Code;
use crate::text;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> OutlierConfig {
    OutlierConfig {
        consecutive_5xx: text::Bounded::new(3).unwrap(),
        min_requests: text::Bounded::new(10).unwrap(),
        ..OutlierConfig::default()
    }
}

fn outlier(config: &OutlierConfig, now: Instant) -> Arc<Outlier> {
    Outlier::build(&Rules::of(config), None, now)
}

fn answered(status: u16) -> Outcome {
    let status = StatusCode::from_u16(status).unwrap();
    Outcome::answered(status, None, Some(Duration::from_millis(5)))
}

fn slow() -> Outcome {
    Outcome::answered(StatusCode::OK, None, Some(SECOND))
}

fn unanswered() -> Outcome {
    Outcome::failed(Code::UpstreamConnectFailed)
}

#[test]
fn failures_in_a_row_are_enough() {
    let check = |outcomes: &[Outcome], expected: Option<Reason>| {
        let now = Instant::now();
        let outlier = outlier(&config(), now);
        for outcome in outcomes {
            outlier.learn(now, outcome);
        }
        assert_eq!(outlier.suspicion(), expected, "{outcomes:?}");
    };
    let overtaken = Outcome::overtaken(SECOND);
    check(&[overtaken; 20], None);
    // It says nothing, neither for nor against.
    check(
        &[
            answered(500),
            overtaken,
            answered(500),
            overtaken,
            answered(500),
        ],
        Some(Reason::Consecutive5xx),
    );
    check(&[answered(500); 2], None);
    check(&[answered(500); 3], Some(Reason::Consecutive5xx));
    check(&[unanswered(); 3], Some(Reason::ConsecutiveFailures));
    check(
        &[answered(503), unanswered(), unanswered()],
        Some(Reason::Consecutive5xx),
    );
    check(
        &[answered(500), answered(500), answered(200), answered(500)],
        None,
    );
    check(&[answered(404); 9], None);
    check(&[answered(501); 9], None);
}

#[test]
fn what_is_not_answered_can_be_taken_more_seriously() {
    let now = Instant::now();
    let outlier = outlier(
        &OutlierConfig {
            consecutive_failures: text::Bounded::new(1),
            ..config()
        },
        now,
    );
    assert!(!outlier.learn(now, &answered(500)));
    assert!(outlier.learn(now, &unanswered()));
    assert_eq!(outlier.suspicion(), Some(Reason::ConsecutiveFailures));
}

#[test]
fn shares_are_looked_at_once_there_is_enough_to_see() {
    let config = OutlierConfig {
        consecutive_5xx: text::Bounded::new(1000).unwrap(),
        failure_ratio: text::Ratio::percent(50),
        slow_call: Some(text::Duration::from_secs(1)),
        ..config()
    };
    let check = |outcomes: &[(Outcome, usize)], expected: Option<Reason>| {
        let now = Instant::now();
        let outlier = outlier(&config, now);
        for (outcome, times) in outcomes {
            (0..*times).for_each(|_| {
                outlier.learn(now, outcome);
            });
        }
        assert_eq!(outlier.suspicion(), expected, "{outcomes:?}");
    };
    let (well, bad) = (answered(200), answered(500));
    check(&[(bad, 9)], None);
    check(&[(bad, 10)], Some(Reason::FailureRatio));
    check(&[(well, 5), (bad, 5)], Some(Reason::FailureRatio));
    check(&[(well, 6), (bad, 5)], None);
    check(&[(slow(), 10)], Some(Reason::Slow));
    check(&[(well, 6), (slow(), 5)], None);
    // One that answers whole headers and breaks off behind each.
    let off = Outcome::broken_off(Code::UpstreamReset);
    check(&[(well, 10), (off, 5)], Some(Reason::FailureRatio));
}

#[test]
fn enough_is_said_once() {
    let now = Instant::now();
    let outlier = outlier(&config(), now);
    let said: Vec<bool> = (0..9).map(|_| outlier.learn(now, &answered(500))).collect();
    assert_eq!(said.iter().filter(|said| **said).count(), 1);
    outlier.eject(Reason::Consecutive5xx, now);
    // What was under way when it was put out says nothing.
    assert!(!outlier.learn(now, &answered(500)));
    assert_eq!(outlier.suspicion(), None);
    outlier.acquit(now + 30 * SECOND);
    assert!(!outlier.learn(now, &answered(500)));
    assert_eq!(outlier.suspicion(), None);
}

#[test]
fn ejections_grow_up_to_the_longest_and_are_forgiven() {
    let now = Instant::now();
    let outlier = outlier(&config(), now);
    let mut at = now;
    let mut seconds = Vec::new();
    for _ in 0..12 {
        let length = outlier.eject(Reason::Slow, at);
        seconds.push(length.as_secs());
        at += length;
        outlier.acquit(at);
    }
    assert_eq!(
        seconds,
        [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]
    );
    // Each thirty seconds of service take one off.
    for (served, expected) in [(29, 300), (60, 270), (30, 270), (10_000, 30)] {
        at += served * SECOND;
        let length = outlier.eject(Reason::Slow, at);
        assert_eq!(length.as_secs(), expected, "after {served} seconds");
        at += length;
        outlier.acquit(at);
    }
}

#[test]
fn it_goes_on_over_reloads() {
    let now = Instant::now();
    let first = outlier(&config(), now);
    let same = Outlier::build(&Rules::of(&config()), Some(&first), now);
    assert!(Arc::ptr_eq(&first, &same));
    (0..3).for_each(|_| {
        first.learn(now, &answered(500));
    });
    first.eject(Reason::Consecutive5xx, now);
    let shorter = OutlierConfig {
        max_ejection: text::Duration::from_secs(10),
        ..config()
    };
    let second = Outlier::build(&Rules::of(&shorter), Some(&first), now);
    assert_eq!(
        second.ejection(),
        Some(Ejection {
            reason: Reason::Consecutive5xx,
            until: now + 10 * SECOND
        })
    );
    assert_eq!(second.suspicion(), None);
}

proptest! {
    /// No ejection is shorter than the base or longer than the longest, however they come.
    #[test]
    fn ejections_keep_within_their_bounds(
        base in 1u64..100, more in 0u64..1000, waits in proptest::collection::vec(0u64..500, 1..60)
    ) {
        let config = OutlierConfig {
            base_ejection: text::Duration::from_secs(base),
            max_ejection: text::Duration::from_secs(base + more),
            ..config()
        };
        let mut now = Instant::now();
        let outlier = outlier(&config, now);
        for wait in waits {
            let length = outlier.eject(Reason::Slow, now).as_secs();
            prop_assert!((base..=base + more).contains(&length), "{}", length);
            now += Duration::from_secs(length);
            outlier.acquit(now);
            now += Duration::from_secs(wait);
        }
    }
}
