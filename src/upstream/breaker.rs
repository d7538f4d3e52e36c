//! Circuit breakers: whoever fails too often, or takes too long too often, is left alone for a while.
//!
//! ```text
//!            enough of the window failed, or was slow
//!   closed ────────────────────────────────────────────► open ◄───────────┐
//!     ▲                                                    │ `open_for`    │ a probe failed, or was slow
//!     │               as many probes went well             ▼               │
//!     └───────────────────────────────────────────── half-open ────────────┘
//! ```
//!
//! A probe that takes longer than the breaker would be open for holds no place any more, so that clients who take their
//! time with a request cannot keep it half-open; how it goes counts nevertheless.
//!
//! An operator can hold it open or closed. All of the state that requests look at is one word, so that what they ask
//! and tell needs no lock; time moves it on in the task of the upstream (`availability.rs`) alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::breaker_config::BreakerConfig;
use super::outcome::Outcome;
use super::window::{Counts, Window};
use crate::text::{Ratio, Timestamp};

/// A breaker with all that it has seen.
#[derive(Debug)]
pub(super) struct Breaker {
    rules: Rules,
    window: Window,
    word: AtomicU64,
    /// When it half-opens, in nanoseconds since `began`.
    reopens: AtomicU64,
    /// When those who hold the places of probes have had them for long enough.
    gives_up: AtomicU64,
    began: Instant,
    forced: Mutex<Option<Forced>>,
}

/// When it opens, and for how long.
#[derive(Clone, Debug, PartialEq)]
struct Rules {
    failure_ratio: Ratio,
    slow_call: Option<Duration>,
    slow_ratio: Ratio,
    min_requests: u64,
    window: Duration,
    open_for: Duration,
    probes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Open,
    HalfOpen,
    ForcedOpen,
    ForcedClosed,
}

/// What an operator has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forced {
    pub is_open: bool,
    /// `None` until it is taken back.
    pub expires: Option<(Instant, Timestamp)>,
}

/// The word: a generation, which changes with each phase, a round of probes in it, then how many of them went well, how
/// many are under way, and the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    generation: u64,
    round: u8,
    passed: u64,
    probing: u64,
    phase: Phase,
}

const PHASE_BITS: u32 = 3;
const PROBE_BITS: u32 = 10;
const MAX_PROBES: u64 = (1 << PROBE_BITS) - 1;
const ROUND_BITS: u32 = 8;

/// No probe is given up sooner, however short the breaker is open for: an upstream that is slow to answer would only get
/// more to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// One of the few requests that a half-open breaker lets in. Its place is given back when it is dropped, whatever has
/// become of the request.
#[derive(Debug)]
pub(super) struct Probe {
    breaker: Arc<Breaker>,
    /// The generation of the breaker that it is a probe of, and the round in which it has its place.
    generation: u64,
    round: u8,
}

/// Nobody is let in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shut;

impl Breaker {
    /// One that goes on where `before` was, where nothing else is said of it; what an operator has said of that holds
    /// in any case.
    pub(super) fn build(
        config: &BreakerConfig,
        before: Option<&Arc<Breaker>>,
        now: Instant,
    ) -> Arc<Breaker> {
        let rules = Rules::of(config);
        match before {
            Some(before) if before.rules == rules => before.clone(),
            before => {
                let breaker = Breaker::new(rules, now);
                if let Some(forced) = before.and_then(|before| before.forced()) {
                    breaker.force(forced);
                }
                Arc::new(breaker)
            }
        }
    }

    fn new(rules: Rules, now: Instant) -> Breaker {
        Breaker {
            window: Window::new(rules.window, now),
            rules,
            word: AtomicU64::new(Word::of(Phase::Closed, 0).pack()),
            reopens: AtomicU64::new(0),
            gives_up: AtomicU64::new(0),
            began: now,
            forced: Mutex::default(),
        }
    }

    /// Leave to make a request: as a probe, where that is needed.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Result<Option<Probe>, Shut> {
        match self.phase() {
            Phase::Closed | Phase::ForcedClosed => Ok(None),
            Phase::Open | Phase::ForcedOpen => Err(Shut),
            Phase::HalfOpen => self.probe(now),
        }
    }

    fn probe(self: &Arc<Self>, now: Instant) -> Result<Option<Probe>, Shut> {
        let (most, seen) = (self.rules.probes, self.word());
        let is_full = seen.probing >= most;
        let are_given_up = self.nanos(now) >= self.gives_up.load(Ordering::Relaxed);
        if !is_full || are_given_up {
            // Before the place is taken, so that nobody finds it taken and the time of the last time.
            let patience = self.rules.open_for.max(PATIENCE);
            self.postpone(&self.gives_up, now, patience);
        }
        let taken = self.change(|word| match word.phase {
            Phase::HalfOpen if word.probing < most => Some(Word {
                probing: word.probing + 1,
                ..word
            }),
            // All who are under way are given up, once.
            Phase::HalfOpen if are_given_up && word == seen => Some(Word {
                probing: 1,
                round: word.round.wrapping_add(1),
                ..word
            }),
            _ => None,
        });
        match (taken, self.phase()) {
            (Some(word), _) => Ok(Some(Probe {
                breaker: self.clone(),
                generation: word.generation,
                round: word.round,
            })),
            // It has closed in the meantime.
            (None, Phase::Closed | Phase::ForcedClosed) => Ok(None),
            (None, _) => Err(Shut),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.word().phase
    }

    /// Whether nobody comes in at all.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase(), Phase::Open | Phase::ForcedOpen)
    }

    /// When it moves on by itself, where it does.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.phase() {
            Phase::Open => {
                let after = Duration::from_nanos(self.reopens.load(Ordering::Relaxed));
                Some(self.began + after)
            }
            Phase::ForcedOpen | Phase::ForcedClosed => {
                self.forced()?.expires.map(|(expires, _)| expires)
            }
            Phase::Closed | Phase::HalfOpen => None,
        }
    }

    /// Moves on what time moves on.
    pub(super) fn tick(&self, now: Instant) {
        let is_due = self.due().is_some_and(|due| due <= now);
        match self.phase() {
            Phase::Open if is_due => {
                self.change(|word| {
                    (word.phase == Phase::Open).then(|| word.turned(Phase::HalfOpen))
                });
            }
            Phase::ForcedOpen | Phase::ForcedClosed if is_due => {
                // Looked at again under the lock: an operator may have said something else.
                self.release_where(|forced| forced.expires.is_some_and(|(end, _)| end <= now));
            }
            _ => {}
        }
    }

    /// Holds it open or closed.
    pub(super) fn force(&self, forced: Forced) {
        let phase = match forced.is_open {
            true => Phase::ForcedOpen,
            false => Phase::ForcedClosed,
        };
        let mut known = self.forced.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(forced);
        self.change(|word| Some(word.turned(phase)));
    }

    /// Lets it be as it is by itself again; what was held open is tried first. False where it was not held.
    pub(super) fn release(&self) -> bool {
        self.release_where(|_| true)
    }

    /// Is held, or let be, as another one is now.
    pub(super) fn hold_as(&self, other: &Breaker) {
        match (other.forced(), self.forced()) {
            (there, here) if there == here => {}
            (Some(forced), _) => self.force(forced),
            (None, _) => {
                self.release();
            }
        }
    }

    fn release_where(&self, is_meant: impl Fn(&Forced) -> bool) -> bool {
        let mut known = self.forced.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(is_meant) {
            return false;
        }
        *known = None;
        self.window.clear();
        self.change(|word| match word.phase {
            Phase::ForcedOpen => Some(word.turned(Phase::HalfOpen)),
            _ => Some(word.turned(Phase::Closed)),
        });
        true
    }

    pub(super) fn forced(&self) -> Option<Forced> {
        *self.forced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it is open for.
    pub(super) fn open_for(&self) -> Duration {
        self.rules.open_for
    }

    /// What the window has seen.
    pub(super) fn counts(&self, now: Instant) -> Counts {
        self.window.sum(now)
    }

    /// Takes in how a request has gone, which was let in as this probe where it is one. True where that has changed the
    /// phase.
    pub(super) fn hear(&self, probe: Option<Probe>, now: Instant, outcome: &Outcome) -> bool {
        match probe {
            None => self.learn(now, outcome),
            Some(probe) => self.learn_of_probe(now, probe.generation, outcome),
        }
    }

    /// Takes in how a request has gone that was no probe. True where that has changed the phase.
    fn learn(&self, now: Instant, outcome: &Outcome) -> bool {
        let counts = self.rules.counts(outcome);
        self.window.add(now, counts);
        let is_bad = counts.failed + counts.slow > 0;
        if !is_bad || self.phase() != Phase::Closed || !self.rules.is_enough(self.window.sum(now)) {
            return false;
        }
        self.open(now, Phase::Closed, None)
    }

    /// Takes in how a probe has gone.
    fn learn_of_probe(&self, now: Instant, generation: u64, outcome: &Outcome) -> bool {
        let counts = self.rules.counts(outcome);
        if counts.failed + counts.slow > 0 {
            return self.open(now, Phase::HalfOpen, Some(generation));
        }
        if counts.total == 0 {
            return false;
        }
        let most = self.rules.probes;
        let changed = self.change(|word| {
            if word.phase != Phase::HalfOpen || word.generation != generation {
                return None;
            }
            let passed = word.passed + 1;
            Some(match passed >= most {
                true => word.turned(Phase::Closed),
                false => Word { passed, ..word },
            })
        });
        let is_closed = changed.is_some_and(|word| word.phase == Phase::Closed);
        if is_closed {
            self.window.clear();
        }
        is_closed
    }

    fn open(&self, now: Instant, from: Phase, generation: Option<u64>) -> bool {
        // Before the phase, so that nobody finds it open and the time of the last time.
        self.postpone(&self.reopens, now, self.rules.open_for);
        let opened = self.change(|word| {
            let is_meant = word.phase == from && generation.is_none_or(|it| it == word.generation);
            is_meant.then(|| word.turned(Phase::Open))
        });
        opened.is_some()
    }

    fn give_back(&self, probe: &Probe) {
        self.change(|word| {
            let is_its_round = (word.generation, word.round) == (probe.generation, probe.round);
            let is_meant = word.phase == Phase::HalfOpen && is_its_round;
            is_meant.then(|| Word {
                probing: word.probing.saturating_sub(1),
                ..word
            })
        });
    }

    fn postpone(&self, due: &AtomicU64, now: Instant, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        due.fetch_max(self.nanos(now).saturating_add(by), Ordering::Relaxed);
    }

    /// Since `began`.
    fn nanos(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.began).as_nanos();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    fn word(&self) -> Word {
        Word::unpack(self.word.load(Ordering::Acquire))
    }

    /// The word that it has become, or `None` where nothing was to be changed.
    fn change(&self, next: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let step = |word| next(Word::unpack(word)).map(Word::pack);
        let before = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
        before.ok().and_then(|before| next(Word::unpack(before)))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.breaker.give_back(self);
    }
}

impl Rules {
    fn of(config: &BreakerConfig) -> Rules {
        Rules {
            failure_ratio: config.failure_ratio,
            slow_call: config.slow_call.map(|slow| slow.as_std()),
            slow_ratio: config.slow_ratio,
            min_requests: config.min_requests.get().into(),
            window: config.window.as_std(),
            open_for: config.open_for.as_std(),
            probes: u64::from(config.probes.get()).min(MAX_PROBES),
        }
    }

    fn counts(&self, outcome: &Outcome) -> Counts {
        outcome.counts(self.slow_call)
    }

    fn is_enough(&self, counts: Counts) -> bool {
        counts.total >= self.min_requests
            && (self.failure_ratio.is_reached(counts.failed, counts.total)
                || self.slow_ratio.is_reached(counts.slow, counts.total))
    }
}

impl Word {
    fn of(phase: Phase, generation: u64) -> Word {
        Word {
            generation,
            round: 0,
            passed: 0,
            probing: 0,
            phase,
        }
    }

    fn turned(self, phase: Phase) -> Word {
        Word::of(phase, self.generation + 1)
    }

    fn pack(self) -> u64 {
        self.generation << (PHASE_BITS + 2 * PROBE_BITS + ROUND_BITS)
            | u64::from(self.round) << (PHASE_BITS + 2 * PROBE_BITS)
            | self.passed << (PHASE_BITS + PROBE_BITS)
            | self.probing << PHASE_BITS
            | self.phase as u64
    }

    fn unpack(word: u64) -> Word {
        Word {
            generation: word >> (PHASE_BITS + 2 * PROBE_BITS + ROUND_BITS),
            // The lowest eight bits of what is left.
            round: (word >> (PHASE_BITS + 2 * PROBE_BITS)) as u8,
            passed: word >> (PHASE_BITS + PROBE_BITS) & MAX_PROBES,
            probing: word >> PHASE_BITS & MAX_PROBES,
            phase: match word & ((1 << PHASE_BITS) - 1) {
                0 => Phase::Closed,
                1 => Phase::Open,
                2 => Phase::HalfOpen,
                3 => Phase::ForcedOpen,
                _ => Phase::ForcedClosed,
            },
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
