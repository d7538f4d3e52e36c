//! Refusing what matters less while the gateway itself has too much to do.
//!
//! ```toml
//! [gateway.overload]
//! max_lag = "50ms"
//! max_cpu_percent = 95
//! max_in_flight = 20000
//!
//! [routes.checkout]
//! match = { path = "/checkout" }
//! respond = { status = 200 }
//! criticality = "critical"
//! ```
//!
//! Ten times a second it is measured how late the threads that serve come to what is due (`max_lag`), how much of the
//! processors that it may use the process has used, workers or not (`max_cpu_percent`), and how many requests are in flight
//! (`max_in_flight`). While one of them is at its limit, a level rises: more and more `low` requests are refused, when that
//! is all of them `normal` ones as well, then `high` ones. It rises by a sixteenth of a class at least each time and by half
//! a class at most, as the excess is. While all of them are below their limits it falls, the slower the nearer they are: by
//! a thirty-second of a class where half of each limit is free, and always by something. So a class is back in some three
//! seconds where there is little to do, and within half a minute where there is nearly too much. `critical` requests are
//! never refused for this.
//!
//! How late threads are says nothing until they are late, so where that is the only measure that is near its limit, the level
//! goes up and down by more than one class, within some seconds; what is served is the same on average.
//!
//! In flight are requests that make work: not WebSockets and other tunnels that are open, and not those that have their
//! answer from the gateway and wait only for a client that does not read it.
//!
//! Requests are told apart by the `criticality` of their route, before anybody is asked who calls: 503 `overloaded`, with
//! a `Retry-After` of one to four seconds, drawn so that clients do not come back all at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Criticality;
use crate::observability::{Metrics, OverloadMetrics};
use crate::text;

/// When the gateway has too much to do, so that it refuses what matters less.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "OverloadConfig")]
pub struct Config {
    /// How late the threads that serve may come to what is due, averaged over some tenths of a second. Default `"50ms"`.
    pub max_lag: text::Duration,
    /// How much of the processors that the process may use (by its control group and its affinity) it may have used in the
    /// last second, 1 to 100. All of its threads count, not only its workers; that those alone have too much to do, where
    /// they are fewer than the processors, is what `max_lag` tells. Default 95.
    pub max_cpu_percent: text::Bounded<1, 100>,
    /// How many requests may be in flight, over all listeners; tunnels do not count. Default: that is not looked at.
    pub max_in_flight: Option<NonZeroU32>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_lag: text::Duration::from_millis(50),
            max_cpu_percent: text::Bounded::new(95).expect("95 is between 1 and 100"),
            max_in_flight: None,
        }
    }
}

/// How often it is measured.
pub const SAMPLE: Duration = Duration::from_millis(100);

/// Who refuses, and when.
#[derive(Clone, Debug)]
pub struct Overload {
    pub config: Config,
    pub shedder: Arc<Shedder>,
}

/// What has been measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    pub lag: Duration,
    /// From 0 to 1.
    pub cpu: f64,
    pub in_flight: u64,
}

impl Config {
    /// The measure that is nearest to its limit, which is 1.
    fn worst(&self, pressure: Pressure) -> f64 {
        let lag = pressure.lag.as_secs_f64() / self.max_lag.as_std().as_secs_f64();
        let cpu = pressure.cpu * 100.0 / f64::from(self.max_cpu_percent.get());
        let limit = self.max_in_flight.map(NonZeroU32::get);
        let in_flight = limit.map_or(0.0, |limit| pressure.in_flight as f64 / f64::from(limit));
        lag.max(cpu).max(in_flight)
    }
}

/// Steps from refusing nobody of a class to refusing everybody.
const CLASS: u32 = 256;
/// `critical` is above what the level can come to.
const HIGHEST: u32 = 3 * CLASS;
const LEAST_RISE: u32 = CLASS / 16;
const MOST_RISE: u32 = CLASS / 2;
const MOST_FALL: u32 = CLASS / 32;
/// How far the level falls for what is free of a limit. Larger, and it would swing: what is used of the processors is known
/// of the last second only.
const FALL: f64 = CLASS as f64 / 16.0;

/// Who refuses. It outlives configurations, as the load does.
#[derive(Debug)]
pub struct Shedder {
    level: AtomicU32,
    /// Counts requests of the class of which some are refused, to choose evenly among them.
    turn: AtomicU32,
    metrics: OverloadMetrics,
}

impl Shedder {
    pub fn new(metrics: &Metrics) -> Shedder {
        let classes = Criticality::ALL.iter().map(|class| class.as_str());
        Shedder {
            level: AtomicU32::new(0),
            turn: AtomicU32::new(0),
            metrics: metrics.overload(classes),
        }
    }

    /// Whether a request of this class is to be refused. While nothing is, that costs one look.
    pub fn refuses(&self, class: Criticality) -> bool {
        let level = self.level.load(Ordering::Relaxed);
        let floor = class as u32 * CLASS;
        level > floor && self.chooses(class, level - floor)
    }

    #[cold]
    fn chooses(&self, class: Criticality, share: u32) -> bool {
        // An odd step comes to each of the numbers once in a round, and far from where it was.
        let is_chosen =
            share >= CLASS || self.turn.fetch_add(159, Ordering::Relaxed) % CLASS < share;
        if is_chosen {
            self.metrics.shed(class as usize);
        }
        is_chosen
    }

    /// Takes in what has been measured.
    pub fn measured(&self, pressure: Pressure, config: &Config) {
        let level = next(self.level.load(Ordering::Relaxed), config.worst(pressure));
        self.level.store(level, Ordering::Relaxed);
        let classes = f64::from(level) / f64::from(CLASS);
        self.metrics
            .measured(pressure.lag, pressure.cpu, pressure.in_flight, classes);
    }

    /// Forgets all of it: nobody measures any more.
    pub fn rest(&self) {
        self.level.store(0, Ordering::Relaxed);
        self.metrics.measured(Duration::ZERO, 0.0, 0, 0.0);
    }
}

/// The level after this one, where the worst measure is so near to its limit.
fn next(level: u32, worst: f64) -> u32 {
    if worst >= 1.0 {
        // A share of the class as large as that of the excess.
        let excess = (worst - 1.0) * f64::from(CLASS);
        let rise = (excess as u32).clamp(LEAST_RISE, MOST_RISE);
        (level + rise).min(HIGHEST)
    } else {
        // Never nothing: what is refused could be refused for ever where what is not makes nearly enough work.
        let fall = (1.0 - worst) * FALL;
        level.saturating_sub((fall as u32).clamp(1, MOST_FALL))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn shedder() -> Shedder {
        Shedder::new(&Metrics::new())
    }

    /// Of a thousand requests of each class, how many are refused.
    fn refused(shedder: &Shedder) -> [usize; 4] {
        Criticality::ALL.map(|class| (0..1024).filter(|_| shedder.refuses(class)).count())
    }

    fn lag(millis: u64) -> Pressure {
        Pressure {
            lag: Duration::from_millis(millis),
            ..Pressure::default()
        }
    }

    #[test]
    fn what_matters_less_is_refused_first_and_comes_back_last() {
        let (shedder, config) = (shedder(), Config::default());
        assert_eq!(refused(&shedder), [0, 0, 0, 0]);
        let mut before = [0; 4];
        let mut seen = Vec::new();
        for _ in 0..60 {
            shedder.measured(lag(50), &config);
            let now = refused(&shedder);
            assert!(before.iter().zip(&now).all(|(before, now)| before <= now));
            for pair in now.windows(2) {
                assert!(pair[1] == 0 || pair[0] == 1024, "{now:?}");
            }
            before = now;
            seen.push(now);
        }
        assert_eq!(seen[0], [64, 0, 0, 0], "a sixteenth at a time");
        assert_eq!(seen[15], [1024, 0, 0, 0]);
        assert_eq!(seen[23], [1024, 512, 0, 0]);
        assert_eq!(seen[59], [1024, 1024, 1024, 0], "never what is critical");
        for _ in 0..32 {
            shedder.measured(lag(0), &config);
        }
        assert_eq!(refused(&shedder), [1024, 1024, 0, 0]);
        for _ in 0..64 {
            shedder.measured(lag(0), &config);
        }
        assert_eq!(refused(&shedder), [0, 0, 0, 0]);
    }

    /// How work is seen by what is measured.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Measure {
        /// As it is now: requests in flight.
        Now,
        /// On average over the last second, and never as more than all: processors.
        Averaged,
        /// By what is left undone, in a tenth of a second of which half is too much, smoothed: lag.
        Undone,
    }

    /// What `serve` is to serve: requests of each class that make so much work together, in shares of what the gateway can
    /// do; as many come in as are not refused.
    #[derive(Clone, Copy, Debug)]
    struct Offered {
        work: [f64; 4],
        /// By how much it varies, up and down.
        noise: f64,
        by: Measure,
    }

    /// The work that came in, and the level, of each tenth of a second of a minute.
    fn serve(level: &mut u32, offered: Offered) -> Vec<(f64, u32)> {
        let (mut last, mut noise) = (VecDeque::new(), 7_u32);
        let (mut undone, mut lag) = (0.0_f64, 0.0);
        let mut seen = Vec::new();
        for _ in 0..600 {
            let mut work = 0.0;
            for (class, offered) in offered.work.iter().enumerate() {
                let refused = level.saturating_sub(class as u32 * CLASS).min(CLASS);
                let share = if class == 3 { 0 } else { refused };
                work += offered * (1.0 - f64::from(share) / f64::from(CLASS));
            }
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            work *= 1.0 - offered.noise + 2.0 * offered.noise * f64::from(noise >> 16) / 65_536.0;
            last.push_back(work.min(1.0));
            if last.len() > 11 {
                last.pop_front();
            }
            undone = (undone + work - 1.0).max(0.0);
            lag = f64::midpoint(lag, undone);
            let measured = match offered.by {
                Measure::Now => work,
                Measure::Averaged => last.iter().sum::<f64>() / last.len() as f64 / 0.95,
                Measure::Undone => lag / 0.5,
            };
            *level = next(*level, measured);
            seen.push((work, *level));
        }
        seen
    }

    proptest! {
        /// Whatever comes, about as much is served as can be; the level does not swing, or where what is measured lags behind,
        /// by less than a class (what is undone is zero until it is late, so that by it alone the level goes from class to
        /// class; what is served is the same on average). When less comes, all of it is served again, however near it is to
        /// too much.
        #[test]
        fn it_neither_latches_nor_swings(
            low in 0.0..2.0, normal in 0.0..2.0, high in 0.0..2.0, critical in 0.0..0.85,
            left in 0.0..0.99,
            by in prop_oneof![Just(Measure::Now), Just(Measure::Averaged), Just(Measure::Undone)],
        ) {
            let work: [f64; 4] = [low, normal, high, critical];
            let offered = Offered { work, noise: 0.05, by };
            let all: f64 = work.iter().sum();
            let mut level = 0;
            // A minute to find the level, and one to look.
            serve(&mut level, offered);
            let seen = serve(&mut level, offered);
            let mean = seen.iter().map(|(work, _)| work).sum::<f64>() / seen.len() as f64;
            let levels = || seen.iter().map(|(_, level)| *level);
            let swing = levels().max().unwrap_or(0) - levels().min().unwrap_or(0);
            let (least, most_swing) = match by {
                Measure::Now => (0.9, CLASS * 2 / 3),
                Measure::Averaged => (0.85, CLASS),
                Measure::Undone => (0.75, HIGHEST),
            };
            if all > 1.1 {
                prop_assert!((least..1.02).contains(&mean), "{mean} of {offered:?}");
            }
            prop_assert!(swing < most_swing, "{swing} for {offered:?}");
            // That of the processors is at its limit before all of them are used.
            let left = if by == Measure::Averaged { left * 0.95 } else { left };
            let less = work.map(|it| it / all.max(0.01) * left);
            let offered = Offered { work: less, noise: 0.0, by };
            serve(&mut level, offered);
            serve(&mut level, offered);
            prop_assert_eq!(level, 0, "{:?}", less);
        }
    }

    #[test]
    fn each_measure_has_its_limit() {
        let config = Config {
            max_in_flight: NonZeroU32::new(1000),
            ..Config::default()
        };
        let check = |pressure: Pressure, expected: u32| {
            assert_eq!(next(0, config.worst(pressure)), expected, "{pressure:?}");
        };
        check(lag(49), 0);
        check(lag(50), LEAST_RISE);
        check(lag(65), 76);
        check(lag(1000), MOST_RISE);
        let cpu = |cpu| Pressure {
            cpu,
            ..Pressure::default()
        };
        check(cpu(0.94), 0);
        check(cpu(0.96), LEAST_RISE);
        let in_flight = |in_flight| Pressure {
            in_flight,
            ..Pressure::default()
        };
        check(in_flight(999), 0);
        check(in_flight(5000), MOST_RISE);
    }
}
