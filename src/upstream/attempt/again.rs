//! Another try for a request whose last one came to nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, StatusCode};

use super::{Attempt, Replay};
use crate::response::Code;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::outcome::Probes;
use crate::upstream::retry::{Debt, retry_after};
use crate::upstream::{Reason, Stop};

/// What is known of tries that have failed. Most exchanges have none.
#[derive(Debug)]
pub(super) struct Again {
    /// What the last one was sent again for; `None` where it was not.
    reason: Option<Reason>,
    /// Why it was not sent again after that.
    stop: Option<Stop>,
    /// Whether the last went to an endpoint that had been tried.
    is_same: bool,
    /// How long to wait before the next.
    wait: Duration,
    /// Where the last is still to be counted, if it fails.
    debt: Option<Debt>,
    /// Whether there is another try to come, so that the engine's failure of this one means nothing more.
    is_decided: bool,
}

/// A response that may be reason for another try.
#[derive(Clone, Copy, Debug)]
pub struct Unwanted {
    reason: Reason,
}

impl Attempt {
    /// Whether a response is one that there may be a better one for. Responses that are none cost a comparison.
    pub fn unwanted(&self, status: StatusCode, grpc: Option<u8>) -> Option<Unwanted> {
        let is_failure = status.as_u16() >= 400 || grpc.is_some_and(|number| number != 0);
        if !is_failure || !self.retry().looks_at_answers() {
            return None;
        }
        let reasons = [grpc.map(Reason::Grpc), Some(Reason::Status(status))];
        let mut reasons = reasons.into_iter().flatten();
        let reason = reasons.find(|reason| self.retry().wants(*reason))?;
        Some(Unwanted { reason })
    }

    /// Whether there will be another try in the place of this response, which the client never sees then.
    pub fn tries_again(
        &mut self,
        Unwanted { reason }: Unwanted,
        replay: Replay,
        headers: &HeaderMap,
    ) -> bool {
        let now = Instant::now();
        self.take_in_hedge(now);
        let asked = retry_after(headers, SystemTime::now());
        let goes_on = self.goes_on(now, reason, replay, asked);
        if let Some(again) = &mut self.again {
            again.is_decided = goes_on;
        }
        goes_on
    }

    /// What the request was last sent again for, and whether to an endpoint that had been tried; and why not once more.
    pub fn retried(&self) -> (Option<(&str, bool)>, Option<&'static str>) {
        let Some(again) = &self.again else {
            return (None, None);
        };
        let reason = again.reason.as_ref();
        let reason = reason.map(|reason| (reason.as_str(), again.is_same));
        (reason, again.stop.map(Stop::as_str))
    }

    /// How long to wait before the next choice of an endpoint; for nothing where there is none to wait for.
    pub fn take_wait(&mut self) -> Option<Duration> {
        let again = self.again.as_mut()?;
        let wait = std::mem::take(&mut again.wait);
        if wait.is_zero() {
            return None;
        }
        // What is left of the try that has failed must not end the wait.
        self.end = None;
        let idle = self.upstream.timeouts().idle.as_std();
        self.allow(Instant::now(), wait + idle);
        Some(wait)
    }

    /// Whether another try is decided on; said once.
    pub(super) fn is_decided(&mut self) -> bool {
        let again = self.again.as_mut();
        again.is_some_and(|again| std::mem::take(&mut again.is_decided))
    }

    /// Chooses an endpoint that has not been tried, or any where there is none.
    pub(super) fn choose(&mut self, now: Instant) -> Result<(Arc<Endpoint>, Probes), Code> {
        let wish = self.affinity.wish(now);
        let Some(again) = &mut self.again else {
            return self.upstream.pick(&wish, &self.tried);
        };
        let other = self.upstream.pick(&wish, &self.tried);
        again.is_same = other.is_err();
        let chosen = other.or_else(|code| match self.tried.is_empty() {
            true => Err(code),
            false => self.upstream.pick(&wish, &[]),
        })?;
        if let Some(reason) = &again.reason {
            let metrics = self.upstream.metrics();
            metrics.count_retry(reason.as_str(), !again.is_same);
        }
        Ok(chosen)
    }

    /// A try that was owed has failed as well.
    pub(super) fn pay_debt(&mut self, now: Instant) {
        pay(now, self.again.as_mut().and_then(|again| again.debt.take()));
    }

    /// Another try begins: nothing of the last one counts for it.
    pub(super) fn forget_try(&mut self, now: Instant) {
        // Its places at half-open breakers are for this one, too.
        if let Some(lease) = &mut self.lease {
            lease.probes = Probes::default();
        }
        self.call = None;
        self.awaits_client = false;
        if let Some(clock) = &self.clock {
            clock.begin_again(now, self.upstream.timeouts().idle.as_std());
        }
    }

    /// Whether there is another try, and then all that is needed for it.
    pub(super) fn goes_on(
        &mut self,
        now: Instant,
        reason: Reason,
        replay: Replay,
        retry_after: Option<Duration>,
    ) -> bool {
        let wants = self.retry().wants(reason);
        let mut debt = self.again.as_mut().and_then(|again| again.debt.take());
        if !wants || reason != Reason::RefusedStream {
            pay(now, debt.take());
        }
        if !wants {
            return false;
        }
        if reason.is_against_endpoint()
            && let Some(lease) = &self.lease
        {
            self.tried.push(lease.endpoint.clone());
        }
        let planned = match self.plan(now, reason, replay, retry_after) {
            Ok(wait) => self.charge(now, reason, debt).map(|debt| (wait, debt)),
            Err(stop) => {
                pay(now, debt);
                Err(stop)
            }
        };
        let again = self.again.get_or_insert_default();
        match planned {
            Ok((wait, debt)) => {
                **again = Again {
                    reason: Some(reason),
                    wait,
                    debt,
                    ..Again::default()
                };
                true
            }
            Err(stop) => {
                again.stop = Some(stop);
                self.upstream.metrics().count_stopped_retry(stop.as_str());
                false
            }
        }
    }

    /// How long to wait before another try, or why there is none.
    fn plan(
        &self,
        now: Instant,
        reason: Reason,
        replay: Replay,
        retry_after: Option<Duration>,
    ) -> Result<Duration, Stop> {
        let retry = self.retry();
        match (reason, replay) {
            (_, Replay::Never) => return Err(Stop::Begun),
            (_, Replay::Always) | (Reason::Connect | Reason::RefusedStream, _) => {}
            _ => return Err(Stop::Method),
        }
        if self.attempts >= retry.attempts() {
            return Err(Stop::Attempts);
        }
        let has_other = self.upstream.has_other(&self.tried);
        if !has_other && reason == Reason::Connect && !retry.returns() {
            return Err(Stop::Endpoints);
        }
        let is_of_all = reason == Reason::Status(StatusCode::TOO_MANY_REQUESTS);
        let asked = retry_after.filter(|_| is_of_all || !has_other);
        if asked.is_some_and(|asked| asked > retry.longest_wait()) {
            return Err(Stop::RetryAfter);
        }
        let backoff = match reason.is_light() && has_other {
            true => Duration::ZERO,
            false => retry.backoff(self.attempts),
        };
        let wait = backoff.max(asked.unwrap_or_default());
        if self.deadline.is_some_and(|deadline| now + wait >= deadline) {
            return Err(Stop::Deadline);
        }
        Ok(wait)
    }

    /// Takes another try out of the upstream's budget, at once or as a debt.
    ///
    /// Streams are refused as well because the gateway cannot know yet how many an endpoint takes at a time on a new
    /// connection, and some of them more than once. So these are paid for only by a request that fails in the end.
    fn charge(
        &self,
        now: Instant,
        reason: Reason,
        debt: Option<Debt>,
    ) -> Result<Option<Debt>, Stop> {
        let budget = &self.upstream.budget;
        match debt {
            Some(debt) => match debt.owe_more(now) {
                Ok(debt) => Ok(Some(debt)),
                Err(debt) => {
                    debt.pay(now);
                    Err(Stop::Budget)
                }
            },
            None if reason.is_light() => match budget.owe(now) {
                Some(debt) => Ok(Some(debt)),
                None => Err(Stop::Budget),
            },
            None if budget.spend(now) => Ok(None),
            None => Err(Stop::Budget),
        }
    }

    /// A try has done well that had cost nothing so far.
    pub(super) fn forgive_debt(&mut self) {
        if let Some(again) = &mut self.again {
            again.debt = None;
        }
    }
}

fn pay(now: Instant, debt: Option<Debt>) {
    if let Some(debt) = debt {
        debt.pay(now);
    }
}

impl Default for Again {
    fn default() -> Again {
        Again {
            reason: None,
            stop: None,
            is_same: false,
            wait: Duration::ZERO,
            debt: None,
            is_decided: false,
        }
    }
}
