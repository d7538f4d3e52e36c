//! What tokens cost: remembered ones, and first-seen ones beside the signature check of the library alone.
//!
//! Both pass a route's gate as requests do, with a header that other things stand in, too. The difference between
//! `first seen` and `library` is everything but the signature: parsing, the rules and the identity.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use jsonwebtoken::{Algorithm, DecodingKey};
use northgate::config::{compile, load_text};
use northgate::facts::{Facts, Scheme, View};
use northgate::observability::Metrics;
use northgate::routing::{Lookup, RequestParts, Route};
use pingora::http::RequestHeader;
use serde_json::{Value, json};

#[path = "../tests/gateway/harness/tokens.rs"]
#[allow(dead_code, reason = "the tests of the gateway use the rest of it")]
mod tokens;

use tokens::{Signer, from_now, jwks};

const ALGORITHMS: [(&str, Algorithm); 3] = [
    ("RS256", Algorithm::RS256),
    ("ES256", Algorithm::ES256),
    ("EdDSA", Algorithm::EdDSA),
];

/// As an identity provider writes them for a person.
fn claims() -> Value {
    json!({
        "iss": "https://id.example.com/",
        "aud": ["shop", "account"],
        "sub": "f3a8c1de-6b0f-4f3f-9a58-0d6a1c1f7a11",
        "azp": "storefront",
        "jti": "8b1d5c54-8e57-4b6c-9a0a-6f7c5f3c2b10",
        "iat": from_now(-60),
        "exp": from_now(86_400),
        "scope": "openid profile orders:read orders:write",
        "realm_access": { "roles": ["customer", "beta"] },
        "email": "someone@shop.example",
    })
}

/// A route that wants tokens of a key, and remembers as many.
fn route(signer: &Signer, remembered: u32) -> Arc<Route> {
    let keys = jwks([signer]);
    let text = format!(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"

        [identity.jwt.main]
        issuer = "https://id.example.com/"
        audiences = ["shop"]
        jwks = {{ inline = '{keys}' }}
        claims = {{ roles = "realm_access.roles" }}
        remembered_tokens = {remembered}

        [routes.orders]
        match = {{ path = "/" }}
        respond = {{ status = 200 }}
        policies.jwt = {{}}
        "#
    );
    let mut loaded = load_text("jwt.toml", &text);
    let configuration = compile(&mut loaded, &Metrics::new())
        .unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(&loaded.sources, false)));
    let request = RequestHeader::build("GET", b"/", None).expect("it is valid");
    let parts = RequestParts {
        host: "shop.example",
        path: "/",
        query: None,
        method: &request.method,
        headers: &request.headers,
    };
    match configuration.snapshot.listeners[0].table.find(&parts) {
        Lookup::Found(route, _) => route.clone(),
        _ => panic!("the route is there"),
    }
}

fn request(token: &str) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/", None).expect("it is valid");
    for (name, value) in [
        ("host", "shop.example"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"),
        ("accept", "application/json"),
        ("authorization", &format!("Bearer {token}")),
    ] {
        let inserted = request.insert_header(name.to_owned(), value);
        inserted.expect("it is a valid header");
    }
    request
}

/// Whether the request is let in as somebody.
fn passes(route: &Route, facts: &Facts, request: &RequestHeader) -> bool {
    let passing = route.pipeline.gate().pass(View { facts, request });
    let passed = passing.now_or_never().expect("the keys are there");
    passed.continue_value().flatten().is_some()
}

fn tokens(criterion: &mut Criterion) {
    let facts = Facts::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), Scheme::Https);
    for (name, algorithm) in ALGORITHMS {
        let signer = Signer::new(name, "k1");
        let token = signer.token(&claims());
        let request = request(&token);
        let mut group = criterion.benchmark_group(name);

        let known = route(&signer, 10_000);
        assert!(passes(&known, &facts, &request));
        group.bench_function("remembered", |bench| {
            bench.iter(|| assert!(passes(&known, &facts, black_box(&request))));
        });

        let unknown = route(&signer, 0);
        group.bench_function("first seen", |bench| {
            bench.iter(|| assert!(passes(&unknown, &facts, black_box(&request))));
        });

        let jwk = serde_json::from_value(signer.jwk.clone()).expect("a key");
        let key = DecodingKey::from_jwk(&jwk).expect("a key");
        let (message, signature) = token.rsplit_once('.').expect("a token");
        group.bench_function("library", |bench| {
            bench.iter(|| {
                let message = black_box(message).as_bytes();
                let is_good = jsonwebtoken::crypto::verify(signature, message, &key, algorithm);
                assert!(is_good.expect("a signature"));
            });
        });
        group.finish();
    }
}

criterion_group!(benches, tokens);
criterion_main!(benches);
