//! Who may have what was said to whom: routes that know who asks.

use northgate::identity::api_key::{KeyHash, Prefix, make};

use crate::harness::{Body, Gateway, Origin, Protocol, Seen, full, get, reply};

const ROUTES: &str = r#"
    [consumers.ann]
    api_keys = ["$ann"]
    plan = "gold"

    [consumers.ben]
    api_keys = ["$ben"]

    [upstreams.origin]
    endpoints = ["$origin"]

    [routes.shared]
    match = { path = "/shared/{*rest}" }
    upstream = "origin"
    policies.api_key = {}
    policies.cache = {}
    policies.request_headers = { set = { x-who = "{identity.consumer}" } }

    [routes.own]
    match = { path = "/own/{*rest}" }
    upstream = "origin"
    policies.api_key = {}
    policies.cache = { vary_by = ["identity"] }
    policies.request_headers = { set = { x-who = "{identity.consumer}" } }
"#;

struct Edge {
    origin: Origin,
    gateway: Gateway,
    ann: String,
    ben: String,
}

impl Edge {
    /// The origin says what the query of the request asks it to, and who it was.
    async fn new() -> Edge {
        let key = || {
            make(&Prefix::default())
                .expect("randomness")
                .text
                .to_string()
        };
        let (ann, ben) = (key(), key());
        let origin = Origin::http1(|seen: Seen| -> http::Response<Body> {
            let control = seen.target.split_once('?').map_or("", |(_, query)| query);
            let control = control.replace('&', ", ");
            let who = seen.header("x-who").unwrap_or("nobody").to_owned();
            reply(
                200,
                &[("cache-control", &control), ("etag", "\"a\"")],
                full(who),
            )
        });
        let gateway = Gateway::draft(ROUTES)
            .with("ann", KeyHash::of(ann.as_bytes()))
            .with("ben", KeyHash::of(ben.as_bytes()))
            .with("origin", &origin)
            .start()
            .await;
        Edge {
            origin,
            gateway,
            ann,
            ben,
        }
    }

    /// Whose answer ann, ben and ann again have, and how often the origin was asked.
    async fn check(&self, path: &str, expected: (&str, &str, &str, usize)) {
        for protocol in [Protocol::Http1, Protocol::H2] {
            let path = path.replace("{p}", &format!("{protocol:?}"));
            let before = self.origin.seen().len();
            let client = self.gateway.client(protocol);
            let mut answers = Vec::new();
            for key in [&self.ann, &self.ben, &self.ann] {
                let answer = client.send(get(&path).header("x-api-key", key)).await;
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
                answers.push(answer.text());
            }
            let asked = self.origin.seen().len() - before;
            let (first, second, third, times) = expected;
            assert_eq!(answers, [first, second, third], "{path}");
            assert_eq!(asked, times, "{path}");
        }
    }
}

/// RFC 9111 section 3.5, for credentials in whatever field they are shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proven_is_as_private_as_authorization() {
    let edge = Edge::new().await;
    edge.check("/shared/{p}/1?max-age=3600", ("ann", "ben", "ann", 3))
        .await;
    edge.check("/shared/{p}/2?private", ("ann", "ben", "ann", 3))
        .await;
    edge.check("/shared/{p}/3?no-store", ("ann", "ben", "ann", 3))
        .await;
    edge.check(
        "/shared/{p}/4?public&max-age=3600",
        ("ann", "ann", "ann", 1),
    )
    .await;
    edge.check("/shared/{p}/5?s-maxage=3600", ("ann", "ann", "ann", 1))
        .await;
    edge.check(
        "/shared/{p}/6?max-age=3600&must-revalidate",
        ("ann", "ann", "ann", 1),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vary_by_identity_keeps_them_apart() {
    let edge = Edge::new().await;
    edge.check("/own/{p}/1?max-age=3600", ("ann", "ben", "ann", 2))
        .await;
    edge.check("/own/{p}/2?public&max-age=3600", ("ann", "ben", "ann", 2))
        .await;
    edge.check("/own/{p}/3?s-maxage=3600", ("ann", "ben", "ann", 2))
        .await;
    edge.check("/own/{p}/4?no-store", ("ann", "ben", "ann", 3))
        .await;
    edge.check("/own/{p}/5?private", ("ann", "ben", "ann", 3))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_what_was_somebodys() {
    let edge = Edge::new().await;
    for (number, protocol) in [Protocol::Http1, Protocol::H2].into_iter().enumerate() {
        let client = edge.gateway.client(protocol);
        for route in ["shared", "own"] {
            let path = format!("/{route}/nobody/{number}?public&max-age=3600");
            let answer = client.send(get(&path).header("x-api-key", &edge.ann)).await;
            assert_eq!(answer.text(), "ann");
            // Who proves nothing is not let in, whatever is stored; nor is who proves it badly.
            let answer = client.send(get(&path)).await;
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
            let answer = client.send(get(&path).header("x-api-key", "guessed")).await;
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
            let answer = client
                .send(get(&path).header("if-none-match", "\"a\""))
                .await;
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
        }
    }
}

/// A refusal is for who was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_stored() {
    let edge = Edge::new().await;
    for (number, protocol) in [Protocol::Http1, Protocol::H2].into_iter().enumerate() {
        let client = edge.gateway.client(protocol);
        let path = format!("/own/refused/{number}?max-age=3600");
        let answer = client.send(get(&path)).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let answer = client.send(get(&path).header("x-api-key", &edge.ben)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ben"));
    }
}
