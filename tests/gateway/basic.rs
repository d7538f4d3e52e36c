//! `basic`: names and passwords prove who calls.

use std::time::{Duration, Instant};

use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use futures_util::future::join_all;
use northgate::identity::api_key::{KeyHash, Prefix, make};
use northgate::identity::basic::PasswordHash;

use crate::harness::*;

fn hash(password: &str) -> String {
    let hash = PasswordHash::of(password.as_bytes()).expect("a hash");
    hash.as_str().to_owned()
}

/// Of the most work that is allowed: it takes its time.
fn slow_hash(password: &str) -> String {
    let params = Params::new(65536, 10, 1, None).expect("they are good");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = SaltString::encode_b64(b"a salt of a test").expect("a salt");
    let hash = argon2.hash_password(password.as_bytes(), &salt);
    hash.expect("a hash").to_string()
}

fn login(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

fn ask(value: &str) -> Ask {
    get("/reports").header("authorization", value)
}

const ROUTE: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.reports]
    match = { path = "/{*rest}" }
    upstream = "shop"

    [routes.reports.policies]
    basic = {}
    request_headers = { set = { x-who = "{identity.consumer}" } }
"#;

#[tokio::test]
async fn a_password_proves_its_consumer() {
    let shop = Origin::http1(|_| text("served"));
    let consumers = r#"
        [consumers.ann]
        passwords = ["$first", "$second"]
        [consumers.ben]
        passwords = ["$bcrypt"]
        [consumers.cid]
    "#;
    let gateway = Gateway::draft(&[consumers, ROUTE].concat())
        .with("first", hash("pass: wörd"))
        .with("second", hash("the next"))
        .with("bcrypt", bcrypt::hash("blowfish", 10).expect("a hash"))
        .with("shop", &shop)
        .start()
        .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (text, who) in [
            ("ann:pass: wörd", "ann"),
            ("ann:the next", "ann"),
            ("ben:blowfish", "ben"),
        ] {
            // The second time it is remembered.
            for _ in 0..2 {
                let answer = client.send(ask(&login(text))).await;
                assert_eq!(answer.status, 200, "{text}");
                let seen = shop.seen().pop().expect("it was asked");
                assert_eq!(seen.header("x-who"), Some(who));
                let line = gateway.log_of(&answer).await;
                assert_eq!(line["consumer"], who);
                let told = line.to_string();
                assert!(!told.contains(&STANDARD.encode(text)), "{told}");
            }
        }
        let nobody = client.send(get("/reports")).await;
        nobody.assert_problem(401, "unauthenticated");
        let challenge = nobody.header("www-authenticate");
        assert_eq!(challenge, Some("Basic realm=\"api\", charset=\"UTF-8\""));
    }
}

#[tokio::test]
async fn attacks_on_passwords_are_refused() {
    let shop = Origin::http1(|_| text("served"));
    let consumers = r#"
        [consumers.ann]
        passwords = ["$hash"]
        [consumers.ben]
        passwords = ["$bcrypt"]
        [consumers.cid]
        api_keys = ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
        [identity.basic.main]
        failures = 1000
    "#;
    let (password, long) = ("opens it all", "b".repeat(72));
    let stored = hash(password);
    let gateway = Gateway::draft(&[consumers, ROUTE].concat())
        .with("hash", &stored)
        .with("bcrypt", bcrypt::hash(&long, 10).expect("a hash"))
        .with("shop", &shop)
        .start()
        .await;
    let good = format!("ann:{password}");
    let one = |value: String| vec![value];
    let refused = "credential_refused";
    let absent = "unauthenticated";
    let attacks: Vec<(&str, Vec<String>, &str)> = vec![
        ("a wrong password", one(login("ann:opens it")), refused),
        (
            "the password of somebody else",
            one(login(&format!("ben:{password}"))),
            refused,
        ),
        (
            "a name that nobody has",
            one(login(&format!("eve:{password}"))),
            refused,
        ),
        (
            "a consumer without passwords",
            one(login(&format!("cid:{password}"))),
            refused,
        ),
        (
            "a name in another case",
            one(login(&format!("Ann:{password}"))),
            refused,
        ),
        (
            "a password in another case",
            one(login("ann:Opens it all")),
            refused,
        ),
        (
            "a name with a space behind",
            one(login(&format!("ann :{password}"))),
            refused,
        ),
        (
            "a password with a line behind",
            one(login(&format!("{good}\n"))),
            refused,
        ),
        (
            "a password with a zero behind",
            one(login(&format!("{good}\0"))),
            refused,
        ),
        (
            "a colon in the name",
            one(login(&format!("ann:ben:{password}"))),
            refused,
        ),
        ("no colon", one(login("ann")), refused),
        ("an empty password", one(login("ann:")), refused),
        (
            "an empty name",
            one(login(&format!(":{password}"))),
            refused,
        ),
        (
            "the hash from the configuration",
            one(login(&format!("ann:{stored}"))),
            refused,
        ),
        (
            "a password beyond what bcrypt sees",
            one(login(&format!("ben:{long}b"))),
            refused,
        ),
        (
            "a login of 10,000 bytes",
            one(login(&format!("ann:{}", "p".repeat(10_000)))),
            refused,
        ),
        (
            "base64 without its padding",
            one(format!("Basic {}", STANDARD_NO_PAD.encode(&good))),
            refused,
        ),
        (
            "base64 of URLs",
            one(format!(
                "Basic {}",
                URL_SAFE.encode("ann:\u{3ff}\u{3ff}\u{3ff}")
            )),
            refused,
        ),
        (
            "base64 with a space inside",
            one(login(&good).replacen("YW5u", "YW5u ", 1)),
            refused,
        ),
        (
            "a login in clear text",
            one(format!("Basic {good}")),
            refused,
        ),
        ("an empty login", one("Basic".to_owned()), refused),
        (
            "a login in ISO 8859-1",
            one(format!("Basic {}", STANDARD.encode(b"ann:\xfcber"))),
            refused,
        ),
        ("two headers", vec![login(&good), login(&good)], refused),
        (
            "a good login behind a bad one",
            vec![login("ann:x"), login(&good)],
            refused,
        ),
        (
            "a good login behind another scheme",
            vec!["Bearer x".to_owned(), login(&good)],
            refused,
        ),
        (
            "another scheme",
            one(login(&good).replacen("Basic", "Digest", 1)),
            absent,
        ),
        ("no scheme", one(STANDARD.encode(&good)), absent),
    ];
    assert_named(attacks.iter().map(|(name, ..)| *name), 27);
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (name, values, code) in &attacks {
            let asked = values.iter().fold(get("/reports"), |ask, value| {
                ask.header("authorization", value)
            });
            let answer = client.send(asked).await;
            assert_eq!(answer.status, 401, "{name}");
            answer.assert_problem(401, code);
            let line = gateway.log_of(&answer).await;
            assert!(line["consumer"].is_null(), "{name}");
            assert!(!line.to_string().contains(password), "{name}: {line}");
        }
        let proxy = get("/reports").header("proxy-authorization", &login(&good));
        client.send(proxy).await.assert_problem(401, absent);
    }
    assert!(shop.seen().is_empty(), "nobody came through");
    assert_eq!(gateway.http1().send(ask(&login(&good))).await.status, 200);
}

#[tokio::test]
async fn guesses_are_bounded_and_who_is_remembered_goes_on() {
    let shop = Origin::http1(|_| text("served"));
    let toml = [
        "[consumers.ann]\npasswords = [\"$hash\"]\n[identity.basic.main]\nfailures = 2\n",
        ROUTE,
    ]
    .concat();
    let draft = || Gateway::draft(&toml).with("shop", &shop);
    let mut gateway = draft().with("hash", hash("right")).start().await;
    let client = gateway.http2();
    assert_eq!(client.send(ask(&login("ann:right"))).await.status, 200);
    for name in ["ann", "nobody"] {
        for guess in ["a", "b"] {
            let answer = client.send(ask(&login(&format!("{name}:{guess}")))).await;
            answer.assert_problem(401, "credential_refused");
        }
        let answer = client.send(ask(&login(&format!("{name}:c")))).await;
        answer.assert_problem(429, "too_many_attempts");
        let wait: u64 = answer
            .header("retry-after")
            .expect("it is told")
            .parse()
            .expect("seconds");
        assert!((1..=31).contains(&wait), "{wait}");
    }
    assert_eq!(
        client.send(ask(&login("ann:right"))).await.status,
        200,
        "it is remembered"
    );
    // What is remembered ends with its hash, whatever the reload makes of the password.
    let next = draft().with("hash", hash("right"));
    next.apply(&mut gateway).await.expect("it is good");
    let answer = client.send(ask(&login("ann:right"))).await;
    answer.assert_problem(429, "too_many_attempts");
}

#[tokio::test]
async fn nobody_locks_out_somebody_elsewhere() {
    let shop = Origin::http1(|_| text("served"));
    let toml = [
        "[listeners.public]\nbind = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n",
        "[consumers.ann]\npasswords = [\"$hash\"]\n[identity.basic.main]\nfailures = 2\n",
        ROUTE,
    ]
    .concat();
    let draft = Gateway::draft(&toml).with("shop", &shop);
    let gateway = draft.with("hash", hash("right")).start().await;
    let client = gateway.http1();
    let from = async |address: &str, text: &str| {
        let ask = ask(&login(text)).header("x-forwarded-for", address);
        client.send(ask).await
    };
    for (attacker, neighbour) in [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::ffff"),
    ] {
        for guess in ["ann:a", "ann:b"] {
            let answer = from(attacker, guess).await;
            answer.assert_problem(401, "credential_refused");
        }
        let answer = from(neighbour, "ann:right").await;
        answer.assert_problem(429, "too_many_attempts");
    }
    // Nothing is remembered of it so far.
    assert_eq!(from("192.0.2.9", "ann:right").await.status, 200);
}

#[tokio::test]
async fn what_is_not_checked_is_no_hindrance_to_a_good_key() {
    let shop = Origin::http1(|_| text("served"));
    let toml = [
        "[consumers.ann]\npasswords = [\"$hash\"]\napi_keys = [\"$key\"]\n",
        "[identity.basic.main]\nfailures = 1\n",
        &ROUTE.replace(
            "basic = {}",
            "basic = {}\napi_key = {}\nany_of = [\"basic\", \"api_key\"]",
        ),
    ]
    .concat();
    let key = make(&Prefix::default()).expect("randomness").text;
    let gateway = Gateway::draft(&toml)
        .with("hash", hash("right"))
        .with("key", KeyHash::of(key.as_bytes()))
        .with("shop", &shop)
        .start()
        .await;
    let client = gateway.http1();
    let stale = || ask(&login("ann:stale"));
    let answer = client.send(stale()).await;
    answer.assert_problem(401, "credential_refused");
    let answer = client.send(stale()).await;
    answer.assert_problem(429, "too_many_attempts");
    assert!(answer.header("retry-after").is_some());
    let answer = client.send(stale().header("x-api-key", "no key")).await;
    answer.assert_problem(429, "too_many_attempts");
    assert!(answer.header("retry-after").is_some());
    let answer = client.send(stale().header("x-api-key", &key)).await;
    assert_eq!(answer.status, 200, "the key is good");
}

#[tokio::test]
async fn what_cannot_be_checked_in_time_is_told_to_come_again() {
    let shop = Origin::http1(|_| text("served"));
    let toml = [
        "[consumers.ann]\npasswords = [\"$hash\"]\n[identity.basic.main]\nchecks = 1\nwaiting = 0\n",
        "timeout = \"1m\"\n[routes.open]\nmatch = { path = \"/open\" }\nrespond = { body = \"open\" }\n",
        ROUTE,
    ]
    .concat();
    let gateway = Gateway::draft(&toml)
        .with("hash", slow_hash("right"))
        .with("shop", &shop)
        .start()
        .await;
    let client = gateway.http2();
    let asked = (0..8).map(|number| client.send(ask(&login(&format!("n{number}:x")))));
    let others = async {
        let begin = Instant::now();
        assert_eq!(client.send(get("/open")).await.text(), "open");
        begin.elapsed()
    };
    let (answers, took) = tokio::join!(join_all(asked), others);
    let count = |status: u16| answers.iter().filter(|it| it.status == status).count();
    // One is checked at a time, and none may wait.
    assert!(
        count(401) >= 1 && count(503) >= 1,
        "{} and {}",
        count(401),
        count(503)
    );
    assert_eq!(count(401) + count(503), 8);
    let busy = answers
        .iter()
        .find(|it| it.status == 503)
        .expect("there is one");
    busy.assert_problem(503, "authentication_unavailable");
    assert_eq!(busy.header("retry-after"), Some("1"));
    assert!(
        took < Duration::from_secs(30),
        "checks do not stop the others: {took:?}"
    );
}

#[tokio::test]
async fn a_name_that_nobody_has_takes_as_long_as_one_that_somebody_has() {
    const NAMES: usize = 15;
    let shop = Origin::http1(|_| text("served"));
    let hash = hash("right");
    let consumers: String = (0..NAMES)
        .map(|number| format!("[consumers.known{number}]\npasswords = ['{hash}']\n"))
        .collect();
    let gateway = Gateway::draft(&[&consumers, ROUTE].concat())
        .with("shop", &shop)
        .start()
        .await;
    let client = gateway.http1();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    // In turns, so that both meet the same load of the machine.
    for number in 0..NAMES {
        for (name, times) in [("known", &mut known), ("nobody", &mut unknown)] {
            let begin = Instant::now();
            let answer = client
                .send(ask(&login(&format!("{name}{number}:wrong"))))
                .await;
            times.push(begin.elapsed());
            answer.assert_problem(401, "credential_refused");
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[NAMES / 2].as_secs_f64()
    };
    let ratio = median(&mut known) / median(&mut unknown);
    // Without a check it would be a hundred.
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
}
