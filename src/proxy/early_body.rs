//! Bodies that somebody has to see before a request goes on.
//!
//! The engine keeps up to 64 KiB of what is read of a body, and sends it to the upstream in the place of what it
//! would read itself; so nothing that is read here is lost, as long as there is no more of it.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::proxy::Session;
use pingora::{Error, Result};

use super::deadline::Allowance;
use crate::response::{Code, Reply};

/// Reads the whole body, of at most `limit` bytes. The reply where it is longer, or takes longer than it is allowed; an
/// error where the client is gone.
pub(super) async fn read(
    session: &mut Session,
    limit: usize,
    allowance: Allowance,
) -> Result<Result<Bytes, Reply>> {
    if session.is_body_empty() {
        return Ok(Ok(Bytes::new()));
    }
    let length = session.req_header().headers.get(CONTENT_LENGTH);
    let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length| length > limit) {
        return Ok(Err(too_large()));
    }
    if session.req_header().headers.contains_key(EXPECT) {
        let told = session.write_continue_response().await;
        told.map_err(|error| error.into_down())?;
    }
    session.enable_retry_buffering();
    match tokio::time::timeout(allowance.time, read_up_to(session, limit)).await {
        Ok(read) => Ok(read?.ok_or_else(too_large)),
        Err(_) => Ok(Err(Reply::failure(allowance.code).closing())),
    }
}

fn too_large() -> Reply {
    Reply::failure(Code::PayloadTooLarge).closing()
}

/// `None` where there is more.
async fn read_up_to(session: &mut Session, limit: usize) -> Result<Option<Bytes>, Box<Error>> {
    let mut body = BytesMut::new();
    // The engine does not say everywhere that it is the client who cannot be read.
    let of_client = |error: Box<Error>| error.into_down();
    while let Some(part) = session.read_request_body().await.map_err(of_client)? {
        if body.len() + part.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body.freeze()))
}
