//! `hmac`: signatures of requests prove who calls, for that very request and once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::AsyncReadExt;

use crate::harness::tokens::{Signer, from_now};
use crate::harness::*;

/// The keys of two consumers.
struct Keys {
    shared: Signer,
    edwards: Signer,
    elliptic: Signer,
    rsa: Signer,
}

impl Keys {
    fn new() -> Keys {
        Keys {
            shared: Signer::new("HS256", "shared"),
            edwards: Signer::new("EdDSA", "edwards"),
            elliptic: Signer::new("ES256", "elliptic"),
            rsa: Signer::new("PS512", "rsa"),
        }
    }

    fn in_files(&self, folder: &std::path::Path) {
        for key in [&self.shared, &self.edwards, &self.elliptic, &self.rsa] {
            std::fs::write(folder.join(&key.kid), &key.plain).unwrap();
        }
    }
}

const GATEWAY: &str = r#"
    [consumers.billing]
    signing_keys = [{ id = "shared", secret = { file = "$keys/shared" } }]

    [consumers.partner]
    signing_keys = [
        { id = "edwards", public_key = { file = "$keys/edwards" } },
        { id = "elliptic", public_key = { file = "$keys/elliptic" } },
        { id = "rsa", public_key = { file = "$keys/rsa" } },
    ]

    [identity.hmac.strict]
    [identity.hmac.bodiless]
    content_digest = "optional"
    components = ["@method", "@path", "x-amount"]
    tag = "pay"
    $more

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [gateway.policies.request_headers.set]
    x-who = "{identity.subject}/{identity.credential}"

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.hmac = { providers = ["strict"] }

    [routes.pay]
    match = { path = "/pay" }
    upstream = "shop"
    policies.hmac = { providers = ["bodiless"] }
"#;

struct Shop {
    keys: Keys,
    folder: tempfile::TempDir,
    gateway: Gateway,
}

impl Shop {
    async fn start(origin: impl std::fmt::Display, protocol: Protocol) -> Shop {
        let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
        keys.in_files(folder.path());
        let gateway = draft(folder.path(), origin, protocol, "").start().await;
        Shop {
            keys,
            folder,
            gateway,
        }
    }
}

fn draft(
    keys: &std::path::Path,
    origin: impl std::fmt::Display,
    protocol: Protocol,
    more: &str,
) -> Draft {
    fill(Gateway::draft(GATEWAY), keys, origin, protocol, more)
}

fn fill(
    draft: Draft,
    keys: &std::path::Path,
    origin: impl std::fmt::Display,
    protocol: Protocol,
    more: &str,
) -> Draft {
    draft
        .with("keys", keys.display())
        .with("shop", origin)
        .with("protocol", protocol)
        .with("more", more)
}

/// A request in parts, so that each of them can be changed once it is signed.
#[derive(Clone)]
struct Parts {
    method: &'static str,
    target: String,
    host: &'static str,
    headers: Vec<(String, String)>,
    body: &'static str,
}

fn parts(method: &'static str, target: &str, body: &'static str) -> Parts {
    let mut parts = Parts {
        method,
        target: target.to_owned(),
        host: "shop.test",
        headers: Vec::new(),
        body,
    };
    if !body.is_empty() {
        parts.add("content-digest", &sha_512(body));
    }
    parts
}

fn sha_512(body: &str) -> String {
    format!(
        "sha-512=:{}:",
        BASE64.encode(digest(&SHA512, body.as_bytes()))
    )
}

impl Parts {
    fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn set(mut self, name: &str, value: &str) -> Parts {
        self.headers.retain(|(known, _)| known != name);
        self.add(name, value);
        self
    }

    fn header(&self, name: &str) -> String {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.expect("it has such a header").1.clone()
    }

    /// What the plain components of it are. The signature base is put together here by hand: nothing of the gateway
    /// helps to make what it is shown.
    fn value(&self, component: &str) -> String {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        match component {
            "@method" => self.method.to_owned(),
            "@authority" => self.host.to_owned(),
            "@path" => path.to_owned(),
            "@query" => format!("?{query}"),
            "@target-uri" => format!("http://{}{}", self.host, self.target),
            name => self.header(name),
        }
    }

    fn signed(self, key: &Signer) -> Parts {
        let nonce = nonce();
        self.signed_with(
            key,
            &Input {
                nonce: &nonce,
                ..Input::default()
            },
        )
    }

    fn signed_with(mut self, key: &Signer, input: &Input<'_>) -> Parts {
        let mut components: Vec<_> = input.components.to_vec();
        if !self.body.is_empty() && !input.is_without_digest {
            components.push("content-digest");
        }
        let mut base = String::new();
        for name in &components {
            base.push_str(&format!("\"{name}\": {}\n", self.value(name)));
        }
        let names: Vec<_> = components
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        let mut parameters = format!("({})", names.join(" "));
        if let Some(created) = input.created {
            parameters.push_str(&format!(";created={created}"));
        }
        parameters.push_str(&format!(";keyid=\"{}\"", input.key.unwrap_or(&key.kid)));
        if !input.nonce.is_empty() {
            parameters.push_str(&format!(";nonce=\"{}\"", input.nonce));
        }
        parameters.push_str(input.more);
        base.push_str(&format!("\"@signature-params\": {parameters}"));
        let signature = BASE64.encode(key.signature(base.as_bytes()));
        self.add("signature-input", &format!("{}={parameters}", input.label));
        self.add("signature", &format!("{}=:{signature}:", input.label));
        self
    }

    fn ask(&self) -> Ask {
        let mut ask = request(self.method, &self.target).host(self.host);
        for (name, value) in &self.headers {
            ask = ask.header(name, value);
        }
        match self.body {
            "" => ask,
            body => ask.body(full(body)),
        }
    }
}

/// What is signed, and what is said of it.
#[derive(Clone, Copy)]
struct Input<'a> {
    components: &'a [&'a str],
    is_without_digest: bool,
    created: Option<i64>,
    key: Option<&'a str>,
    nonce: &'a str,
    more: &'a str,
    label: &'a str,
}

impl Default for Input<'_> {
    fn default() -> Self {
        Input {
            components: &["@method", "@authority", "@path", "@query"],
            is_without_digest: false,
            created: Some(from_now(0)),
            key: None,
            nonce: "",
            more: "",
            label: "sig",
        }
    }
}

fn nonce() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("n{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[tokio::test]
async fn a_signature_proves_its_consumer() {
    over_each_pair(|pair| async move {
        let origin = Origin::speaking(pair.origin, |seen| text(seen.body));
        let shop = Shop::start(&origin, pair.origin).await;
        let client = shop.gateway.client(pair.client);
        let keys = &shop.keys;
        for (key, who) in [
            (&keys.shared, "billing/shared"),
            (&keys.edwards, "partner/edwards"),
            (&keys.elliptic, "partner/elliptic"),
            (&keys.rsa, "partner/rsa"),
        ] {
            for parts in [
                parts("GET", "/a", ""),
                parts("GET", "/a?b=c&d", ""),
                parts("POST", "/a?x", "hello"),
                parts("DELETE", "/a", ""),
            ] {
                let ask = parts.clone().signed(key).ask().header("x-who", "root");
                let answer = client.send(ask).await;
                let what = format!("{who} {} {}", parts.method, parts.target);
                assert_eq!(
                    (answer.status, answer.text()),
                    (200, parts.body.into()),
                    "{what}"
                );
                let seen = origin.seen().pop().unwrap();
                assert_eq!(seen.header("x-who"), Some(who), "{what}");
                let credentials = (seen.header("signature"), seen.header("signature-input"));
                assert_eq!(credentials, (None, None), "{what}");
                let line = shop.gateway.log_of(&answer).await;
                assert_eq!(line["consumer"], who.split('/').next().unwrap(), "{what}");
            }
        }
        let unsigned = client.send(get("/a")).await;
        unsigned.assert_problem(401, "unauthenticated");
        let wanted =
            r#"sig=("@method" "@authority" "@path" "@query" "content-digest");created;nonce;keyid"#;
        assert_eq!(unsigned.header("accept-signature"), Some(wanted));
    })
    .await;
}

#[tokio::test]
async fn each_provider_has_rules_of_its_own() {
    let origin = Origin::http1(|seen| text(seen.body));
    let shop = Shop::start(&origin, Protocol::Http1).await;
    let client = shop.gateway.http1();
    let key = &shop.keys.edwards;
    let components = ["x-amount", "@path", "@method"];
    let input = Input {
        components: &components,
        is_without_digest: true,
        more: r#";tag="pay""#,
        ..Input::default()
    };
    let mut amount = parts("POST", "/pay", "");
    amount.add("x-amount", "7");
    amount.body = "no digest";
    let good = amount.clone().signed_with(key, &input);
    assert_eq!(client.send(good.ask()).await.text(), "no digest");
    let other = Input {
        more: r#";tag="other""#,
        ..input
    };
    let refused = client
        .send(amount.clone().signed_with(key, &other).ask())
        .await;
    refused.assert_problem(401, "credential_refused");
    let wanted = r#"sig=("@method" "@path" "x-amount");created;nonce;keyid;tag="pay""#;
    assert_eq!(refused.header("accept-signature"), Some(wanted));
    // A digest that is there has to be right all the same.
    let mut wrong = amount;
    wrong.add("content-digest", &sha_512("another"));
    let nonce = nonce();
    let wrong = wrong.signed_with(
        key,
        &Input {
            nonce: &nonce,
            ..input
        },
    );
    client
        .send(wrong.ask())
        .await
        .assert_problem(400, "digest_mismatch");
}

/// How a request is spoiled.
type Attack = fn(&Keys) -> Parts;

fn order() -> Parts {
    parts("POST", "/orders?id=7&to=a", "1000 EUR")
}

fn with(input: Input<'_>, key: &Signer) -> Parts {
    let nonce = nonce();
    order().signed_with(
        key,
        &Input {
            nonce: &nonce,
            ..input
        },
    )
}

/// What is signed is whole; of what it covers there is nothing.
const BODY_GONE: &str = "a body that is gone";

/// A signature that was good for something else, and what else gets nobody in.
const ATTACKS: &[(&str, Attack)] = &[
    ("another method", |keys| Parts {
        method: "PUT",
        ..order().signed(&keys.shared)
    }),
    ("another path", |keys| Parts {
        target: "/admin?id=7&to=a".into(),
        ..order().signed(&keys.shared)
    }),
    ("another query", |keys| Parts {
        target: "/orders?id=8&to=a".into(),
        ..order().signed(&keys.shared)
    }),
    ("a longer query", |keys| Parts {
        target: "/orders?id=7&to=a&to=b".into(),
        ..order().signed(&keys.shared)
    }),
    ("no query", |keys| Parts {
        target: "/orders".into(),
        ..order().signed(&keys.shared)
    }),
    ("another host", |keys| Parts {
        host: "other.test",
        ..order().signed(&keys.shared)
    }),
    ("another digest", |keys| {
        order()
            .signed(&keys.shared)
            .set("content-digest", &sha_512("2000 EUR"))
    }),
    ("a second digest beside the signed one", |keys| {
        let mut parts = order().signed(&keys.shared);
        parts.add(
            "content-digest",
            &format!("sha-256=:{}:", BASE64.encode(digest(&SHA256, b"x"))),
        );
        parts
    }),
    (BODY_GONE, |keys| Parts {
        body: "",
        ..order().signed(&keys.shared)
    }),
    ("a body that came without a digest", |keys| Parts {
        body: "2000 EUR",
        ..parts("POST", "/orders", "").signed(&keys.shared)
    }),
    ("a digest that is not signed", |keys| {
        with(
            Input {
                is_without_digest: true,
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("a digest of an algorithm that is broken", |keys| {
        let mut parts = parts("POST", "/orders", "");
        parts.add("content-digest", "md5=:XUFAKrxLKna5cZ2REBfFkg==:");
        parts.body = "hello";
        parts.signed(&keys.shared)
    }),
    ("less signed than is asked for", |keys| {
        with(
            Input {
                components: &["@method", "@authority", "@query"],
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("nothing signed", |keys| {
        with(
            Input {
                components: &[],
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("components in another order than signed", |keys| {
        let parts = order().signed(&keys.shared);
        let input = parts
            .header("signature-input")
            .replace(r#""@method" "@authority""#, r#""@authority" "@method""#);
        parts.set("signature-input", &input)
    }),
    ("a component taken out", |keys| {
        let parts = order().signed(&keys.shared);
        let input = parts
            .header("signature-input")
            .replace(r#" "content-digest""#, "");
        parts.set("signature-input", &input)
    }),
    ("a component twice", |keys| {
        with(
            Input {
                components: &["@method", "@authority", "@path", "@query", "@path"],
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("parameters changed", |keys| {
        let parts = order().signed(&keys.shared);
        let input = parts
            .header("signature-input")
            .replace("nonce=\"n", "nonce=\"m");
        parts.set("signature-input", &input)
    }),
    ("expired", |keys| {
        with(
            Input {
                created: Some(from_now(-120)),
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("expired as it says itself", |keys| {
        with(
            Input {
                more: ";expires=1700000000",
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("created in the future", |keys| {
        with(
            Input {
                created: Some(from_now(60)),
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("created at no time", |keys| {
        with(
            Input {
                created: None,
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("created twice", |keys| {
        with(
            Input {
                more: ";created=1",
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("a public key as the secret", |keys| {
        // As if the verifier took the algorithm from the request and the public key for a secret.
        let nonce = nonce();
        let confused = Signer::of_secret(&keys.edwards.plain);
        order().signed_with(
            &confused,
            &Input {
                key: Some("edwards"),
                nonce: &nonce,
                more: ";alg=\"hmac-sha256\"",
                ..Input::default()
            },
        )
    }),
    ("the raw bytes of a public key as the secret", |keys| {
        let nonce = nonce();
        let pem = String::from_utf8(keys.edwards.plain.clone()).unwrap();
        let der = BASE64
            .decode(
                pem.lines()
                    .filter(|line| !line.starts_with('-'))
                    .collect::<String>(),
            )
            .unwrap();
        let confused = Signer::of_secret(&der[der.len() - 32..]);
        order().signed_with(
            &confused,
            &Input {
                key: Some("edwards"),
                nonce: &nonce,
                ..Input::default()
            },
        )
    }),
    ("an algorithm that is not the key's", |keys| {
        with(
            Input {
                more: ";alg=\"ed25519\"",
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("no algorithm", |keys| {
        with(
            Input {
                more: ";alg=\"none\"",
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("the id of another consumer's key", |keys| {
        with(
            Input {
                key: Some("edwards"),
                ..Input::default()
            },
            &keys.elliptic,
        )
    }),
    ("the id of no key", |keys| {
        with(
            Input {
                key: Some("stranger"),
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("an unknown parameter", |keys| {
        with(
            Input {
                more: ";x=1",
                ..Input::default()
            },
            &keys.shared,
        )
    }),
    ("a signature of nothing", |keys| {
        order().signed(&keys.shared).set("signature", "sig=::")
    }),
    ("half of a signature", |keys| {
        let parts = order().signed(&keys.edwards);
        let signature = BASE64
            .decode(
                parts
                    .header("signature")
                    .trim_matches(['s', 'i', 'g', '=', ':']),
            )
            .unwrap_or_default();
        parts.set(
            "signature",
            &format!("sig=:{}:", BASE64.encode(&signature[..signature.len() / 2])),
        )
    }),
    ("no signature", |keys| {
        let mut parts = order().signed(&keys.shared);
        parts.headers.retain(|(name, _)| name != "signature");
        parts
    }),
    ("no input", |keys| {
        let mut parts = order().signed(&keys.shared);
        parts.headers.retain(|(name, _)| name != "signature-input");
        parts
    }),
    ("one label twice", |keys| {
        let parts = order().signed(&keys.shared);
        let (input, signature) = (parts.header("signature-input"), parts.header("signature"));
        let mut parts = parts;
        parts.add("signature-input", &input);
        parts.add("signature", &signature);
        parts
    }),
    ("two signatures with keys that are known", |keys| {
        let nonce = nonce();
        let more = Input {
            label: "other",
            nonce: &nonce,
            ..Input::default()
        };
        order()
            .signed(&keys.shared)
            .signed_with(&keys.edwards, &more)
    }),
    ("a signature under the label of another", |keys| {
        let parts = order().signed(&keys.shared);
        let signature = parts.header("signature").replacen("sig", "gis", 1);
        parts.set("signature", &signature)
    }),
    ("a signed header that comes a second time", |keys| {
        let mut parts = order();
        parts.add("x-amount", "7");
        let components = ["@method", "@authority", "@path", "@query", "x-amount"];
        let mut parts = parts.signed_with(
            &keys.shared,
            &Input {
                components: &components,
                ..Input::default()
            },
        );
        parts.add("x-amount", "8");
        parts
    }),
    ("a signed header that is gone", |keys| {
        let mut parts = order();
        parts.add("x-amount", "7");
        let components = ["@method", "@authority", "@path", "@query", "x-amount"];
        let mut parts = parts.signed_with(
            &keys.shared,
            &Input {
                components: &components,
                ..Input::default()
            },
        );
        parts.headers.retain(|(name, _)| name != "x-amount");
        parts
    }),
    ("a component of responses", |keys| {
        let parts = order().signed(&keys.shared);
        let input = parts
            .header("signature-input")
            .replace("\"@path\"", "\"@status\"");
        parts.set("signature-input", &input)
    }),
    ("a component of another request", |keys| {
        let parts = order().signed(&keys.shared);
        let input = parts
            .header("signature-input")
            .replace("\"@path\"", "\"@path\";req");
        parts.set("signature-input", &input)
    }),
    ("no dictionary", |keys| {
        order().signed(&keys.shared).set("signature-input", "sig=(")
    }),
    ("an encoded path that another would decode", |keys| Parts {
        target: "/orders%3Fid=7&to=a".into(),
        ..order().signed(&keys.shared)
    }),
];

#[tokio::test]
async fn no_attack_on_signatures_succeeds() {
    assert_named(ATTACKS.iter().map(|(name, _)| *name), 43);
    over_each_pair(|pair| async move {
        let origin = Origin::speaking(pair.origin, |seen| text(seen.body));
        let shop = Shop::start(&origin, pair.origin).await;
        let client = shop.gateway.client(pair.client);
        for (name, attack) in ATTACKS {
            let answer = client.send(attack(&shop.keys).ask()).await;
            eprintln!("{name}: {}", shop.gateway.log_of(&answer).await["cause"]);
            match *name {
                BODY_GONE => answer.assert_problem(400, "digest_mismatch"),
                _ => answer.assert_problem(401, "credential_refused"),
            }
            assert!(origin.seen().is_empty(), "{name}");
        }
        // What they spoil is good.
        let good = client.send(order().signed(&shop.keys.shared).ask()).await;
        assert_eq!(good.text(), "1000 EUR");
        assert_eq!(origin.seen().len(), 1);
    })
    .await;
}

/// Nor does it reach an origin with a length that is none in another way of writing.
#[tokio::test]
async fn a_length_of_zeros_is_no_body() {
    let origin = Origin::http1(|seen| text(seen.body));
    let shop = Shop::start(&origin, Protocol::Http1).await;
    for length in ["0", "00"] {
        let signed = order().signed(&shop.keys.shared);
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\n",
            signed.target, signed.host
        );
        for (name, value) in &signed.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!(
            "content-length: {length}\r\nconnection: close\r\n\r\n"
        ));
        let answer = RawClient::exchange(shop.gateway.address(), head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{length}: {answer}");
    }
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn nothing_is_shown_twice() {
    let origin = Origin::http1(|_| text("served"));
    let mut shop = Shop::start(&origin, Protocol::Http1).await;
    let first = order().signed(&shop.keys.shared);
    let bare = order().signed_with(&shop.keys.elliptic, &Input::default());
    // The same nonce for something else.
    let nonce = first.header("signature-input");
    let nonce = nonce.split('"').nth_back(1).unwrap();
    let again = Input {
        nonce,
        ..Input::default()
    };
    let reused = parts("GET", "/other", "").signed_with(&shop.keys.shared, &again);
    // Two signatures of one thing: with ECDSA they are not the same bytes.
    let twin = order().signed_with(
        &shop.keys.elliptic,
        &Input {
            created: Some(created_of(&bare)),
            ..Input::default()
        },
    );
    assert_ne!(bare.header("signature"), twin.header("signature"));
    let other = parts("GET", "/other", "").signed_with(&shop.keys.edwards, &again);
    for (what, protocol, parts, status) in [
        ("first", Protocol::Http1, &first, 200),
        ("again", Protocol::Http1, &first, 401),
        ("again over HTTP/2", Protocol::H2, &first, 401),
        ("the nonce again", Protocol::Http1, &reused, 401),
        ("the nonce with another key", Protocol::Http1, &other, 200),
        ("without a nonce", Protocol::Http1, &bare, 200),
        ("without a nonce, again", Protocol::Http1, &bare, 401),
        ("another signature of the same", Protocol::Http1, &twin, 401),
    ] {
        let answer = shop.gateway.client(protocol).send(parts.ask()).await;
        assert_eq!(answer.status, status, "{what}");
        if status == 401 {
            let line = shop.gateway.log_of(&answer).await;
            assert_eq!(line["cause"], "it was shown before", "{what}");
        }
    }
    // A reload forgets nothing, whatever it changes, and what one provider has let in no other does.
    let more = "max_age = \"2m\"\n[identity.hmac.third]\n[consumers.new]";
    for (old, new) in [
        ("", ""),
        (r#"["strict"]"#, r#"["strict", "third"]"#),
        (r#"["strict"]"#, r#"["third"]"#),
        ("strict", "renamed"),
    ] {
        let reloaded = Gateway::draft(&GATEWAY.replace(old, new));
        let reloaded = fill(reloaded, shop.folder.path(), &origin, Protocol::Http1, more);
        reloaded.apply(&mut shop.gateway).await.unwrap();
        let client = shop.gateway.http1();
        for parts in [&first, &bare] {
            let answer = client.send(parts.ask()).await;
            answer.assert_problem(401, "credential_refused");
        }
    }
    let client = shop.gateway.http1();
    let next = client.send(order().signed(&shop.keys.shared).ask()).await;
    assert_eq!(next.status, 200);
}

fn created_of(parts: &Parts) -> i64 {
    let input = parts.header("signature-input");
    let (_, rest) = input.split_once("created=").unwrap();
    rest.split(';').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn where_no_more_can_be_remembered_nobody_is_let_in() {
    let origin = Origin::http1(|_| text("served"));
    let (keys, folder) = (Keys::new(), tempfile::tempdir().unwrap());
    keys.in_files(folder.path());
    let strict = "[identity.hmac.strict]\n";
    let small = GATEWAY.replace(strict, &format!("{strict}remembered = 1000\n"));
    // The largest counts, and both are as small as that.
    let more = "remembered = 1000";
    let gateway = fill(
        Gateway::draft(&small),
        folder.path(),
        &origin,
        Protocol::Http1,
        more,
    )
    .start()
    .await;
    let client = gateway.http1();
    let mut shown = Vec::new();
    let refused = loop {
        assert!(shown.len() <= 1024, "there is no end to it");
        let parts = parts("GET", "/small", "").signed(&keys.shared);
        let answer = client.send(parts.ask()).await;
        if answer.status != 200 {
            break answer;
        }
        shown.push(parts);
    };
    refused.assert_problem(503, "authentication_unavailable");
    assert!(shown.len() > 64, "{}", shown.len());
    for parts in shown.iter().step_by(10) {
        assert_eq!(client.send(parts.ask()).await.status, 401);
    }
}

/// A body that is not the one of its digest never becomes whole at the origin, however it is framed.
#[tokio::test]
async fn a_changed_body_is_broken_off() {
    for is_chunked in [false, true] {
        let read = Arc::new(Mutex::new(None));
        let shown = read.clone();
        let origin = RawOrigin::serving(move |mut stream, _| {
            let read = read.clone();
            async move {
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes).await;
                *read.lock().unwrap() = Some(bytes);
            }
        });
        let shop = Shop::start(&origin, Protocol::Http1).await;
        let signed = order().signed(&shop.keys.shared);
        let mut head = format!("POST {} HTTP/1.1\r\nhost: shop.test\r\n", signed.target);
        for (name, value) in &signed.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut client = RawClient::connect(shop.gateway.address()).await;
        let (framing, first, last) = match is_chunked {
            false => ("content-length: 8\r\n\r\n", "2000", " EUR"),
            true => (
                "transfer-encoding: chunked\r\n\r\n",
                "4\r\n2000\r\n",
                "4\r\n EUR\r\n0\r\n\r\n",
            ),
        };
        client.send(format!("{head}{framing}{first}")).await;
        eventually("the origin is reached", async || {
            (origin.connections() == 1).then_some(())
        })
        .await;
        client.send(last).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("digest_mismatch"), "{answer}");
        let bytes = eventually("the end", async || shown.lock().unwrap().take()).await;
        let seen = String::from_utf8(bytes).unwrap();
        let is_whole = match is_chunked {
            false => seen.contains("EUR"),
            true => seen.ends_with("0\r\n\r\n"),
        };
        assert!(!is_whole && seen.contains("2000"), "{seen}");
    }
}

#[tokio::test]
async fn bodies_that_were_signed_pass_whole_and_others_do_not() {
    over_each_pair(|pair| async move {
        let origin = Origin::speaking(pair.origin, |seen| text(seen.body.len().to_string()));
        let shop = Shop::start(&origin, pair.origin).await;
        let client = shop.gateway.client(pair.client);
        let large: &'static str = Box::leak("0123456789abcdef".repeat(20_000).into_boxed_str());
        let streamed = |body: &'static str| {
            let (chunks, streamed) = channel();
            tokio::spawn(async move {
                for piece in body.as_bytes().chunks(10_000) {
                    if !chunks.send(piece).await {
                        return;
                    }
                }
            });
            streamed
        };
        let good = parts("POST", "/large", large).signed(&shop.keys.edwards);
        assert_eq!(client.send(good.ask()).await.text(), "320000");
        let good = parts("POST", "/large", large).signed(&shop.keys.edwards);
        let answer = client.send(good.ask().body(streamed(large))).await;
        assert_eq!(answer.text(), "320000");
        let seen = origin.seen().len();
        for is_streamed in [false, true] {
            let mut wrong = parts("POST", "/large", "another").signed(&shop.keys.edwards);
            wrong.body = large;
            let ask = match is_streamed {
                true => wrong.ask().body(streamed(large)),
                false => wrong.ask(),
            };
            let client = shop.gateway.client(pair.client);
            client
                .send(ask)
                .await
                .assert_problem(400, "digest_mismatch");
        }
        assert_eq!(origin.seen().len(), seen, "nothing of it was complete");
        // HTTP/2 need not say that there is a body.
        if pair.client == Protocol::H2 {
            let bare = parts("POST", "/none", "").signed(&shop.keys.edwards);
            let answer = client.send(bare.ask().body(streamed("hello"))).await;
            answer.assert_problem(401, "credential_refused");
            assert_eq!(origin.seen().len(), seen);
        }
    })
    .await;
}
