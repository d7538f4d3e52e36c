//! Plans: what consumers have bought, for `rate_limit` and `quota`.

use serde_json::json;

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;

const GATEWAY: &str = r#"
    [gateway]
    default_plan = "free"
    policies.jwt = { anonymous = "allow" }

    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]
    policies.rate_limit = {}

    [identity.jwt.main]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { inline = '$jwks' }
    claims = { consumer = "azp", plan = "tier" }

    [plans.free]
    rate_limit = { rate = "1/h", burst = 2 }

    [plans.gold]
    rate_limit = { rate = "1/h", burst = $gold }
    quota = { requests = 4, per = "month" }

    [plans.endless]

    [consumers.acme]
    plan = "gold"

    [consumers.plain]

    [routes]
    a = { match = { path = "/a" }, respond = { status = 200 } }
    b = { match = { path = "/b" }, respond = { status = 200 } }
    own = { match = { path = "/own" }, respond = { status = 200 }, policies.rate_limit = { rate = "1/h", burst = 1, plans = { gold = { rate = "1/h", burst = 3 } } } }
    quota = { match = { path = "/quota" }, respond = { status = 200 }, policies.rate_limit = "off", policies.quota = {} }
"#;

struct Callers(Signer);

impl Callers {
    fn new() -> Callers {
        Callers(Signer::new("EdDSA", "k"))
    }

    fn draft(&self, gold: u32) -> Draft {
        let draft = Gateway::draft(GATEWAY).with("gold", gold);
        draft.with("jwks", jwks([&self.0]))
    }

    /// A request of this consumer, with this in its claim of the plan.
    fn ask(&self, path: &str, consumer: &str, tier: Option<&str>) -> Ask {
        let mut claims = json!({
            "iss": "https://id.test/", "aud": "shop", "sub": "someone", "azp": consumer, "exp": from_now(300),
        });
        if let Some(tier) = tier {
            claims["tier"] = tier.into();
        }
        get(path).header(
            "authorization",
            &format!("Bearer {}", self.0.token(&claims)),
        )
    }
}

/// How many come in before one is refused.
async fn admitted(client: &Client, ask: impl Fn() -> Ask) -> usize {
    for count in 0..20 {
        match client.send(ask()).await.status {
            200 => {}
            status => {
                assert_eq!(status, 429);
                return count;
            }
        }
    }
    20
}

#[tokio::test]
async fn each_caller_has_what_its_plan_allows() {
    over_each_pair(|pair| async move {
        let callers = Callers::new();
        let gateway = callers.draft(5).start().await;
        let client = gateway.client(pair.client);
        let all = |path, consumer, tier| {
            let (client, callers) = (&client, &callers);
            async move { admitted(client, || callers.ask(path, consumer, tier)).await }
        };
        // A plan of its own; of the claim; the default; for a stranger as well; and one without limits.
        assert_eq!(all("/a", "acme", None).await, 5);
        assert_eq!(all("/a", "plain", None).await, 2);
        assert_eq!(
            admitted(&client, || get("/a").header("x-forwarded-for", "192.0.2.1")).await,
            2
        );
        assert_eq!(all("/a", "plain", Some("endless")).await, 20);
        // What it has taken of another plan is nothing to this one.
        assert_eq!(all("/a", "plain", Some("gold")).await, 5);
        // The same plan, the same caller: whichever route it is.
        assert_eq!(all("/b", "acme", None).await, 0);
        assert_eq!(all("/b", "plain", None).await, 0);
        // A route with numbers of its own, and with other numbers for a plan.
        assert_eq!(all("/own", "plain", None).await, 1);
        assert_eq!(all("/own", "acme", None).await, 3);
        assert_eq!(all("/quota", "acme", None).await, 4);
        // The default plan has no quota.
        assert_eq!(all("/quota", "plain", None).await, 20);
        let answer = client.send(callers.ask("/quota", "acme", None)).await;
        answer.assert_problem(429, "quota_exceeded");
        let line = gateway.log_of(&answer).await;
        assert_eq!(line["limit"], "plans.gold.quota by consumer");
        assert_eq!(line["limit_rule"], "4/month");
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_there_is_not_is_the_default_one() {
    let callers = Callers::new();
    let gateway = callers.draft(5).start().await;
    let client = gateway.http1();
    let ask = || callers.ask("/a", "plain", Some("platinum"));
    assert_eq!(admitted(&client, ask).await, 2);
    // It is no way to have the default plan twice.
    assert_eq!(
        admitted(&client, || callers.ask("/b", "plain", None)).await,
        0
    );
}

#[tokio::test]
async fn a_plan_that_is_changed_is_another_for_every_route() {
    let callers = Callers::new();
    let mut gateway = callers.draft(3).start().await;
    let client = gateway.http1();
    assert_eq!(
        admitted(&client, || callers.ask("/a", "acme", None)).await,
        3
    );
    callers.draft(5).apply(&mut gateway).await.unwrap();
    // Two more, and what was taken before is not forgotten.
    assert_eq!(
        admitted(&client, || callers.ask("/b", "acme", None)).await,
        2
    );
}
