//! Who is counted.

use crate::harness::*;

/// Which of several lines an upstream takes is not known, so that all of them tell callers apart: with one that counts and
/// another before it nobody is somebody else each time.
#[tokio::test]
async fn every_line_and_every_cookie_of_the_name_counts() {
    let gateway = Gateway::draft(
        r#"
        [routes.header]
        match = { path = "/header" }
        respond = { status = 200 }
        policies.rate_limit = { by = "header:x-tenant", rate = "1/h", burst = 1 }

        [routes.cookie]
        match = { path = "/cookie" }
        respond = { status = 200 }
        policies.rate_limit = { by = "cookie:tenant", rate = "1/h", burst = 1 }
        "#,
    )
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        // Each protocol has tenants of its own.
        let name = |tenant: &str| format!("{tenant}-{protocol}");
        for (tenants, expected) in [
            (&["a"][..], 200),
            (&["a"], 429),
            (&["b"], 200),
            (&["a", "b"], 200),
            (&["a", "b"], 429),
            (&["b", "a"], 200),
            (&["ab"], 200),
        ] {
            let mut ask = get("/header");
            let mut cookies = get("/cookie").header("cookie", "other=1; tenantx=2");
            for tenant in tenants {
                ask = ask.header("x-tenant", &name(tenant));
                cookies = cookies.header("cookie", &format!("tenant={}", name(tenant)));
            }
            assert_eq!(client.send(ask).await.status, expected, "{tenants:?}");
            assert_eq!(client.send(cookies).await.status, expected, "{tenants:?}");
        }
    }
    // Who has none of it is counted with all that have none.
    let client = gateway.client(Protocol::Http1);
    assert_eq!(client.send(get("/header")).await.status, 200);
    assert_eq!(
        client
            .send(get("/header").header("x-other", "1"))
            .await
            .status,
        429
    );
}
