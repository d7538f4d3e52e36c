//! What becomes of an exchange whose try has failed.

use std::time::{Duration, Instant};

use pingora::{Error, ErrorType, RetryType};

use super::{Attempt, Failure, Lease, Replay, Verdict};
use crate::response::{Code, Fault, rescue};
use crate::upstream::Reason;
use crate::upstream::outcome::Outcome;

/// A response that breaks off so soon behind its header has done so by itself: no server gives those who read it less time.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Failure<'_> {
    /// Whether the request can be sent once more, to whomever.
    pub fn can_be_sent(&self) -> bool {
        match self.replay {
            Replay::Never => false,
            Replay::IfUnprocessed => self.is_unprocessed(),
            Replay::Always => true,
        }
    }

    /// Whether the upstream says that it has not looked at the request (RFC 9113 section 8.7).
    fn is_unprocessed(&self) -> bool {
        let is_refused = matches!(self.error.retry, RetryType::Decided(true));
        *self.error.etype() == ErrorType::H2Error && is_refused
    }
}

impl Attempt {
    /// The connection could not be made. Nothing has been sent, so any request may go to another endpoint.
    pub fn failed_to_connect(&mut self, error: &Error, replay: Replay) -> Verdict {
        let code = self.code(error);
        self.count(code);
        self.blame(code);
        self.settle(Some(Reason::Connect), replay, code)
    }

    /// The exchange broke, or its response is not the one that the client is to have.
    pub fn failed_in_exchange(&mut self, failure: &Failure<'_>) -> Verdict {
        if self.is_decided() {
            return Verdict::Retry;
        }
        self.take_in_hedge(Instant::now());
        let code = failure.raised.unwrap_or_else(|| self.code(failure.error));
        self.count(code);
        let reason = self.reason(failure, code);
        // That a connection was closed while it was not in use is nobody's failure.
        let is_nobodys = match &reason {
            Some(Reason::Stale) => true,
            Some(Reason::RefusedStream) => failure.was_pooled,
            _ => false,
        };
        if !is_nobodys {
            self.blame(code);
        }
        self.settle(reason, failure.replay, code)
    }

    fn settle(&mut self, reason: Option<Reason>, replay: Replay, code: Code) -> Verdict {
        if reason.is_none() && code.fault() == Fault::Upstream {
            self.pay_debt(Instant::now());
        }
        match reason.is_some_and(|reason| self.goes_on(Instant::now(), reason, replay, None)) {
            true => Verdict::Retry,
            false => Verdict::GiveUp(code),
        }
    }

    /// What there is to be said for another try.
    fn reason(&self, failure: &Failure<'_>, code: Code) -> Option<Reason> {
        let kind = failure.error.etype();
        if failure.is_unprocessed() {
            return Some(Reason::RefusedStream);
        }
        if self.heard.is_some() {
            return None;
        }
        // Of who has won it is not known.
        let call = self.call.as_ref().filter(|call| call.winner().is_none());
        let was_spare = call.is_some_and(|call| call.was_spare());
        let is_closed = matches!(
            kind,
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
        );
        match code {
            Code::UpstreamReset if (failure.was_pooled || was_spare) && is_closed => {
                Some(Reason::Stale)
            }
            Code::UpstreamReset | Code::UpstreamProtocol => Some(Reason::Reset),
            Code::UpstreamTimeout if !self.is_late() => Some(Reason::Timeout),
            _ => None,
        }
    }

    /// Counts a failure where it is the upstream's: a client that leaves says nothing about it.
    pub(super) fn count(&self, code: Code) {
        if code.fault() == Fault::Upstream {
            self.upstream.metrics().count_failure(code.slug());
        }
    }

    /// Tells that the endpoint has failed, where it has, and where no client can have brought it about.
    fn blame(&mut self, code: Code) {
        let now = Instant::now();
        let is_own = match code {
            // Behind the header it may be the client who takes nothing, and how large is too large is said elsewhere.
            Code::UpstreamTimeout if self.told.is_some() => false,
            // For a client that takes nothing an endpoint may close as well, but not so soon.
            Code::UpstreamReset if self.told.is_some_and(|told| now > told + AT_ONCE) => false,
            // It may have had enough of what a client sends, or of how.
            Code::UpstreamReset if self.is_tunnel || !self.is_sent => false,
            Code::UpstreamResponseTooLarge => false,
            _ => code.fault() == Fault::Upstream && (!self.is_late() || self.was_silent(now)),
        };
        match (is_own, self.told.is_some()) {
            (false, _) => {}
            (true, false) if self.is_late() => self.tell(now, Outcome::silent()),
            (true, false) => self.tell(now, Outcome::failed(code)),
            (true, true) => self.tell(now, Outcome::broken_off(code)),
        }
    }

    pub(super) fn tell(&mut self, now: Instant, outcome: Outcome) {
        self.told = Some(now);
        if let Some(Lease { endpoint, probes }) = &mut self.lease {
            self.upstream.learn(endpoint, probes, now, &outcome);
        }
    }

    /// Whether the endpoint has let enough of the exchange's time pass in silence for the end of that to be its failure.
    /// Clients could otherwise make any endpoint fail, by being in a hurry or by taking their time.
    fn was_silent(&self, now: Instant) -> bool {
        match (self.blamed_after, self.silent_since) {
            (Some(needed), Some(since)) => now.saturating_duration_since(since) >= needed,
            _ => false,
        }
    }

    /// What an engine error means, given what is known of the deadlines.
    pub fn code(&self, error: &Error) -> Code {
        if self.call.as_ref().is_some_and(|call| call.is_refused()) {
            Code::UpstreamProtocol
        } else if self.is_late() {
            Code::UpstreamTimeout
        } else if !self.has_fired() {
            rescue(error)
        } else if self.awaits_client && !self.is_stalled() {
            Code::RequestTimeout
        } else {
            Code::UpstreamTimeout
        }
    }
}
