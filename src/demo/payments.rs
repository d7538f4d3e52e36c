//! The payments service: takes a payment for an order and remembers it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;

use super::IDS;
use super::dice::pick;
use super::orders::Order;
use super::paging::Paging;
use super::payment_order::PaymentOrder;
use super::trouble::{MaybeQuery, Trouble};

/// How many payments taken at run time are remembered; the oldest go first.
const REMEMBERED: usize = 1_000;
#[derive(Clone, Serialize)]
pub(super) struct Payment {
    pub(super) id: u64,
    pub(super) order_id: u32,
    pub(super) amount_cents: u64,
    pub(super) currency: &'static str,
    pub(super) card: String,
    pub(super) status: &'static str,
}

/// The payments: those of the first hundred orders, which are computed, and those taken since, which are kept.
#[derive(Default)]
struct Till {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    count: u64,
    latest: VecDeque<Payment>,
}

pub(super) fn routes() -> Router {
    Router::new()
        .route("/payments", get(list).post(pay))
        .route("/payments/{id}", get(one))
        .with_state(Arc::new(Till::default()))
}

async fn list(
    State(till): State<Arc<Till>>,
    paging: MaybeQuery<Paging>,
) -> Result<Response, Trouble> {
    let Query(paging) = paging?;
    let mut all: Vec<Payment> = IDS.map(Payment::of_order).collect();
    all.extend(till.taken().latest.iter().cloned());
    Ok(paging.page(all))
}

async fn one(
    State(till): State<Arc<Till>>,
    Path(id): Path<String>,
) -> Result<Json<Payment>, Trouble> {
    if let Some(id) = super::known(&id) {
        return Ok(Json(Payment::of_order(id)));
    }
    let id: u64 = id.parse().map_err(|_| Trouble::unknown("payment"))?;
    let taken = till.taken();
    taken
        .latest
        .iter()
        .find(|payment| payment.id == id)
        .cloned()
        .map(Json)
        .ok_or_else(|| Trouble::unknown("payment"))
}

/// Takes a payment: 201 with its `Location`, 402 when the card is declined (`tok_declined`), 422 with every field
/// that is wrong.
async fn pay(
    State(till): State<Arc<Till>>,
    order: Result<Json<PaymentOrder>, JsonRejection>,
) -> Result<Response, Trouble> {
    let Json(order) = order?;
    let payment = match order.check() {
        Ok(payment) => payment,
        Err(fields) => {
            let body = json!({ "error": "invalid_payment", "message": "some fields are not valid", "fields": fields });
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response());
        }
    };
    if payment.card == "tok_declined" {
        return Err(Trouble::new(
            StatusCode::PAYMENT_REQUIRED,
            "card_declined",
            "the bank declined the card",
        ));
    }
    let payment = till.take(payment);
    let location = format!("/payments/{}", payment.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(payment),
    )
        .into_response())
}

impl Till {
    /// Gives the payment its id and remembers it.
    fn take(&self, mut payment: Payment) -> Payment {
        let mut taken = self.taken();
        taken.count += 1;
        payment.id = u64::from(*IDS.end()) + taken.count;
        if taken.latest.len() == REMEMBERED {
            taken.latest.pop_front();
        }
        taken.latest.push_back(payment.clone());
        payment
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payment {
    /// The payment that came with one of the first hundred orders; it has the order's id.
    fn of_order(id: u32) -> Self {
        let order = Order::new(id);
        let status = match order.status {
            "pending" => "authorized",
            "cancelled" => "refunded",
            _ => "captured",
        };
        Self {
            id: u64::from(id),
            order_id: id,
            amount_cents: u64::from(order.total_cents),
            currency: "EUR",
            card: pick(
                id,
                "card",
                &["tok_visa_4242", "tok_mc_4444", "tok_amex_0005"],
            )
            .to_owned(),
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::client::{Shopper, get, post};

    const GOOD: &str =
        r#"{"order_id":42,"amount_cents":4999,"currency":"EUR","card_token":"tok_visa_4242"}"#;

    #[tokio::test]
    async fn a_payment_is_taken_and_found_again() {
        let shop = Shopper::enter().await;
        let taken = post(shop.addresses.payments, "/payments", GOOD).await;
        assert_eq!(
            (taken.status, taken.header("location")),
            (201, Some("/payments/101"))
        );
        let found = get(shop.addresses.payments, "/payments/101").await;
        assert_eq!(found.json(), taken.json());
        assert_eq!(found.json()["amount_cents"], 4999);
        assert_eq!(
            get(shop.addresses.payments, "/payments?per_page=1")
                .await
                .json()["total"],
            101
        );
        assert_eq!(
            get(shop.addresses.payments, "/payments/102").await.status,
            404
        );
    }

    #[tokio::test]
    async fn every_wrong_field_is_named() {
        let shop = Shopper::enter().await;
        let cases = [
            (
                "{}",
                vec!["order_id", "amount_cents", "currency", "card_token"],
            ),
            (&GOOD.replace("42,", "101,"), vec!["order_id"]),
            (&GOOD.replace("4999", "0"), vec!["amount_cents"]),
            (&GOOD.replace("EUR", "eur"), vec!["currency"]),
            (
                &GOOD.replace("tok_visa_4242", "4242424242424242"),
                vec!["card_token"],
            ),
        ];
        for (body, fields) in cases {
            let refused = post(shop.addresses.payments, "/payments", body).await;
            assert_eq!(refused.status, 422, "{body}");
            let json = refused.json();
            let named: Vec<_> = json["fields"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["field"].as_str().unwrap())
                .collect();
            assert_eq!(named, fields, "{body}");
        }
    }

    #[tokio::test]
    async fn other_refusals_have_their_own_status() {
        let shop = Shopper::enter().await;
        let declined = GOOD.replace("tok_visa_4242", "tok_declined");
        for (body, status) in [
            (declined.as_str(), 402),
            ("{", 400),
            (r#"{"order_id":"x"}"#, 422),
        ] {
            assert_eq!(
                post(shop.addresses.payments, "/payments", body)
                    .await
                    .status,
                status,
                "{body}"
            );
        }
        assert_eq!(
            get(shop.addresses.payments, "/payments").await.json()["total"],
            100
        );
    }

    #[tokio::test]
    async fn a_payment_of_the_first_hundred_orders_is_that_orders_total() {
        let shop = Shopper::enter().await;
        let payment = get(shop.addresses.payments, "/payments/9").await.json();
        let order = get(shop.addresses.orders, "/orders/9").await.json();
        assert_eq!(payment["amount_cents"], order["total_cents"]);
    }

    #[tokio::test]
    async fn a_large_body_is_refused() {
        let shop = Shopper::enter().await;
        let body = format!("\"{}\"", "x".repeat(64 * 1024));
        assert_eq!(
            post(shop.addresses.payments, "/payments", &body)
                .await
                .status,
            413
        );
    }

    #[test]
    fn the_till_forgets_the_oldest_payment_first() {
        let till = Till::default();
        for _ in 0..=REMEMBERED {
            till.take(Payment::of_order(1));
        }
        let taken = till.taken();
        assert_eq!(taken.latest.len(), REMEMBERED);
        assert_eq!(taken.latest.front().map(|payment| payment.id), Some(102));
    }
}
