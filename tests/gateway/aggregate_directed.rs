//! Which endpoints the parts of an aggregation are for.

use std::collections::BTreeSet;

use crate::harness::*;

/// `$balance` is how the upstream chooses.
const HOME: &str = r#"
    [upstreams.shop]
    endpoints = ["$a", "$b", "$c"]
    $balance
    [routes.home]
    match = { path = "/home/{user}" }
    [routes.home.aggregate]
    parts.bare = { upstream = "shop", path = "/a/part" }
    parts.own = { upstream = "shop", path = "/another/{path.user}", headers = { x-user = "{path.user}" } }
    [routes.plain]
    match = { path = "/plain/{user}" }
    upstream = "shop"
"#;

/// Which endpoint serves each of the parts.
async fn homes(client: &Client, ask: Ask) -> [String; 2] {
    let answer = client.send(ask).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("set-cookie"), None, "parts begin no session");
    let json = answer.json();
    ["bare", "own"].map(|part| json[part].as_str().expect("a name").to_owned())
}

/// The client's session and key decide, as they do on any route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_go_where_the_client_s_requests_go() {
    let named = |name: &'static str| Origin::http1(move |_| text(format!("\"{name}\"")));
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let start = async |balance: &str| {
        let draft = Gateway::draft(&HOME.replace("$balance", balance)).with("a", &a);
        draft.with("b", &b).with("c", &c).start().await
    };
    for balance in [
        "sticky = {}",
        "balance = { hash = \"header:x-user\" }",
        "balance = { hash = \"cookie:user\" }",
        "balance = { hash = \"path:user\" }",
    ] {
        let gateway = start(balance).await;
        let client = gateway.http1();
        let mut all = BTreeSet::new();
        for user in ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"] {
            let of_user = |path: &str| {
                let ask = get(&format!("{path}/{user}"));
                ask.header("x-user", user)
            };
            let cookie = format!("user={user}");
            let first = client
                .send(of_user("/plain").header("cookie", &cookie))
                .await;
            let session = first
                .header("set-cookie")
                .and_then(|it| it.split(';').next());
            let cookie = session.unwrap_or(&cookie);
            for _ in 0..3 {
                let homes = homes(&client, of_user("/home").header("cookie", cookie)).await;
                let expected = first.text().trim_matches('"').to_owned();
                assert_eq!(homes, [expected.clone(), expected], "{balance} {user}");
            }
            all.insert(first.text());
        }
        assert!(all.len() > 1, "{balance}: all went to {all:?}");
    }
    // What the client has not sent a part can say itself.
    let gateway = start("balance = { hash = \"header:x-user\" }").await;
    let client = gateway.http1();
    for user in ["u1", "u2", "u3", "u4"] {
        let direct = client.send(get("/plain/x").header("x-user", user)).await;
        let [_, own] = homes(&client, get(&format!("/home/{user}"))).await;
        assert_eq!(direct.text(), format!("\"{own}\""), "{user}");
    }
}
