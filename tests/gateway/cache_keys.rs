//! `cache`: what tells one response from another beside its URL.

use northgate::identity::api_key::{KeyHash, Prefix, make};

use crate::harness::*;

const LIFE: [(&str, &str); 1] = [("cache-control", "max-age=60")];

/// Two branches may answer differently, so each has what is its own, however a request came to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_branch_answers_is_for_who_takes_that_branch() {
    over_each_pair(|pair| async move {
        let [v1, v2] = ["v1", "v2"].map(|name| {
            Origin::serving(pair.origin, move |_| async move { reply(200, &LIFE, full(name)) })
        });
        let gateway = Gateway::draft(
            r#"
            [upstreams]
            v1 = { endpoints = ["$v1"], protocol = "$protocol" }
            v2 = { endpoints = ["$v2"], protocol = "$protocol" }
            [routes.forced]
            match = { path = "/forced" }
            split = { to = [{ upstream = "v1", weight = 1 }, { upstream = "v2", weight = 0 }], force_header = "x-branch" }
            policies.cache = {}
            [routes.by_user]
            match = { path = "/by_user" }
            split = { by = "header:x-user", to = [{ upstream = "v1", weight = 1 }, { upstream = "v2", weight = 1 }] }
            policies.cache = {}
            [routes.by_chance]
            match = { path = "/by_chance" }
            split = { to = [{ upstream = "v1", weight = 1 }, { upstream = "v2", weight = 1 }] }
            policies.cache = {}
            "#,
        )
        .with("v1", &v1)
        .with("v2", &v2)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = gateway.client(pair.client);
        for _ in 0..2 {
            let forced = client.send(get("/forced").header("x-branch", "v2")).await;
            assert_eq!(forced.text(), "v2");
            assert_eq!(client.send(get("/forced")).await.text(), "v1");
        }
        assert_eq!((v1.seen().len(), v2.seen().len()), (1, 1));
        let mut branches = std::collections::BTreeMap::new();
        for turn in 0..80 {
            let user = (turn % 20).to_string();
            let answer = client.send(get("/by_user").header("x-user", &user)).await;
            let branch = branches.entry(user).or_insert_with(|| answer.text());
            assert_eq!(*branch, answer.text());
        }
        assert_eq!((v1.seen().len(), v2.seen().len()), (2, 2), "{branches:?}");
        let mut count = 0;
        for _ in 0..200 {
            count += usize::from(client.send(get("/by_chance")).await.text() == "v1");
        }
        assert!((50..=150).contains(&count), "{count} of 200");
        assert_eq!((v1.seen().len(), v2.seen().len()), (3, 3));
    })
    .await;
}

const PLANS: &str = r#"
    [plans]
    gold = {}
    free = {}
    [consumers]
    ann = { api_keys = ["$ann"], plan = "gold" }
    ben = { api_keys = ["$ben"], plan = "gold" }
    cat = { api_keys = ["$cat"], plan = "free" }
    [upstreams.shop]
    endpoints = ["$shop"]
    [routes.shop]
    match = { path = "/x" }
    upstream = "shop"
    policies.api_key = { forward = { x-plan = "plan" } }
    policies.cache = { $cache }
"#;

struct Plans {
    keys: [String; 3],
    shop: Origin,
}

impl Plans {
    fn new() -> Plans {
        let shop = Origin::http1(|seen| {
            let plan = seen.header("x-plan").unwrap_or_default().to_owned();
            reply(200, &LIFE, full(plan))
        });
        let keys = [(); 3].map(|()| make(&Prefix::default()).unwrap().text.to_string());
        Plans { keys, shop }
    }

    fn draft(&self, cache: &str) -> Draft {
        let names = ["ann", "ben", "cat"].iter().zip(&self.keys);
        let draft = Gateway::draft(PLANS).with("shop", &self.shop);
        let draft = draft.with("cache", cache);
        names.fold(draft, |draft, (name, key)| {
            draft.with(name, KeyHash::of(key.as_bytes()))
        })
    }

    /// Which plans' responses the three get.
    async fn ask(&self, gateway: &Gateway) -> Vec<String> {
        let mut plans = Vec::new();
        for key in &self.keys {
            let ask = get("/x").header("x-api-key", key);
            plans.push(gateway.http1().send(ask).await.text());
        }
        plans
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_one_plan_share() {
    let plans = Plans::new();
    let gateway = plans.draft("vary_by = \"plan\"").start().await;
    for _ in 0..2 {
        assert_eq!(plans.ask(&gateway).await, ["gold", "gold", "free"]);
    }
    assert_eq!(plans.shop.seen().len(), 2);
}

/// What was kept while a rule let it be shared is shared by no other rule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stricter_rule_shares_nothing_of_before() {
    let plans = Plans::new();
    let mut gateway = plans.draft("vary_by = \"all\"").start().await;
    assert_eq!(plans.ask(&gateway).await, ["gold"; 3]);
    for cache in ["", "vary_by = \"plan\"", "vary_by = \"header:x-none\""] {
        let before = plans.shop.seen().len();
        plans.draft(cache).apply(&mut gateway).await.unwrap();
        plans.ask(&gateway).await;
        assert!(plans.shop.seen().len() > before, "{cache}");
    }
}
