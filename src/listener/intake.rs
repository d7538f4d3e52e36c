//! Clients that take their responses slowly.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

use super::Connection;
use super::pace::Pace;

/// How quickly a client takes what it is sent, by what its system acknowledges. The time counts in which the
/// gateway has something to send and the socket takes none of it; while the gateway itself has nothing to say, as in
/// a stream of events, nobody is slow.
///
/// It comes into being when a socket is full for the first time, which most never are.
#[derive(Debug)]
pub(super) struct Intake {
    pace: Pace,
    wait: Option<Wait>,
}

/// The socket is full.
#[derive(Debug)]
struct Wait {
    since: Instant,
    /// Bytes that the client had acknowledged by then.
    taken: u64,
    timer: Pin<Box<Sleep>>,
}

impl Intake {
    pub(super) fn of(connection: &Connection) -> Intake {
        let listener = &connection.listener;
        let window = listener.timeouts.request_body_idle.as_std();
        Intake {
            pace: Pace::new(listener.limits.response_min_rate, window),
            wait: None,
        }
    }

    /// The socket has accepted bytes. `taken` tells how many the client has acknowledged in all.
    pub(super) fn moved(&mut self, accepted: usize, taken: impl FnOnce() -> u64) {
        if let Some(wait) = self.wait.take() {
            let taken = taken().saturating_sub(wait.taken);
            let moved = taken.max(accepted as u64);
            self.pace.moved(wait.since.elapsed(), moved);
        }
    }

    /// The socket is full. Ready once the client has been too slow.
    ///
    /// A socket that was full accepts more only when a good part of it is free, which may be megabytes; so when the
    /// time is up, what the client has taken meanwhile still counts for it.
    pub(super) fn poll_full(&mut self, cx: &mut Context<'_>, taken: impl Fn() -> u64) -> Poll<()> {
        let Intake { pace, wait } = self;
        let wait = wait.get_or_insert_with(|| Wait {
            since: Instant::now(),
            taken: taken(),
            timer: Box::pin(tokio::time::sleep(pace.left())),
        });
        loop {
            ready!(wait.timer.as_mut().poll(cx));
            let (now, taken) = (Instant::now(), taken());
            pace.moved(now - wait.since, taken.saturating_sub(wait.taken));
            (wait.since, wait.taken) = (now, taken);
            if pace.left().is_zero() {
                return Poll::Ready(());
            }
            wait.timer.as_mut().reset((now + pace.left()).into());
        }
    }
}
