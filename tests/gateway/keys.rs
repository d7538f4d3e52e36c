//! Keys of token issuers: where they come from, how they are renewed, and what becomes of them without their server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;
use crate::origins::read_header;

/// Who calls is told by tokens of one provider.
const CONFIG: &str = r#"
    [identity.jwt.main]
    issuer = "$issuer"
    audiences = ["shop"]
    algorithms = ["RS256", "PS256", "ES256", "EdDSA"]
    $keys

    [routes.all]
    match = { path = "/{*rest}" }
    respond = { status = 200 }
    policies.jwt = {}
"#;

async fn gateway(issuer: &str, keys: &str) -> Gateway {
    Gateway::draft(CONFIG)
        .with("issuer", issuer)
        .with("keys", keys)
        .start()
        .await
}

/// What a client is answered that shows this token.
async fn ask(client: &Client, token: &str) -> u16 {
    let ask = get("/").header("authorization", &format!("Bearer {token}"));
    client.send(ask).await.status
}

fn claims(issuer: &str) -> Value {
    json!({ "iss": issuer, "aud": "shop", "sub": "alice", "exp": from_now(300) })
}

/// The value of a series of the admin listener, where it is there.
async fn metric(gateway: &Gateway, series: &str) -> Option<u64> {
    let metrics = gateway.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(series));
    value.map(|value| value.trim().parse().expect("a number"))
}

#[tokio::test]
async fn a_real_provider_is_discovered_and_followed() {
    let provider = Provider::start().await;
    let quick = r#"jwks = { refresh = "2s", cooldown = "100ms" }"#;
    let gateway = gateway(provider.issuer(), quick).await;
    let client = gateway.http1();
    let mut first = Vec::new();
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let resource = format!("urn:shop:jwt:{algorithm}");
        let token = provider.token("orders:read", &resource).await;
        assert_eq!(ask(&client, &token).await, 200, "{algorithm}");
        first.push(token);
    }
    assert_eq!(provider.count("/.well-known/openid-configuration").await, 1);

    // New keys are found by the first token that names one, and the ones before are good as long as they are there.
    provider.rotate(true).await;
    let second = provider.token("orders:read", "urn:shop:jwt").await;
    assert_eq!(ask(&client, &second).await, 200);
    assert_eq!(ask(&client, &first[0]).await, 200);

    // What is known is good while the provider is away; what is not cannot be judged.
    provider.go_down().await;
    assert_eq!(ask(&client, &second).await, 200);
    let unknown = json!({ "alg": "ES256", "kid": "another" });
    let unknown = provider.sign(claims(provider.issuer()), unknown).await;
    assert_eq!(ask(&client, &unknown).await, 503);
    provider.come_back().await;
    eventually("it is known that there is no such key", async || {
        (ask(&client, &unknown).await == 401).then_some(())
    })
    .await;

    // Withdrawn keys are not good any more, whoever has shown what they signed before.
    provider.rotate(false).await;
    let third = provider.token("orders:read", "urn:shop:jwt").await;
    assert_eq!(ask(&client, &third).await, 200);
    for old in first.iter().chain([&second]) {
        assert_eq!(ask(&client, old).await, 401);
    }
    let keys = r#"northgate_identity_keys{northgate_provider="jwt.main"} "#;
    assert_eq!(metric(&gateway, keys).await, Some(4));
    let failed =
        r#"northgate_identity_key_fetches_total{northgate_provider="jwt.main",result="failed"} "#;
    assert!(metric(&gateway, failed).await >= Some(1));
    let fetched =
        r#"northgate_identity_keys_fetched_timestamp_seconds{northgate_provider="jwt.main"} "#;
    let fetched = metric(&gateway, fetched).await.expect("a time");
    assert!(fetched.abs_diff(from_now(0) as u64) < 60, "{fetched}");
}

/// A provider that rotates its keys and is away now and then. Each of its connections is one fetch.
struct Rotating {
    origin: RawOrigin,
    published: Arc<Mutex<Published>>,
    most_in_flight: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Published {
    is_up: bool,
    /// Those that are published, the newest last, and those that were, with the time since when they are not.
    now: Vec<Arc<Signer>>,
    withdrawn: Vec<(Arc<Signer>, Instant)>,
    /// When the last fetch began that got an answer.
    answered: Option<Instant>,
}

impl Rotating {
    fn start() -> Rotating {
        let published: Arc<Mutex<Published>> = Arc::default();
        let (in_flight, most_in_flight) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (shared, most): (_, Arc<AtomicUsize>) = (published.clone(), most_in_flight);
        let most_in_flight = most.clone();
        let origin = RawOrigin::serving(move |mut stream, _| {
            let (shared, in_flight, most) = (shared.clone(), in_flight.clone(), most.clone());
            async move {
                let began = Instant::now();
                most.fetch_max(
                    in_flight.fetch_add(1, Ordering::SeqCst) + 1,
                    Ordering::SeqCst,
                );
                read_header(&mut stream).await;
                let document = {
                    let published = shared.lock().unwrap();
                    let signers = published.now.iter().map(|signer| &**signer);
                    published.is_up.then(|| jwks(signers))
                };
                if let Some(document) = document {
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{document}",
                        document.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    shared.lock().unwrap().answered = Some(began);
                }
                in_flight.fetch_sub(1, Ordering::SeqCst);
            }
        });
        Rotating {
            origin,
            published,
            most_in_flight,
        }
    }

    /// A new key is published; of those before, the last one stays.
    fn rotate(&self, number: usize) {
        let new = Arc::new(Signer::new("EdDSA", &format!("key-{number}")));
        let mut published = self.published.lock().unwrap();
        published.now.push(new);
        if published.now.len() > 2 {
            let old = published.now.remove(0);
            published.withdrawn.push((old, Instant::now()));
        }
    }

    fn is_up(&self, is_up: bool) {
        self.published.lock().unwrap().is_up = is_up;
    }
}

/// What was answered to tokens of a kind.
#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    refused: AtomicUsize,
    unavailable: AtomicUsize,
}

impl Counts {
    fn add(&self, status: u16) {
        let counter = match status {
            200 => &self.accepted,
            401 => &self.refused,
            503 => &self.unavailable,
            other => panic!("{other}"),
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }

    fn all(&self) -> [usize; 3] {
        [&self.accepted, &self.refused, &self.unavailable].map(|it| it.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn rotation_and_outage() {
    const ROTATIONS: usize = 8;
    const COOLDOWN: Duration = Duration::from_millis(100);
    const MAX_STALE: Duration = Duration::from_millis(1500);
    /// For a fetch, and for what is in flight, on a machine that does other things as well.
    const SLACK: Duration = Duration::from_millis(600);
    const ISSUER: &str = "https://id.shop.test/";
    let provider = Arc::new(Rotating::start());
    provider.rotate(0);
    provider.is_up(true);
    let keys = format!(
        "jwks = {{ url = \"http://{}/jwks\", refresh = \"400ms\", max_stale = \"1500ms\", cooldown = \"100ms\" }}",
        provider.origin
    );
    let gateway = Arc::new(gateway(ISSUER, &keys).await);
    let [current, withdrawn, invented] = [(); 3].map(|()| Arc::new(Counts::default()));
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    // Tokens of the newest key, some seen before and some new.
    for _ in 0..3 {
        let (client, provider, counts) = (gateway.http1(), provider.clone(), current.clone());
        clients.spawn(async move {
            let mut kept: Option<(String, String)> = None;
            for number in 0.. {
                let signer = provider
                    .published
                    .lock()
                    .unwrap()
                    .now
                    .last()
                    .cloned()
                    .unwrap();
                let known = kept
                    .take()
                    .filter(|(kid, _)| *kid == signer.kid && number % 2 == 0);
                let token = known.map_or_else(|| signer.token(&claims(ISSUER)), |(_, token)| token);
                let status = ask(&client, &token).await;
                // It counts where the key was published all the time.
                let published = provider.published.lock().unwrap();
                if published.now.iter().any(|one| one.kid == signer.kid) {
                    counts.add(status);
                    assert_ne!(status, 401, "{} is published", signer.kid);
                }
                kept = Some((signer.kid.clone(), token));
            }
        });
    }
    // Tokens of keys that are not published any more.
    let (client, shared, counts) = (gateway.http1(), provider.clone(), withdrawn.clone());
    clients.spawn(async move {
        loop {
            let (old, answered) = {
                let published = shared.published.lock().unwrap();
                (published.withdrawn.clone(), published.answered)
            };
            for (signer, since) in old {
                let asked = Instant::now();
                let status = ask(&client, &signer.token(&claims(ISSUER))).await;
                counts.add(status);
                let is_known = answered.is_some_and(|it| it > since && asked > it + SLACK);
                let is_too_old = asked > since + MAX_STALE + SLACK;
                assert!(
                    status != 200 || !(is_known || is_too_old),
                    "{} is accepted {:?} after it was withdrawn",
                    signer.kid,
                    asked - since
                );
            }
            tokio::task::yield_now().await;
        }
    });
    // Names that nobody has published, each only once.
    for client in 0..3 {
        let (http, counts) = (gateway.http1(), invented.clone());
        clients.spawn(async move {
            let signer = Signer::new("EdDSA", "mine");
            for number in 0.. {
                let header = json!({ "alg": "EdDSA", "kid": format!("{client}-{number}") });
                let status = ask(&http, &signer.token_with(&header, &claims(ISSUER))).await;
                assert_ne!(status, 200);
                counts.add(status);
            }
        });
    }
    let watched = async {
        // The clients never end by themselves.
        let ended = clients.join_next().await.expect("clients");
        ended.expect("nothing is wrong");
    };
    let driven = async {
        for number in 1..=ROTATIONS {
            // Every other time nobody can ask for the new key for a while.
            provider.rotate(number);
            provider.is_up(number % 2 == 0);
            tokio::time::sleep(Duration::from_millis(500)).await;
            provider.is_up(number % 2 != 0);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = watched => unreachable!("they go on"),
        () = driven => {}
    }
    clients.shutdown().await;

    let [accepted, refused, _] = current.all();
    assert!(accepted > 100 && refused == 0, "{:?}", current.all());
    let [_, refused, _] = withdrawn.all();
    assert!(refused > 10, "{:?}", withdrawn.all());
    let [accepted, refused, _] = invented.all();
    assert!(accepted == 0 && refused > 10, "{:?}", invented.all());
    assert_eq!(provider.most_in_flight.load(Ordering::SeqCst), 1);
    let fetches = provider.origin.connections();
    let most = begin.elapsed().as_millis() / COOLDOWN.as_millis() + 2;
    assert!(
        fetches as u128 <= most,
        "{fetches} fetches, not more than {most}"
    );
    println!(
        "accepted, refused, unavailable: published {:?}, withdrawn {:?}, invented {:?}; {fetches} fetches",
        current.all(),
        withdrawn.all(),
        invented.all()
    );
}

/// Some providers give their keys no names, and others the next key the name of the last.
#[tokio::test]
async fn keys_are_rotated_without_a_new_name() {
    let issuer = "https://id.shop.test/";
    for kid in [Some("same"), None] {
        let [old, new, forger] = [(); 3].map(|()| {
            let mut signer = Signer::new("EdDSA", "same");
            if kid.is_none() {
                signer.jwk.as_object_mut().unwrap().remove("kid");
            }
            signer
        });
        let token = |signer: &Signer, who: &str| {
            let mut header = json!({ "alg": "EdDSA" });
            if let Some(kid) = kid {
                header["kid"] = kid.into();
            }
            let mut claims = claims(issuer);
            claims["sub"] = who.into();
            signer.token_with(&header, &claims)
        };
        let published = Arc::new(Mutex::new(jwks([&old])));
        let document = published.clone();
        let origin = Origin::http1(move |_| text(document.lock().unwrap().clone()));
        let cooldown = Duration::from_millis(200);
        let config = format!("jwks = {{ url = \"http://{origin}/jwks\", cooldown = \"200ms\" }}");
        let gateway = gateway(issuer, &config).await;
        let client = gateway.http1();
        assert_eq!(ask(&client, &token(&old, "a")).await, 200);
        assert_eq!(ask(&client, &token(&new, "too early")).await, 401);
        *published.lock().unwrap() = jwks([&new]);
        assert_eq!(ask(&client, &token(&new, "a")).await, 200, "{kid:?}");
        assert_eq!(ask(&client, &token(&old, "a")).await, 401, "{kid:?}");

        let (before, begin) = (origin.seen().len(), Instant::now());
        let mut forgers = JoinSet::new();
        for number in 0..30 {
            let client = gateway.http1();
            let forged = [0, 1].map(|round| token(&forger, &format!("{number}-{round}")));
            forgers.spawn(async move {
                for token in forged {
                    assert_eq!(ask(&client, &token).await, 401);
                }
            });
        }
        while let Some(ended) = forgers.join_next().await {
            ended.unwrap();
        }
        let fetches = origin.seen().len() - before;
        let most = begin.elapsed().as_millis() / cooldown.as_millis() + 1;
        assert!(fetches as u128 <= most, "{fetches} fetches of {most}");
        assert_eq!(ask(&client, &token(&new, "b")).await, 200);

        // Whether the key has been changed is not known while nobody says so.
        *published.lock().unwrap() = String::new();
        assert_eq!(ask(&client, &token(&forger, "nobody")).await, 503);
    }
}

#[tokio::test]
async fn no_token_chooses_where_keys_come_from() {
    let (attacker, own) = (Signer::new("RS256", "evil"), Signer::new("RS256", "good"));
    let document = jwks([&attacker]);
    let trap = Origin::http1(move |_| text(document.clone()));
    let document = jwks([&own]);
    let origin = Origin::http1(move |_| text(document.clone()));
    let issuer = "https://id.shop.test/";
    let config = format!("jwks = {{ url = \"http://{origin}/jwks\", cooldown = \"50ms\" }}");
    let gateway = gateway(issuer, &config).await;
    let client = gateway.http1();
    assert_eq!(ask(&client, &own.token(&claims(issuer))).await, 200);
    for header in [
        json!({ "alg": "RS256", "kid": "good", "jku": format!("http://{trap}/jwks") }),
        json!({ "alg": "RS256", "kid": "evil", "jku": format!("http://{trap}/jwks") }),
        json!({ "alg": "RS256", "kid": "evil", "x5u": format!("http://{trap}/cert") }),
        json!({ "alg": "RS256", "kid": "evil", "jwk": attacker.jwk }),
        json!({ "alg": "RS256", "jwk": attacker.jwk }),
        json!({ "alg": "RS256", "kid": format!("http://{trap}/jwks") }),
        json!({ "alg": "RS256", "kid": "../../../../etc/passwd" }),
        json!({ "alg": "RS256", "kid": "/dev/null" }),
        json!({ "alg": "RS256", "kid": "' OR 1=1 --" }),
        json!({ "alg": "RS256", "kid": "" }),
    ] {
        let token = attacker.token_with(&header, &claims(issuer));
        assert_eq!(ask(&client, &token).await, 401, "{header}");
    }
    // An issuer of its own is asked nothing either.
    let token = attacker.token(&claims(&format!("http://{trap}/")));
    assert_eq!(ask(&client, &token).await, 401);
    assert!(trap.seen().is_empty(), "{:?}", trap.seen());
    assert!(origin.seen().iter().all(|seen| seen.target == "/jwks"));
}

#[tokio::test]
async fn a_provider_that_says_nothing_holds_nobody_for_long() {
    let silent = RawOrigin::serving(|_stream, _| std::future::pending());
    let config = format!(
        "jwks = {{ url = \"http://{silent}/jwks\", cooldown = \"50ms\", client = {{ timeout = \"300ms\" }} }}"
    );
    let issuer = "https://id.shop.test/";
    let gateway = gateway(issuer, &config).await;
    let token = Signer::new("EdDSA", "a").token(&claims(issuer));
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let (client, token) = (gateway.http1(), token.clone());
        clients.spawn(async move { ask(&client, &token).await });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 503);
    }
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    assert!(silent.connections() <= 6, "{}", silent.connections());
}

/// It has answered once, and then accepts connections and says no more: each fetch waits for its whole deadline. A key
/// that is known waits for none of them.
#[tokio::test]
async fn a_provider_that_falls_silent_holds_up_no_key_that_is_known() {
    let signer = Signer::new("EdDSA", "a");
    let document = jwks([&signer]);
    let length = document.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{document}"
    );
    let provider = RawOrigin::serving(move |mut stream, number| {
        let answer = answer.clone();
        async move {
            if number > 0 {
                std::future::pending::<()>().await;
            }
            read_header(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let config = format!(
        "jwks = {{ url = \"http://{provider}/jwks\", refresh = \"1s\", cooldown = \"50ms\", client = {{ timeout = \"2s\" }} }}"
    );
    let issuer = "https://id.shop.test/";
    let gateway = gateway(issuer, &config).await;
    let client = gateway.http1();
    let mut longest = Duration::ZERO;
    let mut asked = 0;
    let began = Instant::now();
    // Until a fetch has begun that is not answered, and through all of its deadline.
    while provider.connections() < 3 {
        assert!(began.elapsed() < PATIENCE, "it is not asked again");
        // Each token is another, so that nothing is remembered.
        let mut claims = claims(issuer);
        claims["jti"] = json!(asked.to_string());
        let token = signer.token(&claims);
        let before = Instant::now();
        assert_eq!(ask(&client, &token).await, 200);
        longest = longest.max(before.elapsed());
        asked += 1;
    }
    // Had one waited for a fetch, that would have been for two seconds.
    assert!(longest < Duration::from_secs(1), "{longest:?} of {asked}");
}

#[tokio::test]
async fn reloads_take_over_what_was_fetched() {
    let signer = Signer::new("EdDSA", "a");
    let document = jwks([&signer]);
    let origin = Origin::http1(move |_| text(document.clone()));
    let issuer = "https://id.shop.test/";
    let config = format!("jwks = {{ url = \"http://{origin}/jwks\" }}");
    let mut gateway = gateway(issuer, &config).await;
    let client = gateway.http1();
    let token = signer.token(&claims(issuer));
    assert_eq!(ask(&client, &token).await, 200);
    for number in 0..3 {
        // Another consumer has all providers compiled anew.
        let changed = format!("{CONFIG}\n[consumers.number-{number}]\n");
        let draft = Gateway::draft(&changed).with("issuer", issuer);
        draft
            .with("keys", &config)
            .apply(&mut gateway)
            .await
            .unwrap();
        assert_eq!(ask(&client, &token).await, 200);
    }
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test]
async fn a_key_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (a, b) = (Signer::new("EdDSA", "a"), Signer::new("ES256", "b"));
    std::fs::write(&path, jwks([&a])).unwrap();
    let issuer = "shop";
    let gateway = gateway(
        issuer,
        &format!("jwks = {{ file = \"{}\" }}", path.display()),
    )
    .await;
    let client = gateway.http1();
    let (first, second) = (a.token(&claims(issuer)), b.token(&claims(issuer)));
    assert_eq!(ask(&client, &first).await, 200);
    assert_eq!(ask(&client, &second).await, 401);
    std::fs::write(folder.path().join("new"), jwks([&b])).unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    eventually("the new key", async || {
        (ask(&client, &second).await == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&client, &first).await, 401);
}

#[tokio::test]
async fn the_provider_of_the_tests_is_a_real_one() {
    let provider = Provider::start().await;
    let token = provider.token("orders:read", "urn:shop:opaque").await;
    assert!(!token.contains('.'));
    let form = format!("token={token}");
    let introspected = provider.post("/token/introspection", "shop", &form).await;
    let body: Value = serde_json::from_slice(&introspected.body).unwrap();
    assert_eq!(
        (&body["active"], &body["aud"]),
        (&json!(true), &json!("shop"))
    );
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let resource = format!("urn:shop:jwt:{algorithm}");
        let token = provider.token("orders:read", &resource).await;
        assert_eq!(header(&token)["alg"], algorithm);
        assert_eq!(header(&token)["typ"], "at+jwt");
        let signed = json!({ "alg": algorithm, "typ": "x" });
        let signed = provider.sign(json!({ "sub": "alice" }), signed).await;
        assert_eq!(header(&signed)["kid"], header(&token)["kid"]);
    }
    provider.rotate(false).await;
    let kid = |token: &str| header(token)["kid"].clone();
    let after = provider.token("orders:read", "urn:shop:jwt").await;
    assert_eq!(kid(&after), "rs256-2");
    let discovery = "/.well-known/openid-configuration";
    let answer = provider.client().send(get(discovery)).await;
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["issuer"], provider.issuer());
    let client = json!({ "client_id": "web", "client_secret": "web-secret", "redirect_uris": ["http://127.0.0.1:1/"] });
    provider.configure(json!({ "clients": [client] })).await;
    let web = provider
        .post(
            "/token",
            "web",
            "grant_type=refresh_token&refresh_token=none",
        )
        .await;
    assert!(web.text().contains("not allowed for this client"));
    provider.fail().await;
    assert_eq!(provider.client().send(get("/jwks")).await.status, 500);
    provider.go_down().await;
    let refused = provider.client().try_send(get("/jwks")).await;
    assert!(refused.is_err(), "{refused:?}");
    provider.come_back().await;
    let jwks = provider.client().send(get("/jwks")).await.text();
    assert!(
        jwks.contains("rs256-2") && !jwks.contains("rs256-1"),
        "{jwks}"
    );
    assert_eq!(provider.count("/jwks").await, 3);
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(header).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}
