//! The way past an upstream's breaker, and through the bulkheads of a route and of its upstream.

use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::exchange::Exchange;
use crate::limits::{Entry, Refused};
use crate::response::{Code, Reply};

/// Takes the places that the exchange needs, or waits for them. A reply where there is none to be had.
pub(super) async fn enter(exchange: &mut Exchange) -> Option<Reply> {
    let (class, attempt) = (exchange.facts.criticality, exchange.attempt.as_mut()?);
    // Nobody needs to wait for a place then.
    if let Some(again) = attempt.upstream().shut_for(Instant::now()) {
        return Some(shut(again));
    }
    let doors = std::mem::take(&mut exchange.doors);
    for (door, code) in doors.into_iter().zip([Code::RouteBusy, Code::UpstreamBusy]) {
        let Some(door) = door else { continue };
        let entered = match door.enter(class, attempt.deadline()) {
            Entry::Now(place) => Ok(place),
            // Boxed, so that who need not wait does not carry the size of it.
            Entry::Later(pending) => Box::pin(pending.turn()).await,
            Entry::Never(refused) => Err(refused),
        };
        match entered {
            Ok(place) => attempt.hold(place),
            // The places that it has are given back before the reply is written.
            Err(refused) => return Some(refuse(code, refused)),
        }
    }
    None
}

impl Exchange {
    /// Whether there is a limit to come past on the way to the upstream, or it is left alone now.
    pub(super) fn has_doors(&self) -> bool {
        let attempt = self.attempt.as_ref();
        !matches!(self.doors, [None, None]) || attempt.is_some_and(|it| it.upstream().is_shut())
    }
}

#[cold]
fn shut(again: Duration) -> Reply {
    let mut reply = Reply::failure(Code::CircuitOpen);
    reply.headers.push((RETRY_AFTER, retry_after(again)));
    reply
}

/// Never too early: a started second is a whole one, and there is one at least.
pub(super) fn retry_after(again: Duration) -> HeaderValue {
    let seconds = again.as_secs() + u64::from(again.subsec_nanos() > 0);
    seconds.max(1).into()
}

#[cold]
fn refuse(code: Code, refused: Refused) -> Reply {
    let mut reply = Reply::failure(code).cause(refused.cause());
    // Nobody knows when there will be room; places become free all the time.
    let soon = HeaderValue::from_static("1");
    reply.headers.push((RETRY_AFTER, soon));
    reply
}
