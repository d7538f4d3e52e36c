//! The orders service's stream of server-sent events: what happens to orders, one thing a second.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_core::Stream;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Interval;

use super::dice::roll;
use super::orders::Order;

/// How many events a stream of `/events` has before it ends.
const EVENTS: u32 = 100;
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// The events of one listener: one a second, [`EVENTS`] at most, none after the shutdown signal.
struct Events {
    tick: Interval,
    sent: u32,
    shutdown: watch::Receiver<bool>,
}

pub(super) fn routes(shutdown: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/events", get(events))
        .with_state(shutdown)
}

/// Server-sent events. A client that comes back with `Last-Event-ID` goes on where it was.
async fn events(State(shutdown): State<watch::Receiver<bool>>, headers: HeaderMap) -> Sse<Events> {
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Sse::new(Events {
        tick: tokio::time::interval(EVENT_EVERY),
        sent: last.unwrap_or(0),
        shutdown,
    })
}

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.sent >= EVENTS {
            return Poll::Ready(None);
        }
        ready!(self.tick.poll_tick(context));
        if *self.shutdown.borrow() {
            return Poll::Ready(None);
        }
        self.sent += 1;
        Poll::Ready(Some(Ok(event(self.sent))))
    }
}

fn event(number: u32) -> Event {
    let order = Order::new(1 + roll(number, "event", 100));
    let data =
        json!({ "order_id": order.id, "status": order.status, "total_cents": order.total_cents });
    Event::default()
        .id(number.to_string())
        .event("order_status")
        .data(data.to_string())
}

#[cfg(test)]
mod tests {
    use crate::demo::client::{Shopper, get_all, get_until};

    #[tokio::test]
    async fn events_arrive_as_they_happen() {
        let shop = Shopper::enter().await;
        let start = get_until(shop.addresses.orders, "/events", "\ndata: ").await;
        assert!(start.contains("content-type: text/event-stream"), "{start}");
        assert!(start.contains("event: order_status"), "{start}");
        assert!(
            !start.contains("id: 2\n"),
            "the second event came with the first: {start}"
        );
    }

    #[tokio::test]
    async fn a_stream_goes_on_after_the_last_event_seen_and_ends() {
        let shop = Shopper::enter().await;
        let request = "/events HTTP/1.1\r\nLast-Event-ID: 99\r\nX-Rest:";
        let rest = get_all(shop.addresses.orders, request).await;
        assert!(
            rest.contains("id: 100\n") && !rest.contains("id: 99\n"),
            "{rest}"
        );
        assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    }
}
