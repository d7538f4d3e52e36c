//! The users service: who shops here.

use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::IDS;
use super::dice::{pick, roll};
use super::paging::Paging;
use super::trouble::{MaybeQuery, Trouble};

const FIRST_NAMES: [&str; 20] = [
    "Ada", "Bao", "Carmen", "Dmitri", "Elif", "Farid", "Grace", "Hana", "Ines", "Jonas", "Kofi",
    "Leila", "Mateo", "Noor", "Olga", "Priya", "Quentin", "Rosa", "Sven", "Tomoko",
];
const LAST_NAMES: [&str; 20] = [
    "Abebe",
    "Berg",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ivanova",
    "Jensen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Nakamura",
    "Okafor",
    "Petrov",
    "Quispe",
    "Rossi",
    "Silva",
    "Tanaka",
];
const CITIES: [(&str, &str); 12] = [
    ("Amsterdam", "NL"),
    ("Barcelona", "ES"),
    ("Copenhagen", "DK"),
    ("Dublin", "IE"),
    ("Gothenburg", "SE"),
    ("Hamburg", "DE"),
    ("Krakow", "PL"),
    ("Lisbon", "PT"),
    ("Lyon", "FR"),
    ("Tallinn", "EE"),
    ("Turin", "IT"),
    ("Vienna", "AT"),
];

#[derive(Serialize)]
struct User {
    id: u32,
    name: String,
    email: String,
    city: &'static str,
    country: &'static str,
    language: &'static str,
    member_since: String,
    tier: &'static str,
    cart_id: u32,
}

pub(super) fn routes(key_set: String) -> Router {
    let json = (header::CONTENT_TYPE, "application/jwk-set+json");
    Router::new()
        .route("/users", get(list))
        .route("/users/{id}", get(one))
        .route(
            "/.well-known/jwks.json",
            get(async move || ([json], key_set.clone())),
        )
}

/// The cart of a user. Each user has one and each cart one user, but not by the same number, as in real shops.
pub(super) fn cart_of(user_id: u32) -> u32 {
    user_id * 37 % 100 + 1
}

/// The user of a cart, the inverse of [`cart_of`]: 37 · 73 leaves 1 when divided by 100.
pub(super) fn user_of(cart_id: u32) -> u32 {
    match (cart_id - 1) * 73 % 100 {
        0 => 100,
        user_id => user_id,
    }
}

async fn list(paging: MaybeQuery<Paging>) -> Result<Response, Trouble> {
    let Query(paging) = paging?;
    Ok(paging.page(IDS.map(User::new).collect()))
}

async fn one(Path(id): Path<String>) -> Result<Json<User>, Trouble> {
    super::known(&id)
        .map(User::new)
        .map(Json)
        .ok_or_else(|| Trouble::unknown("user"))
}

impl User {
    fn new(id: u32) -> Self {
        let first = pick(id, "first name", &FIRST_NAMES);
        let last = pick(id, "last name", &LAST_NAMES);
        let (city, country) = CITIES[roll(id, "city", CITIES.len() as u32) as usize];
        let year = 2018 + roll(id, "year", 7);
        let month = 1 + roll(id, "month", 12);
        let day = 1 + roll(id, "day", 28);
        Self {
            id,
            name: format!("{first} {last}"),
            // The id keeps addresses apart when two users share a name; example.com is nobody's.
            email: format!(
                "{}.{}{id}@example.com",
                first.to_lowercase(),
                last.to_lowercase()
            ),
            city,
            country,
            language: pick(id, "language", &["en", "de", "fr", "es", "pt", "it"]),
            member_since: format!("{year}-{month:02}-{day:02}"),
            tier: pick(id, "tier", &["basic", "basic", "plus", "premium"]),
            cart_id: cart_of(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::demo::client::{KEY_SET, Shopper, get};

    #[tokio::test]
    async fn the_keys_of_tokens_are_published() {
        let shop = Shopper::enter().await;
        let keys = get(shop.addresses.users, "/.well-known/jwks.json").await;
        assert_eq!((keys.status, &*keys.body), (200, KEY_SET));
        shop.leave().await;
    }

    #[tokio::test]
    async fn a_user_is_the_same_each_time() {
        let shop = Shopper::enter().await;
        let first = get(shop.addresses.users, "/users/42").await;
        assert_eq!(first.status, 200);
        assert_eq!(
            first.body,
            get(shop.addresses.users, "/users/42").await.body
        );
        assert_eq!(first.json()["id"], 42);
        assert!(
            first.json()["email"]
                .as_str()
                .unwrap()
                .ends_with("42@example.com")
        );
    }

    #[tokio::test]
    async fn only_ids_from_1_to_100_are_known() {
        let shop = Shopper::enter().await;
        for (id, status) in [
            ("1", 200),
            ("100", 200),
            ("0", 404),
            ("101", 404),
            ("-1", 404),
            ("me", 404),
            ("01", 404),
        ] {
            assert_eq!(
                get(shop.addresses.users, &format!("/users/{id}"))
                    .await
                    .status,
                status,
                "{id}"
            );
        }
    }

    #[tokio::test]
    async fn lists_come_in_pages() {
        let shop = Shopper::enter().await;
        let ids = |reply: &serde_json::Value| -> Vec<u64> {
            reply["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_u64().unwrap())
                .collect()
        };
        let page = get(shop.addresses.users, "/users?page=2&per_page=3")
            .await
            .json();
        assert_eq!(ids(&page), [4, 5, 6]);
        assert_eq!((&page["total"], &page["pages"]), (&json!(100), &json!(34)));
        assert_eq!(
            ids(&get(shop.addresses.users, "/users").await.json()).len(),
            20
        );
        assert!(
            ids(
                &get(shop.addresses.users, "/users?page=4294967295&per_page=100")
                    .await
                    .json()
            )
            .is_empty()
        );
        for query in [
            "page=0",
            "per_page=0",
            "per_page=101",
            "page=x",
            "page=1&page=2",
        ] {
            assert_eq!(
                get(shop.addresses.users, &format!("/users?{query}"))
                    .await
                    .status,
                400,
                "{query}"
            );
        }
    }

    #[test]
    fn users_and_carts_are_paired() {
        assert_eq!(IDS.map(cart_of).collect::<BTreeSet<_>>(), IDS.collect());
        assert!(IDS.into_iter().all(|id| user_of(cart_of(id)) == id));
    }
}
