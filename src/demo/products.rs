//! The products service: what the shop sells, what it recommends and what it promotes.

use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::IDS;
use super::dice::{pick, roll};
use super::paging::Paging;
use super::trouble::{MaybeQuery, Trouble};

/// The shelves of the shop: a category and what stands on it.
const SHELVES: [(&str, [&str; 5]); 5] = [
    (
        "kitchen",
        [
            "Kettle",
            "Teapot",
            "Chopping Board",
            "Mortar",
            "Coffee Mill",
        ],
    ),
    (
        "garden",
        [
            "Trowel",
            "Watering Can",
            "Bird Feeder",
            "Lantern",
            "Pruning Shears",
        ],
    ),
    (
        "office",
        [
            "Desk Lamp",
            "Notebook",
            "Fountain Pen",
            "Letter Tray",
            "Pencil Case",
        ],
    ),
    (
        "outdoor",
        [
            "Rucksack",
            "Camp Stove",
            "Head Torch",
            "Water Bottle",
            "Hammock",
        ],
    ),
    (
        "living",
        [
            "Wool Blanket",
            "Vase",
            "Wall Clock",
            "Candle Holder",
            "Cushion",
        ],
    ),
];
const MAKES: [&str; 8] = [
    "Alder", "Basalt", "Fjord", "Harbour", "Juniper", "Meadow", "Slate", "Tern",
];

#[derive(Serialize)]
pub(super) struct Product {
    pub(super) id: u32,
    pub(super) name: String,
    sku: String,
    category: &'static str,
    pub(super) price_cents: u32,
    currency: &'static str,
    stock: u32,
    rating: f64,
    reviews: u32,
    description: String,
}

#[derive(Deserialize)]
struct Search {
    category: Option<String>,
    // Not `flatten`: it would hand every number over as text that does not parse.
    page: Option<u32>,
    per_page: Option<u32>,
}

#[derive(Deserialize)]
struct Visitor {
    user_id: Option<u32>,
}

pub(super) fn routes() -> Router {
    Router::new()
        .route("/products", get(list))
        .route("/products/{id}", get(one))
        .route("/recommendations", get(recommendations))
        .route("/promotions", get(promotions))
}

async fn list(search: MaybeQuery<Search>) -> Result<Response, Trouble> {
    let Query(Search {
        category,
        page,
        per_page,
    }) = search?;
    let wanted = |product: &Product| {
        category
            .as_deref()
            .is_none_or(|category| product.category == category)
    };
    let found: Vec<Product> = IDS.map(Product::new).filter(wanted).collect();
    Ok(Paging::new(page, per_page).page(found))
}

async fn one(Path(id): Path<String>) -> Result<Json<Product>, Trouble> {
    super::known(&id)
        .map(Product::new)
        .map(Json)
        .ok_or_else(|| Trouble::unknown("product"))
}

/// Five different products that suit a visitor, best first; `?user_id=` makes them that user's own.
async fn recommendations(visitor: MaybeQuery<Visitor>) -> Result<Json<Value>, Trouble> {
    let Query(Visitor { user_id }) = visitor?;
    let visitor = user_id.unwrap_or(0);
    let start = roll(visitor, "recommendation", 100);
    let items: Vec<Value> = (0..5)
        .map(|place| {
            // 23 has no factor in common with 100, so no product comes twice.
            let product = Product::new((start + place * 23) % 100 + 1);
            let score = f64::from(97 - place * 6 - roll(visitor, &product.sku, 5)) / 100.0;
            json!({ "product_id": product.id, "name": product.name, "price_cents": product.price_cents,
                    "currency": product.currency, "score": score })
        })
        .collect();
    Ok(Json(Value::Array(items)))
}

async fn promotions() -> Json<Value> {
    Json(json!([
        { "id": "tea-time", "title": "Tea time: kettles and pots 15 % off", "category": "kitchen",
          "discount_percent": 15, "ends_on": "2031-03-31", "terms": "One per order. Not with other offers." },
        { "id": "first-thaw", "title": "First thaw: everything for the garden 20 % off", "category": "garden",
          "discount_percent": 20, "ends_on": "2031-04-15", "terms": "While stocks last." },
        { "id": "long-weekend", "title": "Long weekend: 10 % off outdoor gear", "category": "outdoor",
          "discount_percent": 10, "ends_on": "2031-05-02", "terms": "From 50 euros." },
    ]))
}

impl Product {
    pub(super) fn new(id: u32) -> Self {
        let (category, things) = &SHELVES[roll(id, "shelf", SHELVES.len() as u32) as usize];
        let make = pick(id, "make", &MAKES);
        let thing = pick(id, "thing", things);
        let quality = pick(
            id,
            "quality",
            &[
                "Made to last",
                "Light and sturdy",
                "Finished by hand",
                "Easy to repair",
            ],
        );
        Self {
            id,
            name: format!("{make} {thing}"),
            sku: format!(
                "{}-{id:04}",
                category.get(..3).unwrap_or(category).to_uppercase()
            ),
            category,
            price_cents: 499 + 50 * roll(id, "price", 290),
            currency: "EUR",
            // One in eight is sold out, so that pages have something to show for it.
            stock: if roll(id, "sold out", 8) == 0 {
                0
            } else {
                1 + roll(id, "stock", 240)
            },
            rating: f64::from(30 + roll(id, "rating", 21)) / 10.0,
            reviews: roll(id, "reviews", 900),
            description: format!(
                "{quality}. The {thing} of our {make} line, for every day.",
                thing = thing.to_lowercase()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::demo::client::{Shopper, get};

    #[tokio::test]
    async fn a_product_has_a_price_and_a_rating_in_bounds() {
        let shop = Shopper::enter().await;
        for id in [1, 50, 100] {
            let product = get(shop.addresses.products, &format!("/products/{id}"))
                .await
                .json();
            assert!(
                (499..=15_000).contains(&product["price_cents"].as_u64().unwrap()),
                "{product}"
            );
            assert!(
                (3.0..=5.0).contains(&product["rating"].as_f64().unwrap()),
                "{product}"
            );
        }
        assert_eq!(
            get(shop.addresses.products, "/products/101").await.status,
            404
        );
    }

    #[tokio::test]
    async fn categories_share_out_the_products() {
        let shop = Shopper::enter().await;
        let mut total = 0;
        for (category, _) in SHELVES {
            let found = get(
                shop.addresses.products,
                &format!("/products?category={category}&per_page=100"),
            )
            .await
            .json();
            assert!(
                found["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|product| product["category"] == category)
            );
            total += found["total"].as_u64().unwrap();
        }
        assert_eq!(total, 100);
        assert_eq!(
            get(shop.addresses.products, "/products?category=none")
                .await
                .json()["total"],
            0
        );
        assert_eq!(
            get(shop.addresses.products, "/products?page=two")
                .await
                .status,
            400
        );
    }

    #[tokio::test]
    async fn recommendations_are_five_products_that_differ_and_promotions_are_there() {
        let shop = Shopper::enter().await;
        for path in ["/recommendations", "/recommendations?user_id=7"] {
            let five = get(shop.addresses.products, path).await.json();
            let ids: BTreeSet<u64> = five
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["product_id"].as_u64().unwrap())
                .collect();
            assert_eq!(ids.len(), 5, "{path}");
        }
        assert_eq!(
            get(shop.addresses.products, "/promotions")
                .await
                .json()
                .as_array()
                .unwrap()
                .len(),
            3
        );
    }
}
