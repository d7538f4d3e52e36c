//! `any_of`: one of several authenticators proves who calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use northgate::identity::api_key::{KeyHash, Prefix, make};
use northgate::identity::basic::PasswordHash;
use serde_json::json;

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;

const GATEWAY: &str = r#"
    [identity.jwt.main]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { file = "$keys" }

    [identity.jwt.places]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { file = "$keys" }
    cookie = "session"

    [identity.api_key.main]

    [identity.api_key.places]
    header = "off"
    query = "api_key"

    [identity.basic.main]
    failures = 1000

    [consumers.acme]
    api_keys = ["$key"]

    [consumers.ann]
    passwords = ["$password"]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.jwt-first]
    match = { path = "/jwt-first" }
    upstream = "shop"
    [routes.jwt-first.policies]
    jwt = { providers = ["main"], forward = { x-token = "subject" } }
    api_key = { providers = ["main"], forward = { x-key = "consumer" } }
    basic = { forward = { x-login = "consumer" } }
    any_of = ["jwt", "api_key", "basic"]

    [routes.basic-first]
    match = { path = "/basic-first" }
    upstream = "shop"
    [routes.basic-first.policies]
    jwt = { providers = ["main"], forward = { x-token = "subject" } }
    api_key = { providers = ["main"], forward = { x-key = "consumer" } }
    basic = { forward = { x-login = "consumer" } }
    any_of = ["basic", "api_key", "jwt"]

    [routes.anybody]
    match = { path = "/anybody" }
    upstream = "shop"
    [routes.anybody.policies]
    jwt = { providers = ["main"], anonymous = "allow", forward = { x-token = "subject" } }
    api_key = { providers = ["main"], anonymous = "allow", forward = { x-key = "consumer" } }
    any_of = ["jwt", "api_key"]

    [routes.half]
    match = { path = "/half" }
    upstream = "shop"
    [routes.half.policies]
    jwt = { providers = ["main"], anonymous = "allow" }
    api_key = { providers = ["main"] }
    any_of = ["jwt", "api_key"]

    [routes.acl]
    match = { path = "/acl" }
    upstream = "shop"
    [routes.acl.policies]
    jwt = { providers = ["main"] }
    api_key = { providers = ["main"] }
    any_of = ["jwt", "api_key"]
    acl = { consumers = { allow = ["acme"] } }

    [routes.places]
    match = { path = "/places" }
    upstream = "shop"
    [routes.places.policies]
    jwt = { providers = ["places"] }
    api_key = { providers = ["main", "places"] }
    any_of = ["jwt", "api_key"]

    [routes.kept]
    match = { path = "/kept" }
    upstream = "shop"
    [routes.kept.policies]
    jwt = { providers = ["places"], keep_credentials = true }
    api_key = { providers = ["main", "places"], keep_credentials = true }
    any_of = ["jwt", "api_key"]

    [routes.half-kept]
    match = { path = "/half-kept" }
    upstream = "shop"
    [routes.half-kept.policies]
    jwt = { providers = ["places"], keep_credentials = true }
    api_key = { providers = ["main", "places"] }
    any_of = ["jwt", "api_key"]
"#;

struct Shop {
    gateway: Gateway,
    origin: Origin,
    /// Headers of a request: a good one and a bad one of each kind.
    token: [String; 2],
    key: [String; 2],
    login: [String; 2],
    _folder: tempfile::TempDir,
}

impl Shop {
    async fn start(protocol: Protocol) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let signers = [(); 2].map(|()| Signer::new("EdDSA", "k1"));
        let path = folder.path().join("keys.json");
        std::fs::write(&path, jwks([&signers[0]])).unwrap();
        let claims =
            json!({ "iss": "https://id.test/", "aud": "shop", "sub": "u1", "exp": from_now(300) });
        let key = [(); 2].map(|()| {
            make(&Prefix::default())
                .expect("randomness")
                .text
                .to_string()
        });
        let origin = Origin::speaking(protocol, |_| text("served"));
        let gateway = Gateway::draft(GATEWAY)
            .with("keys", path.display())
            .with("key", KeyHash::of(key[0].as_bytes()))
            .with("password", PasswordHash::of(b"hers").unwrap().as_str())
            .with("shop", &origin)
            .with("protocol", protocol)
            .start()
            .await;
        Shop {
            gateway,
            origin,
            token: signers.map(|signer| signer.token(&claims)),
            key,
            login: ["ann:hers", "ann:another"].map(|login| STANDARD.encode(login)),
            _folder: folder,
        }
    }

    /// A request with these credentials, such as `token` and `bad key`, and with a claim of who calls.
    fn ask(&self, path: &str, shown: &[&str]) -> Ask {
        let forged = ["x-token", "x-key", "x-login", "x_token"];
        let ask = forged
            .into_iter()
            .fold(get(path), |ask, name| ask.header(name, "forged"));
        shown.iter().fold(ask, |ask, what| match *what {
            "token" => ask.header("authorization", &format!("Bearer {}", self.token[0])),
            "bad token" => ask.header("authorization", &format!("Bearer {}", self.token[1])),
            "login" => ask.header("authorization", &format!("Basic {}", self.login[0])),
            "bad login" => ask.header("authorization", &format!("Basic {}", self.login[1])),
            "key" => ask.header("x-api-key", &self.key[0]),
            "bad key" => ask.header("x-api-key", &self.key[1]),
            other => panic!("no credential of ours: {other}"),
        })
    }

    /// What the origin was told last of who calls. It sees no credential.
    fn told(&self) -> Vec<String> {
        let seen = self.origin.seen().pop().expect("it was asked");
        for name in ["authorization", "x-api-key", "x_token"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
        ["x-token", "x-key", "x-login"]
            .into_iter()
            .filter_map(|name| Some(format!("{name}: {}", seen.header(name)?)))
            .collect()
    }
}

/// Which schemes are asked for, in order.
fn schemes(answer: &Answer) -> Vec<&str> {
    let values = answer.headers.get_all("www-authenticate").iter();
    let words = values.filter_map(|value| value.to_str().unwrap().split(' ').next());
    words.collect()
}

#[tokio::test]
async fn the_first_good_credential_decides() {
    /// What is shown, and who is said to call by each order.
    const CASES: [(&[&str], &str, &str); 9] = [
        (&["token"], "x-token: u1", "x-token: u1"),
        (&["key"], "x-key: acme", "x-key: acme"),
        (&["login"], "x-login: ann", "x-login: ann"),
        (&["token", "key"], "x-token: u1", "x-key: acme"),
        (&["login", "key"], "x-key: acme", "x-login: ann"),
        (&["bad token", "key"], "x-key: acme", "x-key: acme"),
        (&["bad login", "key"], "x-key: acme", "x-key: acme"),
        (&["token", "bad key"], "x-token: u1", "x-token: u1"),
        (&["login", "bad key"], "x-login: ann", "x-login: ann"),
    ];
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Shop::start(protocol).await;
        let client = shop.gateway.client(protocol);
        for (shown, first, second) in CASES {
            for (path, expected) in [("/jwt-first", first), ("/basic-first", second)] {
                let answer = client.send(shop.ask(path, shown)).await;
                assert_eq!(answer.status, 200, "{path} {shown:?}");
                assert_eq!(shop.told(), [expected], "{path} {shown:?}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_comes_in_unproven_and_everybody_is_asked_for() {
    const BAD: [&[&str]; 5] = [
        &["bad token"],
        &["bad key"],
        &["bad login"],
        &["bad token", "bad key"],
        &["bad login", "bad key"],
    ];
    let orders: [(&str, &[&str]); 3] = [
        ("/jwt-first", &["Bearer", "ApiKey", "Basic"]),
        ("/basic-first", &["Basic", "ApiKey", "Bearer"]),
        ("/half", &["Bearer", "ApiKey"]),
    ];
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Shop::start(protocol).await;
        let client = shop.gateway.client(protocol);
        for (path, challenges) in orders {
            let answer = client.send(shop.ask(path, &[])).await;
            answer.assert_problem(401, "unauthenticated");
            assert_eq!(schemes(&answer), challenges, "{path}");
            for shown in BAD {
                if path == "/half" && shown.contains(&"bad login") {
                    continue;
                }
                let answer = client.send(shop.ask(path, shown)).await;
                answer.assert_problem(401, "credential_refused");
                assert_eq!(schemes(&answer), challenges, "{path} {shown:?}");
            }
        }
        assert!(shop.origin.seen().is_empty());

        // Who shows nothing comes in where all of them allow it, and who shows something bad does not even there.
        assert_eq!(client.send(shop.ask("/anybody", &[])).await.status, 200);
        assert_eq!(shop.told(), [""; 0]);
        let answer = client.send(shop.ask("/anybody", &["key"])).await;
        assert_eq!(answer.status, 200);
        assert_eq!(shop.told(), ["x-key: acme"]);
        for shown in [&["bad token"][..], &["bad key"], &["bad token", "bad key"]] {
            let answer = client.send(shop.ask("/anybody", shown)).await;
            answer.assert_problem(401, "credential_refused");
        }
    }
}

#[tokio::test]
async fn an_acl_is_about_who_was_proven() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Shop::start(protocol).await;
        let client = shop.gateway.client(protocol);
        for (shown, status) in [
            (&["key"][..], 200),
            (&["bad token", "key"], 200),
            (&["token"], 403),
            // The token is asked first, and proves somebody else.
            (&["token", "key"], 403),
            (&["bad token", "bad key"], 401),
            (&[], 401),
        ] {
            let answer = client.send(shop.ask("/acl", shown)).await;
            assert_eq!(answer.status, status, "{shown:?}");
        }
        assert_eq!(shop.origin.seen().len(), 2);
    }
}

#[tokio::test]
async fn upstreams_get_no_credential_of_any_authenticator_unless_it_is_kept() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Shop::start(protocol).await;
        let client = shop.gateway.client(protocol);
        let (token, key) = (&shop.token[0], &shop.key[0]);
        // All of them are good; or each proves the caller with something bad beside it.
        let [bad_token, bad_key] = [&shop.token[1], &shop.key[1]];
        for (cookie, parameter) in [(token, key), (bad_token, key), (token, bad_key)] {
            for (path, keeps_cookie, keeps_key) in [
                ("/places", false, false),
                ("/half-kept", true, false),
                ("/kept", true, true),
            ] {
                let target = format!("{path}?a=1&api_key={parameter}&b=2");
                let ask = get(&target).header("cookie", &format!("theme=dark; session={cookie}"));
                assert_eq!(client.send(ask).await.status, 200, "{path}");
                let seen = shop.origin.seen().pop().unwrap();
                let found = seen.header("cookie").unwrap_or_default();
                assert!(found.contains("theme=dark"), "{path}: {found}");
                assert_eq!(
                    found.contains(cookie.as_str()),
                    keeps_cookie,
                    "{path}: {found}"
                );
                assert!(seen.target.contains("a=1") && seen.target.contains("b=2"));
                let has_key = seen.target.contains(parameter.as_str());
                assert_eq!(has_key, keeps_key, "{path}: {}", seen.target);
            }
        }
        for (path, expected) in [
            ("/places", None),
            ("/half-kept", None),
            ("/kept", Some(&**key)),
        ] {
            let ask = get(path).header("x-api-key", key);
            assert_eq!(client.send(ask).await.status, 200, "{path}");
            let seen = shop.origin.seen().pop().unwrap();
            assert_eq!(seen.header("x-api-key"), expected, "{path}");
        }
    }
}

/// How each kind says what it wants, and what it says more where it was shown something bad. A service that decides is
/// asked nothing here, for it is down.
const WANTED: [(&str, &str, &str); 8] = [
    ("mtls", "ClientCertificate realm=\"northgate\"", ""),
    (
        "jwt",
        "Bearer realm=\"northgate\"",
        ", error=\"invalid_token\"",
    ),
    ("hmac", "Signature realm=\"northgate\"", ""),
    (
        "introspection",
        "Bearer realm=\"northgate\"",
        ", error=\"invalid_token\"",
    ),
    ("forward_auth", "", ""),
    ("api_key", "ApiKey realm=\"api\"", ""),
    ("basic", "Basic realm=\"api\", charset=\"UTF-8\"", ""),
    ("oidc", "Cookie cookie-name=\"__Host-northgate-main\"", ""),
];

const EVERY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    tls = { certificates = [$entry], client_auth = { mode = "optional", ca = "$ca" } }

    [consumers.acme]
    api_keys = ["$key"]
    passwords = ["$password"]
    certificates = [{ dns = "acme.test" }]
    signing_keys = [{ id = "acme", secret = { file = "$secret" } }]

    [identity.jwt.main]
    issuer = "https://id.test/"
    audiences = ["shop"]
    jwks = { file = "$keys" }
    header = "x-token"

    [identity.introspection.main]
    url = "http://$server/introspect"
    client_id = "gateway"
    client_secret = { file = "$secret" }

    [identity.forward_auth.main]
    url = "http://127.0.0.1:9/verify"
    on_server_down = "allow"

    [identity.basic.main]
    failures = 1000

    [identity.oidc.main]
    issuer = "http://127.0.0.1:9"
    client_id = "web"
    callback_url = "https://shop.test/oauth/callback"

    [routes.login]
    match = { path = "/oauth/{*rest}" }
    login = "main"
"#;

/// A route with these authenticators. The `acl` is for those that let anybody in.
fn guarded(kinds: &[&str]) -> String {
    let name = kinds.join("-").replace('_', "");
    let policies: Vec<_> = kinds
        .iter()
        .map(|kind| format!("{kind} = {{}}\n"))
        .collect();
    format!(
        "[routes.{name}]\nmatch = {{ path = \"/{name}\" }}\nrespond = {{ status = 200 }}\n\
         [routes.{name}.policies]\n{}any_of = {kinds:?}\nacl = {{ roles = [\"nobody\"] }}\n",
        policies.concat()
    )
}

/// RFC 9110 section 15.5.2: a 401 has a challenge; and each authenticator speaks for itself.
#[tokio::test]
async fn every_401_says_what_is_wanted() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let stranger = authority.issue(&["stranger.test"]);
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    std::fs::write(&keys, jwks([&Signer::new("EdDSA", "k1")])).unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret that has 32 bytes or more").unwrap();
    let json = [("content-type", "application/json")];
    let server_of_tokens = Origin::http1(move |_| reply(200, &json, full(r#"{"active":false}"#)));
    let mut pairs: Vec<Vec<usize>> = (0..8).map(|one| vec![one]).collect();
    pairs.extend((0..8).flat_map(|one| (one + 1..8).map(move |other| vec![one, other])));
    assert_eq!(pairs.len(), 36);
    let names = |of: &[usize]| of.iter().map(|&it| WANTED[it].0).collect::<Vec<_>>();
    let routes: String = pairs.iter().map(|of| guarded(&names(of))).collect();
    let gateway = Gateway::draft(&format!("{EVERY}\n{routes}"))
        .with("entry", server.entry())
        .with("ca", authority.path())
        .with("key", KeyHash::of(b"somebody's key, which nobody shows"))
        .with("password", PasswordHash::of(b"hers").unwrap().as_str())
        .with("keys", keys.display())
        .with("secret", secret.display())
        .with("server", &server_of_tokens)
        .start()
        .await;
    let client = |config| Client::over_tls(gateway.address(), Protocol::H2, "shop.test", config);
    let without = client(authority.client_config());
    let with = client(authority.client_config_with(&stranger));
    let show = |ask: Ask, what: &str| match what {
        "mtls" => ask,
        "jwt" => ask.header("x-token", "x.y.z"),
        "hmac" => ask
            .header(
                "signature-input",
                "sig=(\"@method\");created=1;keyid=\"acme\"",
            )
            .header("signature", "sig=:AAAA:"),
        "introspection" => ask.header("authorization", "Bearer opaque"),
        "api_key" => ask.header("x-api-key", "unknown"),
        "basic" => ask.header("authorization", "Basic YW5uOm5v"),
        "oidc" => ask.header("cookie", "__Host-northgate-main=junk"),
        other => panic!("there is no bad credential of {other}"),
    };
    for of in &pairs {
        let path = format!("/{}", names(of).join("-").replace('_', ""));
        let bad: Vec<_> = names(of)
            .into_iter()
            .filter(|it| *it != "forward_auth")
            .collect();
        let mut cases = vec![Vec::new()];
        cases.extend(bad.iter().map(|&it| vec![it]));
        // A request has one Authorization.
        if bad.len() == 2 && bad != ["introspection", "basic"] {
            cases.push(bad);
        }
        for shown in cases {
            let ask = shown.iter().fold(get(&path), |ask, what| show(ask, what));
            let client = if shown.contains(&"mtls") {
                &with
            } else {
                &without
            };
            let answer = client.send(ask).await;
            let code = if shown.is_empty() {
                "unauthenticated"
            } else {
                "credential_refused"
            };
            answer.assert_problem(401, code);
            let mut expected: Vec<String> = of
                .iter()
                .map(|&it| WANTED[it])
                .filter(|(_, wanted, _)| !wanted.is_empty())
                .map(|(kind, wanted, more)| {
                    let more = if shown.contains(&kind) { more } else { "" };
                    format!("{wanted}{more}")
                })
                .collect();
            if expected.is_empty() {
                expected.push("Unspecified realm=\"northgate\"".to_owned());
            }
            let told = answer.headers.get_all("www-authenticate").iter();
            let told: Vec<_> = told.map(|value| value.to_str().unwrap()).collect();
            assert_eq!(told, expected, "{path} {shown:?}");
            let signs = answer.header("accept-signature").is_some();
            assert_eq!(signs, path.contains("hmac"), "{path}");
        }
    }
}
