//! The orders service: orders and carts; what happens to orders is in `events.rs`.

use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::IDS;
use super::dice::roll;
use super::paging::Paging;
use super::products::Product;
use super::trouble::{MaybeQuery, Trouble};
use super::users;

/// The way of an order; a cancelled one leaves it after `pending`.
const STATUSES: [&str; 5] = ["pending", "paid", "packed", "shipped", "delivered"];

/// From this subtotal on, in cents, shipping is free.
const FREE_SHIPPING: u32 = 5_000;
const SHIPPING: u32 = 490;

#[derive(Serialize)]
pub(super) struct Order {
    pub(super) id: u32,
    number: String,
    user_id: u32,
    pub(super) status: &'static str,
    currency: &'static str,
    lines: Vec<Line>,
    subtotal_cents: u32,
    shipping_cents: u32,
    pub(super) total_cents: u32,
    pub(super) created_at: String,
    updated_at: String,
    history: Vec<Step>,
}

#[derive(Serialize)]
struct Line {
    product_id: u32,
    name: String,
    quantity: u32,
    unit_price_cents: u32,
    total_cents: u32,
}

#[derive(Serialize)]
struct Step {
    status: &'static str,
    at: String,
}

#[derive(Serialize)]
struct Cart {
    id: u32,
    user_id: u32,
    currency: &'static str,
    lines: Vec<Line>,
    total_cents: u32,
}

#[derive(Deserialize)]
struct Search {
    user_id: Option<u32>,
    page: Option<u32>,
    per_page: Option<u32>,
}

pub(super) fn routes() -> Router {
    Router::new()
        .route("/orders", get(list))
        .route("/orders/{id}", get(one))
        .route("/carts/{id}", get(cart))
}

async fn list(search: MaybeQuery<Search>) -> Result<Response, Trouble> {
    let Query(Search {
        user_id,
        page,
        per_page,
    }) = search?;
    let found: Vec<Order> = IDS
        .map(Order::new)
        .filter(|order| user_id.is_none_or(|id| order.user_id == id))
        .collect();
    Ok(Paging::new(page, per_page).page(found))
}

async fn one(Path(id): Path<String>) -> Result<Json<Order>, Trouble> {
    super::known(&id)
        .map(Order::new)
        .map(Json)
        .ok_or_else(|| Trouble::unknown("order"))
}

async fn cart(Path(id): Path<String>) -> Result<Json<Cart>, Trouble> {
    super::known(&id)
        .map(Cart::new)
        .map(Json)
        .ok_or_else(|| Trouble::unknown("cart"))
}

impl Order {
    pub(super) fn new(id: u32) -> Self {
        let lines = lines(id, "order");
        let subtotal_cents = lines.iter().map(|line| line.total_cents).sum();
        let shipping_cents = if subtotal_cents >= FREE_SHIPPING {
            0
        } else {
            SHIPPING
        };
        let history = history(id);
        let created_at = moment(id, 0);
        let (status, updated_at) = match history.last() {
            Some(step) => (step.status, step.at.clone()),
            None => (STATUSES[0], created_at.clone()),
        };
        Self {
            id,
            number: format!("NG-{:06}", 40_000 + id * 7),
            user_id: 1 + roll(id, "order user", 100),
            status,
            currency: "EUR",
            lines,
            subtotal_cents,
            shipping_cents,
            total_cents: subtotal_cents + shipping_cents,
            created_at,
            updated_at,
            history,
        }
    }
}

impl Cart {
    fn new(id: u32) -> Self {
        let lines = lines(id, "cart");
        let total_cents = lines.iter().map(|line| line.total_cents).sum();
        Self {
            id,
            user_id: users::user_of(id),
            currency: "EUR",
            lines,
            total_cents,
        }
    }
}

/// One to four lines, no product twice.
fn lines(id: u32, of: &str) -> Vec<Line> {
    let first = roll(id, of, 100);
    let line = |place| {
        let Product {
            id: product_id,
            name,
            price_cents: unit_price_cents,
            ..
        } = Product::new((first + place * 23) % 100 + 1);
        let quantity = 1 + roll(id + place * 1_000, "quantity", 3);
        Line {
            product_id,
            name,
            quantity,
            unit_price_cents,
            total_cents: quantity * unit_price_cents,
        }
    };
    (0..1 + roll(id, "lines", 4)).map(line).collect()
}

/// What has happened to an order so far, oldest first. Each order is somewhere on its way.
fn history(id: u32) -> Vec<Step> {
    let step = |at, status| Step {
        status,
        at: moment(id, at),
    };
    if roll(id, "cancelled", 12) == 0 {
        return vec![step(0, STATUSES[0]), step(1, "cancelled")];
    }
    let reached = 1 + roll(id, "reached", STATUSES.len() as u32);
    (0..reached)
        .zip(STATUSES)
        .map(|(at, status)| step(at, status))
        .collect()
}

/// When the `step`th thing happened to an order: a day after the one before, at an hour of its own. Orders are
/// placed on the first 20 days of a month, so a history never crosses into the next and needs no calendar.
fn moment(id: u32, step: u32) -> String {
    let (year, month) = (
        2029 + roll(id, "order year", 2),
        1 + roll(id, "order month", 12),
    );
    let day = 1 + roll(id, "order day", 20) + step;
    let minutes = roll(id + step * 1_000, "order minute", 24 * 60);
    let seconds = roll(id + step * 1_000, "order second", 60);
    format!(
        "{year}-{month:02}-{day:02}T{:02}:{:02}:{seconds:02}Z",
        minutes / 60,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::client::{Shopper, get};

    #[test]
    fn totals_add_up_and_time_goes_forward() {
        for order in IDS.map(Order::new) {
            let lines: u32 = order
                .lines
                .iter()
                .map(|line| line.quantity * line.unit_price_cents)
                .sum();
            assert_eq!(order.subtotal_cents, lines, "order {}", order.id);
            assert_eq!(
                order.total_cents,
                lines + order.shipping_cents,
                "order {}",
                order.id
            );
            assert!(
                order
                    .history
                    .is_sorted_by(|before, after| before.at < after.at),
                "order {}",
                order.id
            );
            assert_eq!(
                order.history.first().map(|step| &step.at),
                Some(&order.created_at)
            );
            assert_eq!(
                order.history.last().map(|step| &step.at),
                Some(&order.updated_at)
            );
        }
    }

    #[tokio::test]
    async fn orders_refer_to_users_and_products_that_exist() {
        let shop = Shopper::enter().await;
        let at = shop.addresses;
        let order = get(at.orders, "/orders/42").await.json();
        assert_eq!(
            get(at.users, &format!("/users/{}", order["user_id"]))
                .await
                .status,
            200
        );
        for line in order["lines"].as_array().unwrap() {
            let product = get(at.products, &format!("/products/{}", line["product_id"]))
                .await
                .json();
            assert_eq!(
                (&product["name"], &product["price_cents"]),
                (&line["name"], &line["unit_price_cents"])
            );
        }
        assert_eq!(get(at.orders, "/orders/101").await.status, 404);
    }

    #[tokio::test]
    async fn a_users_cart_belongs_to_that_user() {
        let shop = Shopper::enter().await;
        let user = get(shop.addresses.users, "/users/7").await.json();
        let cart = get(
            shop.addresses.orders,
            &format!("/carts/{}", user["cart_id"]),
        )
        .await
        .json();
        assert_eq!(cart["user_id"], 7);
        assert!(cart["total_cents"].as_u64().unwrap() > 0);
    }

    #[tokio::test]
    async fn orders_are_found_by_user() {
        let shop = Shopper::enter().await;
        let user = get(shop.addresses.orders, "/orders/1").await.json()["user_id"].clone();
        let found = get(shop.addresses.orders, &format!("/orders?user_id={user}"))
            .await
            .json();
        let orders = found["items"].as_array().unwrap();
        assert!(orders.iter().any(|order| order["id"] == 1));
        assert!(orders.iter().all(|order| order["user_id"] == user));
    }
}
