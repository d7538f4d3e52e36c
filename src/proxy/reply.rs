//! The one function through which every reply of the gateway leaves.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::bodies::pass_reply;
use super::doors::retry_after;
use super::exchange::Exchange;
use super::heads::has_begun;
use crate::listener::Connection;
use crate::response::{Code, Dialect, Reply, rescue};

/// Writes a reply: in the caller's dialect, through the response hooks of its route, with the request's ids.
pub(super) async fn write(
    session: &mut Session,
    exchange: &mut Exchange,
    mut reply: Reply,
) -> Result<()> {
    if exchange.filler.is_some() {
        exchange.fill_with(reply);
        return Ok(());
    }
    if exchange.part.is_some() {
        // Whoever puts the parts together is told why, and nobody reads the reply.
        exchange.outcome = reply.code.or(exchange.outcome);
        return Ok(());
    }
    let request = session.req_header();
    let is_head = request.method == Method::HEAD;
    let dialect = Dialect::of(request.headers.get(http::header::CONTENT_TYPE));
    reply.render(dialect, exchange.facts.request_id.as_str());
    exchange.outcome = reply.code.or(exchange.outcome);
    exchange.cause = reply.cause.take();
    let mut header = http::Response::new(()).into_parts().0;
    header.status = reply.status;
    for (name, value) in reply.headers {
        header.headers.append(name, value);
    }
    // RFC 9110 section 8.6: no Content-Length where there can be no content.
    let can_have_content =
        reply.status != StatusCode::NO_CONTENT && reply.status != StatusCode::NOT_MODIFIED;
    if can_have_content {
        header
            .headers
            .insert(CONTENT_LENGTH, reply.body.len().into());
    }
    exchange.finish(request, &mut header);
    let view = exchange.view(request);
    let bodies = exchange.route.pipeline.reply_body(&mut header, view);
    if can_have_content && !bodies.is_empty() {
        let body = pass_reply(bodies, reply.body).await;
        reply.body = body.map_err(super::error_of)?;
        header
            .headers
            .insert(CONTENT_LENGTH, reply.body.len().into());
    }
    if reply.close || exchange.is_last() {
        session.set_keepalive(None);
    }
    exchange
        .first_byte
        .get_or_insert_with(|| exchange.began.elapsed());
    if let Some(attempt) = &mut exchange.attempt {
        // Nothing more is asked of the upstream, however long the client takes to read this.
        attempt.leave();
    }
    let has_body = can_have_content && !is_head && !reply.body.is_empty();
    let header = Box::new(ResponseHeader::from(header));
    let mut writing = pin!(async {
        match has_body {
            true => write_whole(session, header, reply.body).await,
            false => write_header(session, header).await,
        }
    });
    let at_once = poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await;
    let written = match at_once {
        Poll::Ready(written) => written,
        Poll::Pending => {
            exchange.rest = exchange.connection.as_ref().map(Connection::rest);
            writing.await
        }
    };
    // The engine does not say everywhere that it is the client who cannot be written to.
    written.map_err(|error| error.into_down())
}

async fn write_whole(
    session: &mut Session,
    header: Box<ResponseHeader>,
    body: bytes::Bytes,
) -> Result<()> {
    session.write_response_header(header, false).await?;
    session.write_response_body(Some(body), true).await
}

pub(super) async fn write_header(session: &mut Session, header: Box<ResponseHeader>) -> Result<()> {
    match &mut *session.downstream_session {
        // The stream ends with its header: what is left open here is reset when the engine gives a failed session
        // up, and a gRPC client takes a header that does not end the stream for the beginning of a response.
        ServerSession::H2(stream) => stream.write_response_header(header, true),
        // The engine does not tell sessions of foreign protocols that it ends there.
        ServerSession::Custom(own) => own.write_response_header(header, true).await,
        _ => session.write_response_header(header, true).await,
    }
}

/// The end of an exchange that failed: replies where the client can still be told.
pub(super) async fn fail(
    session: &mut Session,
    exchange: &mut Exchange,
    error: &Error,
) -> FailToProxy {
    let refusal = exchange.refusal();
    if refusal.is_none()
        && !is_of_client(error)
        && !has_begun(session.as_ref())
        && let Some(reply) = exchange.fixed_reply(session.req_header())
    {
        let error_code = reply.status.as_u16();
        if let Err(cause) = write(session, exchange, reply.closing()).await {
            log::debug!("cannot reply: {cause}");
        }
        return FailToProxy {
            error_code,
            can_reuse_downstream: false,
        };
    }
    let code = match exchange.outcome {
        // The engine was told of an error in the middle of the request, and this is what it was about.
        _ if refusal.is_some() => refusal.map_or(Code::BadRequest, |refusal| refusal.code),
        Some(code) if !is_of_client(error) => code,
        _ => rescue(error),
    };
    exchange.outcome = Some(code);
    let status = code.status().as_u16();
    let is_gone = matches!(code, Code::ClientClosed | Code::ClientTooSlow);
    let is_too_late = is_gone || has_begun(session.as_ref());
    if !is_too_late {
        // The engine closes the connection after a failure: part of the request may still be on its way.
        let mut reply = Reply::failure(code).closing();
        let again = match code {
            Code::BandwidthExceeded => exchange.again,
            Code::CircuitOpen => {
                let attempt = exchange.attempt.as_ref();
                let shut = attempt.and_then(|it| it.upstream().shut_for(Instant::now()));
                // Where probes are under way nobody knows; they are soon back.
                Some(shut.unwrap_or_default())
            }
            _ => None,
        };
        if let Some(again) = again {
            reply.headers.push((RETRY_AFTER, retry_after(again)));
        }
        if let Err(cause) = write(session, exchange, reply).await {
            log::debug!("cannot reply: {cause}");
        }
    } else if code == Code::ShuttingDown && exchange.is_grpc {
        end_call(session, code).await;
    }
    FailToProxy {
        error_code: status,
        can_reuse_downstream: false,
    }
}

/// Ends a call of gRPC whose response has begun with a status of its own.
async fn end_call(session: &mut Session, code: Code) {
    let mut trailers = http::HeaderMap::new();
    let title = http::HeaderValue::from_static(code.title());
    trailers.insert("grpc-status", u16::from(code.grpc_status()).into());
    trailers.insert("grpc-message", title);
    let written = session.downstream_session.write_response_trailers(trailers);
    if let Err(cause) = written.await {
        log::debug!("cannot end the call: {cause}");
    }
}

/// A client that left says nothing about the upstream, whatever was noticed first. A status is what the gateway
/// itself has raised.
fn is_of_client(error: &Error) -> bool {
    *error.esource() == ErrorSource::Downstream
        && !matches!(error.etype(), ErrorType::HTTPStatus(_))
}

/// Closes the connection of a failed exchange. A client of HTTP/1.1 that is still sending is heard out for a moment:
/// to just let go of the connection would reset it, and the reset could overtake the reply.
pub(super) async fn hang_up(session: &mut Session) {
    if let ServerSession::H1(connection) = &mut *session.downstream_session {
        connection.shutdown().await;
    }
}
