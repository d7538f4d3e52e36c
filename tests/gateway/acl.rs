//! `acl`: what a caller must be, have or do to come in.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};

use crate::harness::*;

fn certificate(authority: &Authority, name: &str) -> Certificate {
    authority.issue_with(&[], |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params
            .subject_alt_names
            .push(SanType::DnsName(name.try_into().unwrap()));
    })
}

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    tls = { certificates = [$entry], client_auth = { mode = "optional", ca = "$ca" } }
    policies.mtls = { anonymous = "allow" }

    [consumers.acme]
    certificates = [{ dns = "acme.test" }]
    plan = "gold"
    roles = ["partner", "payer"]
    groups = ["eu"]
    scopes = ["orders:read", "orders:write"]

    [consumers.small]
    certificates = [{ dns = "small.test" }]
    scopes = ["orders:read"]

    [routes]
    scopes = { match = { path = "/scopes" }, respond = { status = 200 }, policies.acl = { scopes = ["orders:read", "orders:write"], explain = true } }
    any_scopes = { match = { path = "/any-scopes" }, respond = { status = 200 }, policies.acl = { any_scopes = ["x", "orders:write"] } }
    roles = { match = { path = "/roles" }, respond = { status = 200 }, policies.acl = { roles = ["x", "payer"] } }
    groups = { match = { path = "/groups" }, respond = { status = 200 }, policies.acl = { groups = ["eu"] } }
    allowed = { match = { path = "/allowed" }, respond = { status = 200 }, policies.acl = { consumers = { allow = ["acme"] } } }
    denied = { match = { path = "/denied" }, respond = { status = 200 }, policies.acl = { consumers = { deny = ["acme"] } } }
    both = { match = { path = "/both" }, respond = { status = 200 }, policies.acl = { consumers = { allow = ["acme", "small"], deny = ["small"] } } }
    own = { match = { path = "/own/{consumer}" }, respond = { status = 200 }, policies.acl = { allow = 'identity.consumer == path.consumer' } }
    plan = { match = { path = "/plan" }, respond = { status = 200 }, policies.acl = { allow = 'identity.plan == "gold"' } }
    unequal = { match = { path = "/unequal" }, respond = { status = 200 }, policies.acl = { allow = 'identity.plan != "free"' } }
    claim = { match = { path = "/claim" }, respond = { status = 200 }, policies.acl = { allow = 'identity.claims.tenant == "a" || "payer" in identity.roles' } }
    certificate = { match = { path = "/certificate" }, respond = { status = 200 }, policies.acl = { allow = '"acme.test" in client.certificate.dns && request.query.ok == "1"' } }
    several = { match = { path = "/several" }, respond = { status = 200 }, policies.acl = { scopes = ["orders:read"], roles = ["partner"], allow = 'request.method == "GET"' } }
    open = { match = { path = "/open" }, respond = { status = 200 } }
"#;

#[tokio::test]
async fn each_requirement_lets_in_whom_it_should() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let gateway = Gateway::draft(GATEWAY)
        .with("entry", server.entry())
        .with("ca", authority.path())
        .start()
        .await;
    // Whether acme and small come in. An anonymous caller comes in nowhere but where there is no acl.
    let cases = [
        ("/scopes", true, false),
        ("/any-scopes", true, false),
        ("/roles", true, false),
        ("/groups", true, false),
        ("/allowed", true, false),
        ("/denied", false, true),
        ("/both", true, false),
        ("/own/acme", true, false),
        ("/own/small", false, true),
        ("/own/sm%61ll", false, true),
        ("/plan", true, false),
        // Who has no plan has none that is not free: what cannot be told lets nobody in.
        ("/unequal", true, false),
        ("/claim", true, false),
        ("/certificate?ok=1", true, false),
        ("/certificate?ok=0", false, false),
        ("/certificate?ok=1&ok=0", false, false),
        ("/several", true, false),
        ("/open", true, true),
    ];
    let acme = certificate(&authority, "acme.test");
    let small = certificate(&authority, "small.test");
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = |config| Client::over_tls(gateway.address(), protocol, "shop.test", config);
        let acme = client(authority.client_config_with(&acme));
        let small = client(authority.client_config_with(&small));
        let nobody = client(authority.client_config());
        for (path, acme_comes_in, small_comes_in) in cases {
            for (who, comes_in) in [(&acme, acme_comes_in), (&small, small_comes_in)] {
                let answer = who.send(get(path)).await;
                match comes_in {
                    true => assert_eq!(answer.status, 200, "{path} {answer:?}"),
                    false => answer.assert_problem(403, "access_denied"),
                }
            }
            let answer = nobody.send(get(path)).await;
            match path {
                "/open" => assert_eq!(answer.status, 200),
                _ => answer.assert_problem(401, "unauthenticated"),
            }
        }
        let grpc = get("/roles").header("content-type", "application/grpc");
        let answer = small.send(grpc).await;
        assert_eq!(answer.header("grpc-status"), Some("7"), "{answer:?}");
    }
}

#[tokio::test]
async fn the_log_says_what_is_missing_and_the_client_is_told_only_where_it_should_be() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let gateway = Gateway::draft(GATEWAY)
        .with("entry", server.entry())
        .with("ca", authority.path())
        .start()
        .await;
    let small = certificate(&authority, "small.test");
    let config = authority.client_config_with(&small);
    let client = Client::over_tls(gateway.address(), Protocol::Http1, "shop.test", config);
    let cases = [
        (
            "/scopes",
            "the caller lacks one of the scopes orders:read orders:write",
            true,
        ),
        (
            "/roles",
            "the caller lacks each of the roles x payer",
            false,
        ),
        ("/groups", "the caller lacks each of the groups eu", false),
        ("/allowed", "the consumer is not let in", false),
        ("/own/acme", "the condition in allow does not hold", false),
        (
            "/plan",
            "the condition in allow cannot be told: `identity.plan` has no value",
            false,
        ),
        (
            "/claim",
            "the condition in allow cannot be told: `identity.claims.tenant` has no value",
            false,
        ),
    ];
    for (path, cause, is_told) in cases {
        let answer = client.send(get(path)).await;
        let line = gateway.log_of(&answer).await;
        assert_eq!(line["cause"], cause, "{path}");
        assert_eq!(line["code"], "access_denied");
        assert_eq!(line["flag"], "AX");
        assert_eq!(line["consumer"], "small");
        let detail = &answer.json()["detail"];
        assert_eq!(detail.as_str(), is_told.then_some(cause), "{path}");
        assert_eq!(answer.header("www-authenticate"), None);
    }
}
