//! The bodies of an exchange as they pass: their clocks, and the policies that look at them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::{Error, Result};

use super::bodies::Refused;
use super::exchange::Exchange;
use crate::listener::Pace;
use crate::response::Code;

impl Exchange {
    /// A part of the request's body has gone up; `ends` where it was the last.
    pub(super) fn sent(&mut self, bytes: usize, ends: bool) -> Result<()> {
        let now = Instant::now();
        if !ends {
            self.keep_pace(now, bytes);
        }
        let is_in_time = match &mut self.attempt {
            Some(attempt) if ends => attempt.sent(now),
            Some(attempt) => attempt.sending(now),
            None => true,
        };
        self.in_time(is_in_time)
    }

    /// A client that sends its body slowly may be silent for less and less of the time.
    fn keep_pace(&mut self, now: Instant, bytes: usize) {
        let (Some(attempt), Some(connection), None) =
            (&mut self.attempt, &self.connection, self.first_byte)
        else {
            return;
        };
        let listener = &connection.listener;
        let (pace, since) = self.pace.get_or_insert_with(|| {
            let window = listener.timeouts.request_body_idle.as_std();
            let pace = Pace::new(listener.limits.request_body_min_rate, window);
            (pace, self.began)
        });
        // What took longer than the client may be silent was no silence of the client's: somebody would have cut it
        // off. It was the upstream that took no more.
        let waited = Some(now - *since).filter(|waited| *waited <= pace.left());
        pace.moved(waited.unwrap_or_default(), bytes as u64);
        *since = now;
        attempt.limit_client(pace.left());
    }

    /// Shows a part of the request's body to the policies that look at it.
    pub(super) async fn see(&mut self, part: Option<&Bytes>, ends: bool) -> Result<()> {
        let seen = self.bodies.see_request(part, ends).await;
        // As an error of the client's side it makes the engine cancel the upstream's stream; as any other it would
        // only stop sending, and wait for a response to half a request.
        let pause = seen.map_err(|refused| self.refuse(refused).into_down())?;
        if !pause.is_zero() {
            self.pause_request(pause, ends).await?;
        }
        Ok(())
    }

    /// Lets a part of the request's body wait, for which neither side is to blame.
    async fn pause_request(&mut self, pause: Duration, ends: bool) -> Result<()> {
        // As above.
        self.pausing(pause).map_err(|error| error.into_down())?;
        tokio::time::sleep(pause).await;
        let now = Instant::now();
        if let Some((_, since)) = &mut self.pace {
            *since = now;
        }
        let is_in_time = match &mut self.attempt {
            Some(attempt) if ends => attempt.sent(now),
            Some(attempt) => attempt.sending(now),
            None => true,
        };
        self.in_time(is_in_time)
    }

    /// A part of either body waits for so long before it goes on. Where the exchange may not take as long, it ends now, and
    /// the upstream has nothing to do with it.
    fn pausing(&mut self, pause: Duration) -> Result<()> {
        let until = Instant::now() + pause;
        let attempt = self.attempt.as_mut();
        if attempt.is_none_or(|attempt| attempt.pausing(until)) {
            return Ok(());
        }
        Err(self.give_up(Code::ExchangeTimeout))
    }

    fn refuse(&mut self, refused: Refused) -> Box<Error> {
        self.again = refused.again;
        self.give_up(refused.code)
    }

    /// Takes a part of the response's body through the policies that change it. How long it has to wait, if it has to, and
    /// nobody else sees to that.
    pub(super) fn pass(
        &mut self,
        part: &mut Option<Bytes>,
        ends: bool,
    ) -> Result<Option<Duration>> {
        let passed = self.bodies.pass_response(part, ends);
        let pause = passed.map_err(|refused| self.refuse(refused))?;
        if pause.is_zero() {
            return Ok(None);
        }
        self.pausing(pause)?;
        let Some(seat) = &self.seat else {
            return Ok(Some(pause));
        };
        seat.pause(pause);
        Ok(None)
    }

    /// A part of the response's body has come down.
    pub(super) fn moved(&mut self) -> Result<()> {
        let now = Instant::now();
        let is_in_time = self
            .attempt
            .as_mut()
            .is_none_or(|attempt| attempt.moved(now));
        self.in_time(is_in_time)
    }

    fn in_time(&mut self, is_in_time: bool) -> Result<()> {
        if is_in_time {
            return Ok(());
        }
        Err(self.give_up(Code::UpstreamTimeout))
    }
}
