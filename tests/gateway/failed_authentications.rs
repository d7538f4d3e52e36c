//! `failed_authentications`.

use northgate::identity::api_key::KeyHash;

use crate::harness::*;

/// A key, and its hash beside it.
const KEY: &str = "partner-key-0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn guesses_end_where_good_credentials_do_not() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let hash = KeyHash::of(KEY.as_bytes());
        let gateway = Gateway::draft(
            r#"
            [gateway.policies]
            failed_authentications = { rate = "1/h", burst = 3, except = ["198.51.100.7"] }

            [listeners.public]
            bind = "127.0.0.1:0"
            trusted_proxies = ["127.0.0.1"]

            [upstreams.shop]
            endpoints = ["$shop"]
            protocol = "$protocol"

            [identity.api_key.main]

            [consumers.acme]
            api_keys = ["$hash"]

            [routes.open]
            match = { path = "/open" }
            upstream = "shop"

            [routes.locked]
            match = { path = "/locked" }
            upstream = "shop"
            policies.api_key = {}

            [routes.mixed]
            match = { path = "/mixed" }
            upstream = "shop"
            policies.api_key = { anonymous = "allow" }
            "#,
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .with("hash", hash)
        .start()
        .await;
        let client = gateway.client(pair.client);
        let ask = async |address: &str, target: &str, key: Option<&str>| {
            let mut ask = get(target).header("x-forwarded-for", address);
            if let Some(key) = key {
                ask = ask.header("x-api-key", key);
            }
            client.send(ask).await
        };
        let status = async |address: &str, target: &str, key: Option<&str>| {
            ask(address, target, key).await.status
        };
        // Neither good credentials nor missing ones count.
        for _ in 0..10 {
            assert_eq!(status("192.0.2.1", "/locked", Some(KEY)).await, 200);
            assert_eq!(status("192.0.2.1", "/locked", None).await, 401);
        }
        let guess = |number: u32| format!("partner-key-{number:032}");
        for number in 0..3 {
            assert_eq!(
                status("192.0.2.1", "/mixed", Some(&guess(number))).await,
                401
            );
        }
        for key in [Some(&*guess(4)), Some(KEY), None] {
            let answer = ask("192.0.2.1", "/locked", key).await;
            answer.assert_problem(429, "too_many_attempts");
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.header("www-authenticate"), None);
        }
        // Where nobody has to prove anything, nothing has changed; neither has it for others.
        assert_eq!(status("192.0.2.1", "/open", None).await, 200);
        assert_eq!(status("192.0.2.2", "/locked", Some(KEY)).await, 200);
        for number in 0..10 {
            assert_eq!(
                status("198.51.100.7", "/locked", Some(&guess(number))).await,
                401
            );
        }
        assert_eq!(status("198.51.100.7", "/locked", Some(KEY)).await, 200);
        // What was refused is in the metrics, and so is what was let through to be judged.
        let metrics = gateway.metrics().await;
        let series = |decision: &str| {
            let series = format!("northgate_limit_decisions_total{{decision=\"{decision}\",northgate_limit=\"gateway.policies.failed_authentications\"}} ");
            let found = metrics.lines().find_map(|line| line.strip_prefix(&series));
            found.map(str::to_owned)
        };
        assert_eq!(series("refused").as_deref(), Some("3"), "{metrics}");
    })
    .await;
}
