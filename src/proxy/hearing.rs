//! Whether the client is still there, while others work for it.

use std::future::pending;

use pingora::proxy::Session;
use pingora::{Error, ErrorType};

/// As much of a request's body is read that nobody wants, to hear its client leave. It costs no more room than a buffer, but who
/// has more to send can as well wait.
const MOST_UNWANTED: usize = 1 << 20;

/// Listens for a client to leave. What it sends meanwhile is dropped: the body of the request has to be nobody's any more.
pub(super) struct Hearing {
    room: usize,
    is_deaf: bool,
}

impl Hearing {
    pub(super) fn new() -> Hearing {
        Hearing {
            room: MOST_UNWANTED,
            is_deaf: false,
        }
    }

    /// Ends once the client has left, and never where it does not or cannot be heard any more. It may be dropped and asked again.
    pub(super) async fn left(&mut self, session: &mut Session) -> Box<Error> {
        let client = &mut session.downstream_session;
        while !self.is_deaf {
            let is_done = client.is_body_done();
            match client.read_body_or_idle(is_done).await {
                Ok(Some(part)) if !is_done => match self.room.checked_sub(part.len()) {
                    Some(left) => self.room = left,
                    None => self.is_deaf = true,
                },
                Ok(None) if !is_done => self.is_deaf = !client.is_body_done(),
                Ok(_) => self.is_deaf = true,
                // Slow is not gone, and what it is slow with is not waited for.
                Err(error) if *error.etype() == ErrorType::ReadTimedout => self.is_deaf = true,
                Err(error) => return error,
            }
        }
        pending().await
    }
}
