//! Actions that reply only after asking others, or after reading the request's body.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::proxy::Session;

use super::cache::{Answer, Fills};
use super::deadline::{Allowance, Deadline};
use super::exchange::Exchange;
use super::{aggregate, batch};
use crate::actions::Action;
use crate::response::{Code, Reply};

/// For the whole body. None of these is large.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The reply of the route's action.
///
/// It may be written by now.
pub(super) async fn answer(
    session: &mut Session,
    exchange: &mut Exchange,
    fills: &Fills,
) -> pingora::Result<Answer> {
    let action = exchange.route.action.clone();
    match &*action {
        Action::Aggregate(aggregate) => {
            aggregate::answer(session, exchange, aggregate, fills).await
        }
        _ => Ok(Answer::Reply(reply(session, exchange, fills).await)),
    }
}

async fn reply(session: &mut Session, exchange: &mut Exchange, fills: &Fills) -> Reply {
    let action = exchange.route.action.clone();
    if let Action::Batch(batch) = &*action {
        return batch::reply(session, exchange, batch, fills).await;
    }
    let Some(action) = exchange.route.action.later() else {
        return Reply::failure(Code::Internal);
    };
    let deadline = Deadline::of(exchange, session.req_header());
    let wanted = action.wants_body(exchange.view(session.req_header()));
    let body = match wanted {
        None => Bytes::new(),
        Some(most) => {
            let Allowance { time, code } = deadline.within(BODY_DEADLINE);
            match tokio::time::timeout(time, read(session, most)).await {
                Ok(Ok(body)) => body,
                Ok(Err(code)) => return Reply::failure(code).closing(),
                Err(_) => return Reply::failure(code).closing(),
            }
        }
    };
    let view = exchange.view(session.req_header());
    let answer = deadline.keep(action.answer(view, body)).await;
    answer.unwrap_or_else(|late| late)
}

async fn read(session: &mut Session, most: usize) -> Result<Bytes, Code> {
    let mut body = BytesMut::new();
    loop {
        let part = session.downstream_session.read_request_body().await;
        match part.map_err(|_| Code::ClientClosed)? {
            None => return Ok(body.freeze()),
            Some(part) if body.len() + part.len() > most => return Err(Code::PayloadTooLarge),
            Some(part) => body.extend_from_slice(&part),
        }
    }
}
