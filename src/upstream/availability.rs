//! Which endpoints can be chosen, and why the others cannot.
//!
//! Checks, ejection and breakers each take endpoints out, and each gives its own back. What they say is brought together
//! here, at the only place where the set that requests choose from is made: when a check or a source of endpoints has
//! changed something, and by one task of the upstream, which is woken by what tries have told or by the time.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use super::endpoint::Endpoint;
use super::guards::{Guards, Watched};
use super::outliers::{Outlier, Reason};
use super::{Upstream, alive};

/// However often the bell rings, what it rings for is not decided more often than this.
const PACE: Duration = Duration::from_millis(10);

/// What takes an endpoint out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Checks = 1,
    Ejection = 2,
    Breaker = 4,
}

/// What decides whether an endpoint can be chosen.
#[derive(Debug)]
pub(super) struct Standing {
    /// The causes that there are.
    out: AtomicU8,
    gauge: IntGauge,
    /// Check results in a row that speak against the present state.
    contrary: AtomicU32,
    /// What the last bad check has said.
    symptom: Mutex<Option<Box<str>>>,
    next_check: Mutex<Option<Instant>>,
    pub breaker: Option<Watched>,
    pub outlier: Option<Arc<Outlier>>,
}

impl Standing {
    pub(super) fn new(gauge: IntGauge) -> Standing {
        gauge.set(1);
        Standing {
            out: AtomicU8::new(0),
            gauge,
            contrary: AtomicU32::new(0),
            symptom: Mutex::default(),
            next_check: Mutex::default(),
            breaker: None,
            outlier: None,
        }
    }

    /// With what its upstream has for it. It goes on where the one `before` at its address was; that is unhealthy here as
    /// well only where checks can find it healthy again.
    pub(super) fn guarded(
        mut self,
        guards: &Guards,
        before: Option<&Standing>,
        is_checked: bool,
        now: Instant,
    ) -> Standing {
        let breaker = guards.endpoint_breaker.as_ref();
        self.breaker = breaker.map(|config| {
            let before = before.and_then(|before| before.breaker.as_ref());
            Watched::build(config, before, now)
        });
        let rules = guards.outliers.as_ref();
        self.outlier = rules.map(|rules| {
            let before = before.and_then(|before| before.outlier.as_ref());
            Outlier::build(rules, before, now)
        });
        if let Some(before) = before.filter(|before| is_checked && !before.is_passing()) {
            self.set(Cause::Checks, true);
            *self.symptom() = before.symptom().clone();
        }
        self
    }

    pub(super) fn is_available(&self) -> bool {
        self.out.load(Ordering::Relaxed) == 0
    }

    /// What the checks say.
    pub(super) fn is_passing(&self) -> bool {
        !self.has(Cause::Checks)
    }

    /// What the last bad check has said, where it is unhealthy.
    pub(super) fn failing(&self) -> Option<Box<str>> {
        self.symptom().clone().filter(|_| !self.is_passing())
    }

    /// Takes in the result of one check; true where the state changed. Checks of one endpoint never overlap.
    pub(super) fn observe(&self, result: Result<(), &str>, needed: u32) -> bool {
        if self.is_passing() == result.is_ok() {
            self.contrary.store(0, Ordering::Relaxed);
            return false;
        }
        if self.contrary.fetch_add(1, Ordering::Relaxed) + 1 < needed {
            return false;
        }
        self.contrary.store(0, Ordering::Relaxed);
        *self.symptom() = result.err().map(Box::from);
        self.set(Cause::Checks, result.is_err());
        true
    }

    /// When it is to be checked; `None` for now, because it never was.
    pub(super) fn next_check(&self) -> Option<Instant> {
        *self
            .next_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check_again(&self, at: Instant) {
        *self
            .next_check
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    fn symptom(&self) -> std::sync::MutexGuard<'_, Option<Box<str>>> {
        self.symptom.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, cause: Cause) -> bool {
        self.out.load(Ordering::Relaxed) & cause as u8 != 0
    }

    fn is_out_for_nothing_but(&self, cause: Cause) -> bool {
        self.out.load(Ordering::Relaxed) == cause as u8
    }

    /// True where it can be chosen now and could not before, or the other way round.
    fn set(&self, cause: Cause, is_out: bool) -> bool {
        let before = match is_out {
            true => self.out.fetch_or(cause as u8, Ordering::Relaxed),
            false => self.out.fetch_and(!(cause as u8), Ordering::Relaxed),
        };
        let now = match is_out {
            true => before | cause as u8,
            false => before & !(cause as u8),
        };
        self.gauge.set(i64::from(now == 0));
        (before == 0) != (now == 0)
    }
}

/// What has come of settling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// Whether others can be chosen than before.
    pub has_changed: bool,
    /// When it has to be done again, if only time passes.
    pub due: Option<Instant>,
}

impl Upstream {
    /// Decides who is out and who is back.
    pub(super) fn settle(&self, members: &[Arc<Endpoint>], now: Instant) -> Settled {
        let guards = &self.guards;
        if let Some(breaker) = &guards.breaker {
            breaker.tend(now, None, &self.name, &self.metrics);
        }
        let mut has_changed = false;
        for endpoint in members {
            has_changed |= self.tend(endpoint, now);
        }
        for endpoint in members {
            has_changed |= self.decide(endpoint, members, now);
        }
        has_changed |= self.leave_somebody(members, now);
        let dues = members.iter().flat_map(|endpoint| {
            let standing = endpoint.standing();
            let breaker = standing.breaker.as_ref().and_then(|it| it.breaker.due());
            let ejection = standing.outlier.as_ref().and_then(|it| it.ejection());
            [breaker, ejection.map(|it| it.until)]
        });
        let own = guards.breaker.as_ref().and_then(|it| it.breaker.due());
        Settled {
            has_changed,
            due: dues.chain([own]).flatten().min(),
        }
    }

    /// Ends the series of what is not there any more.
    pub(super) fn forget_guards(&self, now: Option<&Guards>) {
        if now.is_none_or(|now| now.breaker.is_none()) {
            self.metrics.forget_breaker(None);
        }
        for endpoint in self.current() {
            let address = endpoint.address();
            if now.is_none_or(|now| now.endpoint_breaker.is_none()) {
                self.metrics.forget_breaker(Some(address));
            }
            if now.is_none_or(|now| now.outliers.is_none()) {
                self.metrics.forget_ejection(address);
            }
        }
    }

    /// What only time and its own tries say of an endpoint.
    fn tend(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let standing = endpoint.standing();
        let mut has_changed = false;
        if let Some(breaker) = &standing.breaker {
            breaker.tend(now, Some(endpoint.address()), &self.name, &self.metrics);
            has_changed |= standing.set(Cause::Breaker, breaker.breaker.is_open());
        }
        let Some(outlier) = &standing.outlier else {
            return has_changed;
        };
        match outlier.ejection() {
            Some(ejection) if ejection.until <= now => {
                has_changed | self.take_back(endpoint, outlier, now)
            }
            // As the one was that was at its address before.
            Some(_) if !standing.has(Cause::Ejection) => {
                self.metrics.endpoint_ejected(endpoint.address(), true);
                has_changed | standing.set(Cause::Ejection, true)
            }
            _ => has_changed,
        }
    }

    /// Whether an endpoint that has done enough for it is put out.
    fn decide(&self, endpoint: &Arc<Endpoint>, members: &[Arc<Endpoint>], now: Instant) -> bool {
        let Some(outlier) = &endpoint.standing().outlier else {
            return false;
        };
        let Some(reason) = outlier.suspicion() else {
            return false;
        };
        let others = || members.iter().filter(|it| !Arc::ptr_eq(it, endpoint));
        let most = outlier.max_ejected().of(members.len()).max(1);
        let out = others().filter(|it| it.standing().has(Cause::Ejection));
        if out.count() < most && others().any(|it| it.is_healthy()) {
            return self.put_out(endpoint, outlier, reason, now);
        }
        log::debug!(
            "upstream {}: endpoint {} is not ejected ({}): too few would be left",
            self.name,
            endpoint.address(),
            reason.as_str()
        );
        outlier.acquit(now);
        false
    }

    /// Ejection never leaves nobody: where nobody else is left, those come back that nothing else keeps out.
    fn leave_somebody(&self, members: &[Arc<Endpoint>], now: Instant) -> bool {
        if members.iter().any(|endpoint| endpoint.is_healthy()) {
            return false;
        }
        let mut has_changed = false;
        for endpoint in members {
            let standing = endpoint.standing();
            if let Some(outlier) = &standing.outlier
                && standing.is_out_for_nothing_but(Cause::Ejection)
            {
                has_changed |= self.take_back(endpoint, outlier, now);
            }
        }
        has_changed
    }

    fn put_out(
        &self,
        endpoint: &Endpoint,
        outlier: &Outlier,
        reason: Reason,
        now: Instant,
    ) -> bool {
        let length = outlier.eject(reason, now);
        self.metrics.endpoint_ejected(endpoint.address(), true);
        self.metrics.count_ejection(reason.as_str());
        log::warn!(
            "upstream {}: endpoint {} is ejected for {length:?}: {}",
            self.name,
            endpoint.address(),
            reason.as_str()
        );
        endpoint.standing().set(Cause::Ejection, true)
    }

    fn take_back(&self, endpoint: &Endpoint, outlier: &Outlier, now: Instant) -> bool {
        outlier.acquit(now);
        self.metrics.endpoint_ejected(endpoint.address(), false);
        log::info!(
            "upstream {}: endpoint {} is no longer ejected",
            self.name,
            endpoint.address()
        );
        endpoint.standing().set(Cause::Ejection, false)
    }
}

/// While a reload is under way two upstreams share a bell, and the one that goes may take the ring with it: nobody waits for
/// longer than this without looking.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Settles an upstream whenever something has been told or is due, until it is dropped.
pub(super) async fn watch(upstream: Weak<Upstream>) {
    loop {
        let (bell, due) = {
            let Some(upstream) = alive(&upstream) else {
                return;
            };
            (upstream.guards.bell.clone(), upstream.settle_now())
        };
        let at_most = Instant::now() + LONGEST_WAIT;
        let due = due.map_or(at_most, |due| due.min(at_most));
        let _ = tokio::time::timeout_at(due.into(), bell.notified()).await;
        // Where many endpoints fail at once they are looked at together.
        tokio::time::sleep(PACE).await;
    }
}
