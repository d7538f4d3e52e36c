//! Measuring how much the gateway itself has to do, while `[gateway.overload]` wants to know.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::limits::{Overload, Pressure, SAMPLE, Shedder};
use crate::routing::Snapshot;

/// How often a probe is due. A wait may end up to a millisecond late by itself.
const PROBE: Duration = Duration::from_millis(20);
const GRAIN: Duration = Duration::from_millis(1);

/// What measures: nothing where nobody wants to know.
#[derive(Default)]
pub(super) struct Sensors {
    tasks: JoinSet<()>,
    /// Who is told.
    shedder: Option<Arc<Shedder>>,
}

impl Sensors {
    /// Measures what the configuration that serves now wants to know, on as many threads as `workers`.
    pub(super) async fn follow(&mut self, snapshot: &Arc<ArcSwap<Snapshot>>, workers: usize) {
        let shedder = |overload: &Overload| overload.shedder.clone();
        let wanted = snapshot.load().overload.as_ref().map(shedder);
        let before = std::mem::replace(&mut self.shedder, wanted);
        if self.shedder.is_none() {
            // Waits for their ends, so that none has the last word.
            self.tasks.shutdown().await;
            if let Some(before) = before {
                before.rest();
            }
        } else if self.tasks.is_empty() {
            let probes: Arc<[Probe]> = (0..workers).map(|_| Probe::default()).collect();
            for number in 0..workers {
                self.tasks.spawn(run_late(probes.clone(), number));
            }
            let cpu = Cpu::new();
            self.tasks.spawn(measure(snapshot.clone(), probes, cpu));
        }
    }
}

/// Takes a measure of everything each [`SAMPLE`].
async fn measure(snapshot: Arc<ArcSwap<Snapshot>>, probes: Arc<[Probe]>, mut cpu: Cpu) {
    let mut ticks = tokio::time::interval(SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lag = Duration::ZERO;
    loop {
        let late = ticks.tick().await.elapsed();
        let worst = probes.iter().map(Probe::take).fold(late, Duration::max);
        // One hiccup is no load.
        lag = (lag + worst) / 2;
        let cpu = cpu.share(Instant::now());
        let snapshot = snapshot.load();
        if let Some(overload) = &snapshot.overload {
            let views = snapshot.listeners.iter();
            let active = views.map(|view| {
                let metrics = &view.listener.metrics;
                metrics.active_requests.get() - metrics.passive_requests.get()
            });
            let pressure = Pressure {
                lag,
                cpu,
                in_flight: u64::try_from(active.sum::<i64>()).unwrap_or_default(),
            };
            overload.shedder.measured(pressure, &overload.config);
        }
    }
}

/// A task that is due again and again. There are as many as there are threads: what holds one of these holds up whatever
/// waits for it, also where the others are free.
#[derive(Default)]
struct Probe {
    /// The worst in microseconds since it was looked at.
    late: AtomicU64,
}

impl Probe {
    fn take(&self) -> Duration {
        Duration::from_micros(self.late.swap(0, Ordering::Relaxed))
    }
}

async fn run_late(probes: Arc<[Probe]>, number: usize) {
    let Some(probe) = probes.get(number) else {
        return;
    };
    loop {
        let begin = Instant::now();
        tokio::time::sleep(PROBE).await;
        let late = begin.elapsed().saturating_sub(PROBE + GRAIN);
        let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        probe.late.fetch_max(late, Ordering::Relaxed);
    }
}

/// How much of the processors that it may use the process uses.
struct Cpu {
    /// Processors that it may use.
    capacity: f64,
    /// What it had used when, for about the last second.
    used: VecDeque<(Instant, u64)>,
}

/// The kernel's unit of what a process has used, which is the same for all programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
const MEMORY: usize = 11;

impl Cpu {
    fn new() -> Cpu {
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let quota = control_group().as_deref().and_then(quota);
        Cpu {
            capacity: capacity(quota, available),
            used: VecDeque::with_capacity(MEMORY),
        }
    }

    /// From 0 to 1. It reads a file of the kernel's, which waits for no disk.
    fn share(&mut self, now: Instant) -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let Some(used) = used(&stat) else { return 0.0 };
        if self.used.len() == MEMORY {
            self.used.pop_front();
        }
        self.used.push_back((now, used));
        let Some((then, before)) = self.used.front() else {
            return 0.0;
        };
        let time = now.saturating_duration_since(*then).as_secs_f64();
        let seconds = used.saturating_sub(*before) as f64 / TICKS_PER_SECOND;
        match time > SAMPLE.as_secs_f64() / 2.0 {
            true => (seconds / time / self.capacity).min(1.0),
            false => 0.0,
        }
    }
}

/// The processors that the process may use, of which its workers are only a part: it has other threads for what takes long,
/// such as checking a password. Of `available` the standard library has taken account of affinity and quota, but only of
/// whole processors of it.
fn capacity(quota: Option<f64>, available: usize) -> f64 {
    let quota = quota.filter(|quota| *quota < available as f64 + 1.0);
    quota.unwrap_or(available as f64)
}

/// Of proc_pid_stat(5), what the process has used in user mode and in the kernel. The name before may have anything in it
/// but ends with the last parenthesis.
fn used(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

/// The folder of the control group of this process, of version 2 (cgroups(7)).
fn control_group() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path))
}

/// The least that a group, or one that it is in, may use, in processors.
fn quota(group: &Path) -> Option<f64> {
    let groups = group.ancestors();
    let limits = groups.map_while(|group| group.starts_with("/sys/fs/cgroup").then_some(group));
    let said = limits.filter_map(|group| std::fs::read_to_string(group.join("cpu.max")).ok());
    let quotas = said.filter_map(|said| processors(&said));
    quotas.reduce(f64::min)
}

/// Of `cpu.max`: a quota, or `max`, and the period that it is for.
fn processors(said: &str) -> Option<f64> {
    let (quota, period) = said.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 5 0 1";
        assert_eq!(used(stat), Some(300));
        assert_eq!(used("7 (a"), None);
        let now = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(used(&now).is_some(), "{now}");
        for (said, expected) in [
            ("150000 100000\n", Some(1.5)),
            ("max 100000\n", None),
            ("0 100000", None),
            ("", None),
        ] {
            assert_eq!(processors(said), expected, "{said:?}");
        }
    }

    #[test]
    fn whoever_says_the_least_says_what_may_be_used() {
        for (quota, available, expected) in [
            (None, 4, 4.0),
            (Some(0.5), 1, 0.5),
            (Some(1.5), 1, 1.5),
            (Some(2.0), 2, 2.0),
            // The affinity.
            (Some(8.0), 2, 2.0),
        ] {
            assert_eq!(
                capacity(quota, available),
                expected,
                "{quota:?} {available}"
            );
        }
        let available = std::thread::available_parallelism().unwrap().get();
        assert!(Cpu::new().capacity < available as f64 + 1.0);
    }

    #[test]
    fn who_works_all_the_time_uses_one_processor() {
        let mut cpu = Cpu {
            capacity: 1.0,
            used: VecDeque::new(),
        };
        let begin = Instant::now();
        assert_eq!(cpu.share(begin), 0.0);
        while begin.elapsed() < Duration::from_millis(400) {
            std::hint::black_box(begin.elapsed());
        }
        let share = cpu.share(Instant::now());
        // Less where others work on the machine as well.
        assert!((0.05..=1.0).contains(&share), "{share}");
    }

    #[tokio::test]
    async fn a_thread_that_is_held_up_is_late() {
        let probes: Arc<[Probe]> = [Probe::default()].into();
        let task = tokio::spawn(run_late(probes.clone(), 0));
        tokio::task::yield_now().await;
        let begin = Instant::now();
        while begin.elapsed() < PROBE * 10 {
            std::hint::black_box(begin.elapsed());
        }
        while probes[0].late.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(GRAIN).await;
        }
        assert!(probes[0].take() > PROBE * 8);
        task.abort();
    }
}
