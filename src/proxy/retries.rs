//! Sending a request again: whether it can be, whether a response is reason enough.

use std::time::Instant;

use http::Version;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::exchange::Exchange;
use super::heads::has_begun;
use crate::response::Code;
use crate::upstream::{Attempt, Peer, Replay, Retry, Upload, grpc_status};

/// Whether the request can be sent again.
pub(super) fn replay(session: &Session, retry: &Retry) -> Replay {
    let session: &ServerSession = session.as_ref();
    if session.retry_buffer_truncated() || has_begun(session) {
        return Replay::Never;
    }
    let request = session.req_header();
    match retry.may_repeat(&request.method, &request.headers) {
        true => Replay::Always,
        false => Replay::IfUnprocessed,
    }
}

/// Whether another endpoint may be asked as well. What is sent for a client of HTTP/1.0 may name the first one.
fn may_hedge(session: &Session, attempt: &Attempt, upload: Upload) -> bool {
    upload == Upload::Nothing
        && !session.downstream_session.is_upgrade_req()
        && session.req_header().version != Version::HTTP_10
        && replay(session, attempt.retry()) == Replay::Always
}

impl Exchange {
    /// Chooses an endpoint of the upstream.
    pub(super) fn pick(
        &mut self,
        session: &Session,
        upload: Upload,
    ) -> std::result::Result<Peer, Code> {
        let Some(attempt) = &mut self.attempt else {
            return Err(Code::Internal);
        };
        if attempt.retry().hedge().is_some() && may_hedge(session, attempt, upload) {
            attempt.hedge();
        }
        attempt.pick(upload)
    }

    /// Whether the request can be sent again, to this upstream or to another one.
    pub(super) fn replay(&self, session: &Session) -> Replay {
        let attempt = self.attempt.as_ref();
        attempt.map_or(Replay::Never, |attempt| replay(session, attempt.retry()))
    }

    /// The header of an upstream's response has come. An error where the client is to have another one.
    pub(super) fn weigh(&mut self, session: &Session, response: &ResponseHeader) -> Result<()> {
        let Some(attempt) = &mut self.attempt else {
            return Ok(());
        };
        let grpc = match self.is_grpc {
            true => grpc_status(&response.headers),
            false => None,
        };
        let Some(unwanted) = attempt.unwanted(response.status, grpc) else {
            return Ok(());
        };
        let replay = replay(session, attempt.retry());
        if !attempt.tries_again(unwanted, replay, &response.headers) {
            return Ok(());
        }
        attempt.answered(Instant::now(), response.status, grpc);
        let status = ErrorType::HTTPStatus(response.status.as_u16());
        Err(Error::explain(status, "it is tried again").into_up())
    }
}
