//! What an exchange waits for next, and for how long.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::{Attempt, Upload};
use crate::upstream::connect::Turn;
use crate::upstream::outcome::Outcome;

impl Attempt {
    /// A connection is there and the header of the request is about to be sent on it.
    pub fn connected(&mut self) {
        self.silent_since = None;
        self.sending(Instant::now());
    }

    /// Bytes of the response or of a tunnel have moved: the idle clock starts again. False where the whole
    /// exchange has taken longer than it may.
    pub fn moved(&mut self, now: Instant) -> bool {
        self.awaits_client = false;
        self.heard = Some(now);
        self.end = None;
        self.silent_since = None;
        self.allow(now, self.upstream.timeouts().idle.as_std())
    }

    /// The header of a response has come, other than an interim one; of a call of gRPC, with its status where it ends
    /// with that.
    /// How long that took from the end of the request on, where it did not come before.
    pub fn answered(
        &mut self,
        now: Instant,
        status: StatusCode,
        grpc: Option<u8>,
    ) -> Option<Duration> {
        self.forgive_debt();
        self.take_in_hedge(now);
        let asked = self.asked.take();
        let time = asked.map(|asked| now.saturating_duration_since(asked));
        self.tell(now, Outcome::answered(status, grpc, time));
        time
    }

    /// Nothing moves until then, for a reason of the gateway's own. False as for [`Attempt::moved`], where that is later
    /// than the whole exchange may take.
    pub fn pausing(&mut self, until: Instant) -> bool {
        self.allow(until, self.upstream.timeouts().idle.as_std())
    }

    /// From now on the client may be silent for no longer than this. Says nothing where either side may be silent.
    pub fn limit_client(&mut self, silence: Duration) {
        if let Some(idle) = &mut self.client_idle {
            *idle = silence;
        }
    }

    /// A part of the request has been sent, and more is to come. False as for [`Attempt::moved`].
    pub fn sending(&mut self, now: Instant) -> bool {
        if self.is_tunnel {
            return self.moved(now);
        }
        self.end = None;
        match self.client_idle {
            // Once there is a response, what its two sides wait for is their own business.
            Some(silence) if self.heard.is_none() => {
                self.awaits_client = true;
                self.allow(now, silence)
            }
            _ => self.allow(now, self.upstream.timeouts().idle.as_std()),
        }
    }

    /// The whole request has been sent; the clock for the first byte starts. False as for [`Attempt::moved`].
    pub fn sent(&mut self, now: Instant) -> bool {
        self.awaits_client = false;
        let timeouts = self.upstream.timeouts();
        let silence = match self.heard {
            None => timeouts.first_byte,
            Some(_) => timeouts.idle,
        };
        let silence = silence.as_std();
        if self.upload == Upload::Body && self.heard.is_none() {
            // What the client has taken is not taken from the upstream's time.
            let limit = self.upstream.timeouts().per_try;
            self.end = limit.map(|limit| now + limit.as_std());
        }
        self.asked = Some(now);
        self.is_sent = true;
        self.silent_since = Some(now);
        self.allow(now, silence)
    }

    /// The connection has become a tunnel (101): it may live on as long as it is not silent.
    pub fn upgraded(&mut self, now: Instant) {
        self.deadline = None;
        self.is_tunnel = true;
        self.upload = Upload::Body;
        self.moved(now);
    }

    /// The end of this try, where it has one: its own, or that of the exchange.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        match (self.deadline, self.end) {
            (Some(deadline), Some(end)) => Some(deadline.min(end)),
            (deadline, end) => deadline.or(end),
        }
    }

    /// How long this try may take from now on, where that is limited.
    pub fn left(&self) -> Option<Duration> {
        let now = Instant::now();
        let limit = self.upstream.timeouts().per_try;
        // Of a try whose request is still to be sent, the time has not begun.
        let end = self.end.or_else(|| limit.map(|limit| now + limit.as_std()));
        let ends = [self.deadline, end].into_iter().flatten().min();
        ends.map(|end| end.saturating_duration_since(now))
    }

    /// Whether the whole exchange has taken longer than it may.
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The exchange is over and its connection may serve others.
    pub fn finished(&mut self) {
        if let Some(turn) = self.turn() {
            turn.lift();
        }
    }

    /// Whether a deadline of this exchange has ended it, whatever the engine makes of the end.
    pub(super) fn has_fired(&self) -> bool {
        let turn = self.turn().is_some_and(Turn::has_fired);
        let clock = self.clock.as_ref().is_some_and(|clock| clock.has_fired());
        turn || clock || self.is_stalled()
    }

    pub(super) fn turn(&self) -> Option<&Turn> {
        self.call.as_ref()?.turn()
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.clock.as_ref().is_some_and(|clock| clock.is_stalled())
    }

    pub(super) fn allow(&self, now: Instant, silence: Duration) -> bool {
        if let Some(turn) = self.turn() {
            turn.wait(now, silence, self.ends_at());
        }
        if let Some(clock) = &self.clock {
            // The end of the exchange it knows.
            let left = self.end.map(|end| end.saturating_duration_since(now));
            clock.restart(now, left.map_or(silence, |left| left.min(silence)));
        }
        self.deadline.is_none_or(|deadline| now < deadline)
    }
}
