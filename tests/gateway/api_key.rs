//! `api_key`: keys prove who calls.

use northgate::identity::api_key::{KeyHash, Prefix, make};

use crate::harness::*;

/// A key as `northgate key new` makes it.
fn key() -> String {
    let made = make(&Prefix::default()).expect("randomness");
    made.text.to_string()
}

fn hash(key: &str) -> KeyHash {
    KeyHash::of(key.as_bytes())
}

const GATEWAY: &str = r#"
    [consumers.acme]
    scopes = ["orders:read", "orders:write"]
    roles = ["partner"]
    plan = "gold"
    api_keys = ["$one", { hash = "$two", id = "nightly", expires = 2999-01-31, scopes = ["orders:read"] }]

    [consumers.other]
    api_keys = [{ hash = "$other" }, { hash = "$old", expires = 2020-01-31 }]

    [upstreams.shop]
    endpoints = ["$shop"]

    [gateway.policies.request_headers.set]
    x-who = "{identity.consumer}"
    x-scopes = "{identity.scopes}"
    x-credential = "{identity.credential}"

    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.api_key = {}
"#;

struct Keys {
    one: String,
    two: String,
    other: String,
    old: String,
}

impl Keys {
    fn new() -> Keys {
        Keys {
            one: key(),
            two: key(),
            // Another gateway gave it out.
            other: "zX9/another+gateway=0123456789".to_owned(),
            old: key(),
        }
    }

    /// Fills in those of them that the configuration names.
    fn fill(&self, toml: &str, shop: &Origin) -> Draft {
        let keys = [
            ("one", &self.one),
            ("two", &self.two),
            ("other", &self.other),
            ("old", &self.old),
        ];
        let named = keys
            .into_iter()
            .filter(|(name, _)| toml.contains(&format!("\"${name}\"")));
        named.fold(
            Gateway::draft(toml).with("shop", shop),
            |draft, (name, key)| draft.with(name, hash(key)),
        )
    }
}

#[tokio::test]
async fn a_key_proves_its_consumer() {
    let keys = Keys::new();
    let shop = Origin::http1(|_| text("served"));
    let gateway = keys.fill(GATEWAY, &shop).start().await;
    let name = hash(&keys.one).to_string();
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (key, who, scopes, credential) in [
            (&keys.one, "acme", "orders:read orders:write", &name[..19]),
            (&keys.two, "acme", "orders:read", "nightly"),
            (
                &keys.other,
                "other",
                "",
                &hash(&keys.other).to_string()[..19],
            ),
        ] {
            let answer = client.send(get("/orders").header("x-api-key", key)).await;
            assert_eq!(answer.status, 200, "{key}");
            let seen = shop.seen().pop().expect("it was asked");
            assert_eq!(seen.header("x-who"), Some(who));
            assert_eq!(seen.header("x-scopes").unwrap_or_default(), scopes);
            assert_eq!(seen.header("x-credential"), Some(credential));
            let line = gateway.log_of(&answer).await;
            assert_eq!(line["consumer"], who);
            assert!(!line.to_string().contains(key.as_str()), "{line}");
        }
        let nobody = client.send(get("/orders")).await;
        nobody.assert_problem(401, "unauthenticated");
        assert_eq!(
            nobody.header("www-authenticate"),
            Some("ApiKey realm=\"api\"")
        );
    }
}

#[tokio::test]
async fn a_key_is_found_where_it_is_looked_for_and_nowhere_else() {
    let keys = Keys::new();
    let shop = Origin::http1(|_| text("served"));
    let places = r#"
        [identity.api_key.header]
        [identity.api_key.authorization]
        header = "authorization"
        realm = "The shop"
        [identity.api_key.bearer]
        header = "authorization"
        scheme = "Bearer"
        [identity.api_key.query]
        header = "off"
        query = "api_key"
        [identity.api_key.cookie]
        header = "off"
        cookie = "key"
    "#;
    let names = ["header", "authorization", "bearer", "query", "cookie"];
    let routes = names.map(|name| {
        format!(
            "[routes.{name}]\nmatch = {{ path = \"/{name}\" }}\nupstream = \"shop\"\npolicies.api_key = {{ providers = [\"{name}\"] }}\n"
        )
    });
    let toml = GATEWAY.replace(
        "policies.api_key = {}",
        "policies.api_key = { providers = [\"header\"] }",
    );
    let gateway = keys.fill(&[&toml, places, &routes.concat()].concat(), &shop);
    let gateway = gateway.start().await;
    let client = gateway.http1();
    for shown in ["header", "authorization", "bearer", "query", "cookie"] {
        for place in names {
            let key = &keys.one;
            let ask = match shown {
                "header" => get(&format!("/{place}")).header("X-API-Key", key),
                "authorization" => {
                    get(&format!("/{place}")).header("authorization", &format!("apikey {key}"))
                }
                "bearer" => {
                    get(&format!("/{place}")).header("authorization", &format!("Bearer {key}"))
                }
                "query" => get(&format!("/{place}?a=1&api_key={key}")),
                _ => get(&format!("/{place}")).header("cookie", &format!("a=1; key={key}")),
            };
            let answer = client.send(ask).await;
            match shown == place {
                true => assert_eq!(answer.status, 200, "{shown}"),
                false => answer.assert_problem(401, "unauthenticated"),
            }
        }
    }
    let other = keys.other.replace('+', "%2B").replace('/', "%2f");
    let answer = client.send(get(&format!("/query?api_key={other}"))).await;
    assert_eq!(answer.status, 200, "what has to be escaped is");
    let answer = client.send(get("/authorization")).await;
    assert_eq!(
        answer.header("www-authenticate"),
        Some("ApiKey realm=\"The shop\"")
    );
}

/// Its name, the headers that it sends, and the code that it gets.
type Attack<'a> = (&'a str, Vec<(&'a str, String)>, &'a str);

#[tokio::test]
async fn attacks_on_keys_are_refused() {
    let keys = Keys::new();
    let shop = Origin::http1(|_| text("served"));
    let gateway = keys.fill(GATEWAY, &shop).start().await;
    let Keys { one, old, .. } = &keys;
    let other_case: String = one
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    let wrong_checksum = {
        let last = if one.ends_with('0') { '1' } else { '0' };
        format!("{}{last}", &one[..one.len() - 1])
    };
    let digest = hash(one).to_string();
    let cyrillic = one.replacen('g', "\u{0261}", 1);
    let header = |value: &str| vec![("x-api-key", value.to_owned())];
    let refused = "credential_refused";
    let absent = "unauthenticated";
    let attacks: Vec<Attack<'_>> = vec![
        (
            "a key with a wrong checksum",
            header(&wrong_checksum),
            refused,
        ),
        (
            "a key that is cut off",
            header(&one[..one.len() - 1]),
            refused,
        ),
        ("a key that goes on", header(&format!("{one}0")), refused),
        (
            "a key with one digit changed",
            header(&one.replacen(&one[3..4], "-", 1)),
            refused,
        ),
        ("a key in the other case", header(&other_case), refused),
        ("a key in upper case", header(&one.to_uppercase()), refused),
        ("a good key that nobody has", header(&key()), refused),
        (
            "a key of another prefix",
            header(&one.replacen("ng_", "gn_", 1)),
            refused,
        ),
        ("a key that has expired", header(old), refused),
        ("the id alone", header(&one[..13]), refused),
        ("the secret alone", header(&one[14..]), refused),
        ("the hash from the configuration", header(&digest), refused),
        ("the digits of the hash", header(&digest[7..]), refused),
        ("an empty key", header(""), refused),
        ("a key in quotes", header(&format!("\"{one}\"")), refused),
        (
            "a key with a space inside",
            header(&format!("{} {}", &one[..9], &one[9..])),
            refused,
        ),
        (
            "a key with letters that look alike",
            header(&cyrillic),
            refused,
        ),
        (
            "two keys in one header",
            header(&format!("{one}, {one}")),
            refused,
        ),
        (
            "a key in a list of JSON",
            header(&format!("[\"{one}\"]")),
            refused,
        ),
        (
            "an escaped key",
            header(&one.replacen('_', "%5F", 1)),
            refused,
        ),
        ("a pattern", header("*"), refused),
        ("a statement of SQL", header("' OR '1'='1"), refused),
        (
            "a key of 20,000 bytes",
            header(&"k".repeat(20_000)),
            refused,
        ),
        (
            "the scheme where none is looked for",
            header(&format!("ApiKey {one}")),
            refused,
        ),
        (
            "two headers with the same key",
            [header(one), header(one)].concat(),
            refused,
        ),
        (
            "a good header behind a bad one",
            [header("x"), header(one)].concat(),
            refused,
        ),
        (
            "a good header before an empty one",
            [header(one), header("")].concat(),
            refused,
        ),
        (
            "a key in Authorization",
            vec![("authorization", format!("ApiKey {one}"))],
            absent,
        ),
        (
            "a key as a bearer's token",
            vec![("authorization", format!("Bearer {one}"))],
            absent,
        ),
        (
            "a key in a cookie",
            vec![("cookie", format!("x-api-key={one}; api_key={one}"))],
            absent,
        ),
        (
            "a key in a header of another name",
            vec![("x-api-key2", one.clone())],
            absent,
        ),
    ];
    assert_named(attacks.iter().map(|(name, ..)| *name), 20);
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (name, headers, code) in &attacks {
            let mut ask = get("/orders");
            for (header, value) in headers {
                ask = ask.header(header, value);
            }
            let answer = client.send(ask).await;
            assert_eq!(answer.status, 401, "{name}");
            answer.assert_problem(401, code);
            assert!(answer.header("www-authenticate").is_some(), "{name}");
            let line = gateway.log_of(&answer).await;
            assert!(line["consumer"].is_null(), "{name}");
            let told = format!("{line}{}", answer.text());
            assert!(!told.contains(&one[14..]), "{name}: {told}");
        }
        let answer = client.send(get(&format!("/orders?x-api-key={one}"))).await;
        answer.assert_problem(401, absent);
    }
    assert!(shop.seen().is_empty(), "nobody came through");
}

#[tokio::test]
async fn a_key_ends_with_the_reload_that_takes_it_out() {
    let keys = Keys::new();
    let shop = Origin::http1(|_| text("served"));
    let mut gateway = keys.fill(GATEWAY, &shop).start().await;
    let client = gateway.http1();
    let status = async |key: &str| {
        let answer = client.send(get("/").header("x-api-key", key)).await;
        answer.status
    };
    assert_eq!(
        [status(&keys.one).await, status(&keys.other).await],
        [200, 200]
    );
    // From one key to the next, and a consumer that is gone.
    let next = key();
    let gone = GATEWAY.replace("[consumers.other]", "[consumers.third]");
    let gone = gone
        .replace("\"$one\"", "\"$next\"")
        .replace("{ hash = \"$other\" }, ", "");
    let draft = keys.fill(&gone, &shop).with("next", hash(&next));
    draft.apply(&mut gateway).await.expect("it is good");
    for (key, expected) in [
        (&keys.one, 401),
        (&next, 200),
        (&keys.two, 200),
        (&keys.other, 401),
    ] {
        assert_eq!(status(key).await, expected);
    }
}
