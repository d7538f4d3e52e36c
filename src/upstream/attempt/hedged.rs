//! A try that may go to a second endpoint as well; see [`hedge`](crate::upstream::hedge).

use std::sync::Arc;
use std::time::Instant;

use super::Attempt;
use crate::response::Code;
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
    pub(super) fn plan_hedge(&mut self, endpoint: &Arc<Endpoint>, now: Instant) -> Option<Plan> {
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
        Some(Plan {
            upstream: self.upstream.clone(),
            wish,
            tried,
            after,
            deadline: self.deadline,
            largest_part: self.largest_part.map_or(ANY_PART, |it| it.get() as usize),
        })
    }

    /// Takes in that a second endpoint was asked, and where that has answered first, goes on with it.
    pub(super) fn take_in_hedge(&mut self, now: Instant) {
        let Some(call) = &self.call else { return };
        if self.hedged.is_none() && call.is_hedged() {
            self.hedged = Some(Hedged::Asked);
            self.attempts += 1;
        }
        let Some(won) = call.winner() else { return };
        let Some((lease, place)) = won.take() else {
            return;
        };
        let outcome = match (won.is_first_gone, call.has_first_fired()) {
            (false, _) => {
                let asked = self.asked.unwrap_or(now);
                Some(Outcome::overtaken(now.saturating_duration_since(asked)))
            }
            (true, true) => Some(Outcome::failed(Code::UpstreamTimeout)),
            (true, false) if call.was_spare() => None,
            (true, false) => Some(Outcome::failed(Code::UpstreamReset)),
        };
        self.asked = Some(won.asked);
        self.silent_since = Some(won.asked);
        self.hedged = Some(Hedged::Won);
        self.places.extend(place);
        if let Some(mut first) = self.lease.replace(lease) {
            if let Some(outcome) = outcome {
                let (endpoint, probes) = (&first.endpoint, &mut first.probes);
                self.upstream.learn(endpoint, probes, now, &outcome);
            }
            self.tried.push(first.endpoint.clone());
        }
    }
}
