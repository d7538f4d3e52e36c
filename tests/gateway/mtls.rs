//! `mtls`: certificates of the TLS handshake prove who calls.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};

use crate::harness::*;

/// The certificate of a client; names with a scheme are URIs.
fn certificate(authority: &Authority, subject: &str, names: &[&str]) -> Certificate {
    authority.issue_with(&[], |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, subject);
        for &name in names {
            let name = (name.contains("://"), name.try_into().unwrap());
            params.subject_alt_names.push(match name {
                (true, uri) => SanType::URI(uri),
                (false, dns) => SanType::DnsName(dns),
            });
        }
    })
}

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    tls = { certificates = [$entry], client_auth = { mode = "optional", ca = "$ca" } }

    [consumers.billing]
    certificates = [{ uri = "spiffe://shop/billing" }, { dns = "Billing.Test" }]
    plan = "gold"
    roles = ["partner", "payer"]

    [consumers.audit]
    certificates = [{ subject = "CN=audit" }]

    [identity.mtls.known]
    [identity.mtls.any]
    strangers = "allow"

    [upstreams.shop]
    endpoints = ["$shop"]

    [gateway.policies.request_headers.set]
    x-who = "{identity.subject}"
    x-roles = "{identity.roles}"
    x-plan = "{identity.plan}"
    x-credential = "{identity.credential}"

    [routes.known]
    match = { path = "/known" }
    upstream = "shop"
    policies.mtls = { providers = ["known"] }

    [routes.any]
    match = { path = "/any" }
    upstream = "shop"
    policies.mtls = { providers = ["known", "any"] }

    [routes.public]
    match = { path = "/public" }
    upstream = "shop"
    policies.mtls = { providers = ["known"], anonymous = "allow" }
"#;

#[tokio::test]
async fn a_certificate_proves_its_consumer() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let origin = Origin::http1(|_| text("served"));
    let gateway = Gateway::draft(GATEWAY)
        .with("entry", server.entry())
        .with("ca", authority.path())
        .with("shop", &origin)
        .start()
        .await;
    let by_uri = certificate(&authority, "x", &["spiffe://shop/billing", "audit.test"]);
    let by_dns = certificate(&authority, "x", &["other.test", "BILLING.test"]);
    let by_subject = certificate(&authority, "audit", &[]);
    let stranger = certificate(&authority, "stranger", &["spiffe://shop/billing/2"]);
    // For /known, /any and /public: who calls, or the code.
    let refused = "credential_refused";
    let cases = [
        ("none", None, ["unauthenticated", "unauthenticated", ""]),
        ("by uri", Some(&by_uri), ["billing"; 3]),
        ("by dns", Some(&by_dns), ["billing"; 3]),
        ("by subject", Some(&by_subject), ["audit"; 3]),
        (
            "stranger",
            Some(&stranger),
            [refused, "CN=stranger", refused],
        ),
    ];
    for (what, shown, expected) in cases {
        for protocol in [Protocol::Http1, Protocol::H2] {
            let config = match shown {
                None => authority.client_config(),
                Some(certificate) => authority.client_config_with(certificate),
            };
            let client = Client::over_tls(gateway.address(), protocol, "shop.test", config);
            for (path, expected) in ["/known", "/any", "/public"].into_iter().zip(expected) {
                // Nobody says by a header who calls.
                let ask = get(path).header("x-who", "root").header("x-plan", "gold");
                let answer = client.send(ask).await;
                let line = gateway.log_of(&answer).await;
                if ["unauthenticated", refused].contains(&expected) {
                    answer.assert_problem(401, expected);
                    assert_eq!(line["flag"], "UA", "{what} {path}");
                    continue;
                }
                assert_eq!(answer.status, 200, "{what} {path}");
                let seen = origin.seen().pop().unwrap();
                let header = |name: &str| seen.headers.get(name).map(|it| it.to_str().unwrap());
                assert_eq!(header("x-who").unwrap_or(""), expected, "{what} {path}");
                let is_billing = expected == "billing";
                assert_eq!(header("x-plan"), is_billing.then_some("gold"), "{what}");
                let roles = header("x-roles").filter(|roles| !roles.is_empty());
                assert_eq!(roles, is_billing.then_some("partner payer"), "{what}");
                let consumer = ["billing", "audit"].contains(&expected);
                assert_eq!(line["consumer"].as_str().is_some(), consumer, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_the_log_says_of_a_refusal_the_client_is_not_told() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let origin = Origin::http1(|_| text("served"));
    let gateway = Gateway::draft(GATEWAY)
        .with("entry", server.entry())
        .with("ca", authority.path())
        .with("shop", &origin)
        .start()
        .await;
    let stranger = certificate(&authority, "stranger", &[]);
    let config = authority.client_config_with(&stranger);
    let client = Client::over_tls(gateway.address(), Protocol::Http1, "shop.test", config);
    let answer = client.send(get("/known")).await;
    let line = gateway.log_of(&answer).await;
    assert_eq!(line["cause"], "the certificate is no consumer's");
    assert!(!answer.text().contains("consumer"), "{}", answer.text());
}
