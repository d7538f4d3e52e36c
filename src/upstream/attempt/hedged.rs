//! A try that may go to a second endpoint as well; see [`hedge`](crate::upstream::hedge).

use std::sync::Arc;
use std::time::Instant;

use super::{Attempt, Lease};
use crate::response::Code;
use crate::upstream::dial::Call;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::hedge::Plan;
use crate::upstream::outcome::Outcome;

/// Where nobody has said how large parts are to be.
const ANY_PART: usize = usize::MAX;

/// What has become of the second endpoint's being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hedged {
    Asked,
    Won,
}

impl Attempt {
    /// Has the try that begins next hedged, where that is configured: the request has no body, and may be sent twice.
    pub fn hedge(&mut self) {
        self.may_hedge = true;
    }

    /// Whether a second endpoint was asked in the last try, and has answered first.
    pub fn hedged(&self) -> Option<&'static str> {
        Some(match self.hedged? {
            Hedged::Asked => "lost",
            Hedged::Won => "won",
        })
    }

    /// Whom else to ask where this endpoint takes its time. A session that has an endpoint stays there.
    pub(super) fn plan_hedge(
        &mut self,
        endpoint: &Arc<Endpoint>,
        now: Instant,
    ) -> Option<Box<Plan>> {
        self.hedged = None;
        if !std::mem::take(&mut self.may_hedge) {
            return None;
        }
        let after = self.retry().hedge()?;
        let wish = self.affinity.wish(now);
        if wish.tag.is_some() || self.attempts + 2 > self.retry().attempts() {
            return None;
        }
        let mut tried = self.tried.clone();
        tried.push(endpoint.clone());
        Some(Box::new(Plan {
            upstream: self.upstream.clone(),
            wish,
            tried,
            after,
            deadline: self.deadline,
            largest_part: self.largest_part.map_or(ANY_PART, |it| it.get() as usize),
        }))
    }

    /// Takes in that a second endpoint was asked, and where that has answered first, goes on with it.
    pub(super) fn take_in_hedge(&mut self, now: Instant) {
        let Some(call) = &self.call else { return };
        let Some(second) = call.hedged() else { return };
        if self.hedged.is_none() {
            self.hedged = Some(Hedged::Asked);
            self.attempts += 1;
            self.tried.push(second.clone());
        }
        let call = call.clone();
        let Some(won) = call.winner() else { return };
        let Some(lease) = won.take() else { return };
        self.hedged = Some(Hedged::Won);
        if let Some(first) = self.lease.replace(lease) {
            self.leave_behind(first, won.is_first_gone, &call, now);
        }
        self.asked = Some(won.asked);
        self.silent_since = Some(won.asked);
    }

    /// Tells how the first endpoint has done, which the second one has overtaken.
    fn leave_behind(&mut self, mut first: Lease, is_gone: bool, call: &Call, now: Instant) {
        let code = match call.has_first_fired() {
            true => Code::UpstreamTimeout,
            false => Code::UpstreamReset,
        };
        let outcome = match is_gone {
            false => {
                let asked = self.asked.unwrap_or(now);
                Outcome::overtaken(now.saturating_duration_since(asked))
            }
            // Nobody's failure: the exchange has come to its end, or the connection was closed while it was not in use.
            true if self.is_late() || (code == Code::UpstreamReset && call.was_spare()) => return,
            true => {
                self.count(code);
                Outcome::failed(code)
            }
        };
        self.upstream
            .learn(&first.endpoint, &mut first.probes, now, &outcome);
    }
}
