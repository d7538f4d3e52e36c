//! Keys of token issuers: where they come from, how they are renewed, and what becomes of them without their server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::*;

#[tokio::test]
async fn the_provider_of_the_tests_is_a_real_one() {
    let provider = Provider::start().await;
    let token = provider.token("orders:read", "urn:shop:opaque").await;
    assert!(!token.contains('.'));
    let form = format!("token={token}");
    let introspected = provider.post("/token/introspection", "shop", &form).await;
    let body: Value = serde_json::from_slice(&introspected.body).unwrap();
    assert_eq!(
        (&body["active"], &body["aud"]),
        (&json!(true), &json!("shop"))
    );
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let resource = format!("urn:shop:jwt:{algorithm}");
        let token = provider.token("orders:read", &resource).await;
        assert_eq!(header(&token)["alg"], algorithm);
        assert_eq!(header(&token)["typ"], "at+jwt");
        let signed = json!({ "alg": algorithm, "typ": "x" });
        let signed = provider.sign(json!({ "sub": "alice" }), signed).await;
        assert_eq!(header(&signed)["kid"], header(&token)["kid"]);
    }
    provider.rotate(false).await;
    let kid = |token: &str| header(token)["kid"].clone();
    let after = provider.token("orders:read", "urn:shop:jwt").await;
    assert_eq!(kid(&after), "rs256-2");
    let discovery = "/.well-known/openid-configuration";
    let answer = provider.client().send(get(discovery)).await;
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["issuer"], provider.issuer());
    let client = json!({ "client_id": "web", "client_secret": "web-secret", "redirect_uris": ["http://127.0.0.1:1/"] });
    provider.configure(json!({ "clients": [client] })).await;
    let web = provider
        .post(
            "/token",
            "web",
            "grant_type=refresh_token&refresh_token=none",
        )
        .await;
    assert!(web.text().contains("not allowed for this client"));
    provider.fail().await;
    assert_eq!(provider.client().send(get("/jwks")).await.status, 500);
    provider.go_down().await;
    let refused = provider.client().try_send(get("/jwks")).await;
    assert!(refused.is_err(), "{refused:?}");
    provider.come_back().await;
    let jwks = provider.client().send(get("/jwks")).await.text();
    assert!(
        jwks.contains("rs256-2") && !jwks.contains("rs256-1"),
        "{jwks}"
    );
    assert_eq!(provider.count("/jwks").await, 3);
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(header).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}
