//! How endpoints are chosen: by a key, by priority, by zone, by labels, and while they are new.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;

use crate::harness::tokens::{Signer, from_now};
use crate::harness::*;

/// Tells by its body which origin it was, and by `/healthz` how it is.
struct Shop {
    origin: Origin,
    health: Arc<AtomicU16>,
}

impl Shop {
    fn new(name: &'static str) -> Shop {
        let health = Arc::new(AtomicU16::new(200));
        let shown = health.clone();
        let origin = Origin::http1(move |seen| match seen.target.as_str() {
            "/healthz" => status(shown.load(Ordering::SeqCst)),
            _ => text(name),
        });
        Shop { origin, health }
    }

    fn is(&self, status: u16) {
        self.health.store(status, Ordering::SeqCst);
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn shops() -> [Shop; 4] {
    NAMES.map(Shop::new)
}

/// A gateway with an upstream `shop` of these, as `toml` says.
fn draft(toml: &str, shops: &[Shop]) -> Draft {
    let mut draft = Gateway::draft(toml);
    for (name, shop) in NAMES.into_iter().zip(shops) {
        if toml.contains(&format!("${name}\"")) {
            draft = draft.with(name, &shop.origin);
        }
    }
    draft
}

fn upstream(settings: &str) -> String {
    format!(
        "[upstreams.shop]\n{settings}\n[routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    )
}

const CHECKS: &str =
    "health = { http = \"/healthz\", interval = \"20ms\", healthy_after = 1, unhealthy_after = 1 }";

async fn becomes(gateway: &Gateway, shop: &Shop, healthy: bool) {
    eventually("the health that is shown", async || {
        let shown = shown(gateway, shop).await;
        (shown["healthy"] == healthy).then_some(())
    })
    .await;
}

async fn shown(gateway: &Gateway, shop: &Shop) -> serde_json::Value {
    let all = gateway.admin(get("/upstreams")).await.json();
    let endpoints = all["shop"]["endpoints"].as_array().unwrap().clone();
    let address = shop.origin.to_string();
    let mut endpoints = endpoints.into_iter();
    endpoints.find(|it| it["address"] == *address).unwrap()
}

/// Who has answered so many requests.
async fn answers(client: &Client, count: usize) -> String {
    let mut names = BTreeSet::new();
    for _ in 0..count {
        let answer = client.send(get("/")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        names.insert(answer.text());
    }
    names.into_iter().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let signer = Signer::new("HS256", "one");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, &signer.plain).unwrap();
    let token = |tenant: &str| {
        let claims = json!({
            "iss": "https://id.test/", "aud": "shop", "sub": "me", "exp": from_now(300), "tenant": tenant,
        });
        format!("Bearer {}", signer.token(&claims))
    };
    type Asking<'a> = Box<dyn Fn(&str) -> Ask + 'a>;
    let by: [(&str, Asking<'_>); 4] = [
        (
            "header:x-user",
            Box::new(|key| get("/p/x").header("x-user", key)),
        ),
        (
            "cookie:user",
            Box::new(|key| get("/p/x").header("cookie", &format!("other=1; user={key}"))),
        ),
        ("path:id", Box::new(|key| get(&format!("/p/{key}")))),
        (
            "claim:tenant",
            Box::new(|key| get("/p/x").header("authorization", &token(key))),
        ),
    ];
    let shops = shops();
    for (hash, ask) in &by {
        let jwt = match hash.starts_with("claim") {
            false => String::new(),
            true => format!(
                "policies.jwt.providers = [\"main\"]\n[identity.jwt.main]\nissuer = \"https://id.test/\"\n\
                 audiences = [\"shop\"]\nalgorithms = [\"HS256\"]\njwks = {{ secret = {{ file = {:?} }} }}\n",
                secret.display().to_string()
            ),
        };
        let toml = format!(
            "[upstreams.shop]\nendpoints = [\"$a\", \"$b\", \"$c\", \"$d\"]\nbalance = {{ hash = \"{hash}\" }}\n\
             [routes.all]\nmatch = {{ path = \"/p/{{id}}\" }}\nupstream = \"shop\"\n{jwt}"
        );
        // A gateway that knows nothing of the other comes to the same.
        let (one, other) = (
            draft(&toml, &shops).start().await,
            draft(&toml, &shops).start().await,
        );
        let mut names = BTreeSet::new();
        for key in 0..24 {
            let key = format!("user-{key}");
            let home = one.http1().send(ask(&key)).await.text();
            for gateway in [&one, &other] {
                for client in [gateway.http1(), gateway.http2()] {
                    let answer = client.send(ask(&key)).await;
                    assert_eq!(
                        (answer.status, answer.text()),
                        (200, home.clone()),
                        "{hash}"
                    );
                }
            }
            names.insert(home);
        }
        assert!(names.len() > 1, "{hash}: all keys went to {names:?}");
    }
}

#[tokio::test]
async fn requests_without_the_key_go_anywhere() {
    let shops = shops();
    let toml = upstream(
        "endpoints = [\"$a\", \"$b\", \"$c\", \"$d\"]\nbalance = { hash = \"header:x-user\" }",
    );
    let gateway = draft(&toml, &shops).start().await;
    let client = gateway.http1();
    let all = eventually("each has been asked", async || {
        let names = answers(&client, 40).await;
        (names == "a b c d").then_some(names)
    });
    all.await;
}

#[tokio::test]
async fn keys_of_an_endpoint_that_is_down_come_back_to_it() {
    let shops = shops();
    let toml = upstream(&format!(
        "endpoints = [\"$a\", \"$b\", \"$c\", \"$d\"]\nbalance = {{ hash = \"header:x-user\", max_load = 1.5 }}\n{CHECKS}"
    ));
    let gateway = draft(&toml, &shops).start().await;
    let client = gateway.http1();
    let homes = async || {
        let mut homes = Vec::new();
        for key in 0..32 {
            let ask = get("/").header("x-user", &format!("user-{key}"));
            homes.push(client.send(ask).await.text());
        }
        homes
    };
    let before = homes().await;
    let ill = NAMES.iter().position(|name| *name == before[0]).unwrap();
    shops[ill].is(503);
    becomes(&gateway, &shops[ill], false).await;
    for (before, now) in before.iter().zip(homes().await) {
        assert_eq!(before != NAMES[ill], *before == now, "{before}, then {now}");
    }
    shops[ill].is(200);
    becomes(&gateway, &shops[ill], true).await;
    assert_eq!(homes().await, before);
}

#[tokio::test]
async fn every_way_to_choose_serves() {
    let shops = shops();
    for balance in ["round_robin", "least_request", "ewma", "random"] {
        let toml = upstream(&format!(
            "endpoints = [\"$a\", \"$b\", \"$c\"]\nbalance = \"{balance}\""
        ));
        let gateway = draft(&toml, &shops).start().await;
        let client = gateway.http1();
        eventually("each has been asked", async || {
            (answers(&client, 20).await == "a b c").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ewma_leaves_a_slow_endpoint_alone() {
    let slow = Origin::serving(Protocol::Http1, |_| async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        text("slow")
    });
    let quick = [Shop::new("a"), Shop::new("b"), Shop::new("c")];
    let toml = upstream("endpoints = [\"$a\", \"$b\", \"$c\", \"$slow\"]\nbalance = \"ewma\"");
    let gateway = draft(&toml, &quick).with("slow", &slow).start().await;
    let client = gateway.http1();
    for _ in 0..200 {
        assert_eq!(client.send(get("/")).await.status, 200);
    }
    // Its first answer shows what it is. It is asked again when that is long ago; at a third of a second for the slow
    // and some milliseconds for the others that is tens of seconds.
    let asked = slow.seen().len();
    assert!(asked <= 4, "{asked} of 200 were for the slow one");
    let shown = gateway.admin(get("/upstreams")).await.json();
    let address = slow.to_string();
    let mut endpoints = shown["shop"]["endpoints"].as_array().unwrap().iter();
    let latency =
        endpoints.find(|it| it["address"] == *address).unwrap()["latency_seconds"].clone();
    assert!(asked == 0 || latency.as_f64().unwrap() > 0.01, "{latency}");
}

#[tokio::test]
async fn the_second_priority_takes_over_and_gives_back() {
    let shops = shops();
    let toml = upstream(&format!(
        "endpoints = [\"$a\", \"$b\", {{ address = \"$c\", priority = 1 }}, {{ address = \"$d\", priority = 1 }}]\n{CHECKS}"
    ));
    let gateway = draft(&toml, &shops).start().await;
    let client = gateway.http1();
    assert_eq!(answers(&client, 20).await, "a b");
    let second = shown(&gateway, &shops[2]).await;
    assert_eq!(
        (&second["idle"], &second["share"]),
        (&"priority".into(), &0.0.into())
    );
    shops[0].is(503);
    shops[1].is(503);
    becomes(&gateway, &shops[0], false).await;
    becomes(&gateway, &shops[1], false).await;
    assert_eq!(answers(&client, 20).await, "c d");
    let second = shown(&gateway, &shops[2]).await;
    assert_eq!(
        (&second["priority"], &second["share"]),
        (&1.into(), &0.5.into())
    );
    shops[0].is(200);
    shops[1].is(200);
    becomes(&gateway, &shops[0], true).await;
    becomes(&gateway, &shops[1], true).await;
    assert_eq!(answers(&client, 20).await, "a b");
}

#[tokio::test]
async fn a_dead_first_priority_is_passed_before_it_is_known_to_be_dead() {
    let shops = shops();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = upstream("endpoints = [\"$nobody\", { address = \"$c\", priority = 1 }]");
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let gateway = draft(&toml, &shops).with("nobody", address).start().await;
    assert_eq!(answers(&gateway.http1(), 5).await, "c");
}

#[tokio::test]
async fn the_local_zone_is_preferred_while_it_can() {
    let shops = shops();
    let zoned = |shop: &str, zone: &str| format!("{{ address = \"${shop}\", zone = \"{zone}\" }}");
    let toml = upstream(&format!(
        "endpoints = [{}, {}, {}, {}]\nzones = {{ local = \"eu-1\" }}\n{CHECKS}",
        zoned("a", "eu-1"),
        zoned("b", "eu-1"),
        zoned("c", "eu-2"),
        zoned("d", "eu-2")
    ));
    let gateway = draft(&toml, &shops).start().await;
    let client = gateway.http1();
    assert_eq!(answers(&client, 20).await, "a b");
    let far = shown(&gateway, &shops[3]).await;
    assert_eq!(
        (&far["zone"], &far["idle"]),
        (&"eu-2".into(), &"zone".into())
    );
    shops[0].is(503);
    becomes(&gateway, &shops[0], false).await;
    // Half of the zone takes seven tenths; the rest goes to the others.
    eventually("it spills over", async || {
        let names = answers(&client, 40).await;
        (names == "b c d").then_some(())
    })
    .await;
    shops[1].is(503);
    becomes(&gateway, &shops[1], false).await;
    assert_eq!(answers(&client, 20).await, "c d");
}

#[tokio::test]
async fn only_endpoints_with_the_labels_are_used() {
    let shops = shops();
    let endpoints = "endpoints = [{ address = \"$a\", labels = { version = \"v1\" } }, { address = \"$b\", labels = { version = \"v2\" } }]";
    let toml = upstream(&format!(
        "{endpoints}\nsubset = {{ labels = {{ version = \"v2\" }} }}\n"
    ));
    let mut gateway = draft(&toml, &shops).start().await;
    assert_eq!(answers(&gateway.http1(), 10).await, "b");
    let without = shown(&gateway, &shops[0]).await;
    assert_eq!(
        (&without["idle"], &without["healthy"]),
        (&"subset".into(), &true.into())
    );
    let toml = toml.replace("version = \"v2\" } }\n", "version = \"v3\" } }\n");
    draft(&toml, &shops).apply(&mut gateway).await.unwrap();
    let answer = gateway.http1().send(get("/")).await;
    answer.assert_problem(503, "upstream_unhealthy");
    let toml = toml.replace("\"v3\" } }\n", "\"v3\" }, fallback = \"any\" }\n");
    draft(&toml, &shops).apply(&mut gateway).await.unwrap();
    assert_eq!(answers(&gateway.http1(), 10).await, "a b");
}

#[tokio::test]
async fn in_a_panic_all_endpoints_are_used() {
    let shops = shops();
    let toml = upstream(&format!(
        "endpoints = [\"$a\", \"$b\", \"$c\"]\npanic_threshold = \"50%\"\n{CHECKS}"
    ));
    let gateway = draft(&toml, &shops).start().await;
    let client = gateway.http1();
    shops[0].is(503);
    becomes(&gateway, &shops[0], false).await;
    assert_eq!(answers(&client, 20).await, "b c");
    shops[1].is(503);
    becomes(&gateway, &shops[1], false).await;
    assert_eq!(answers(&client, 20).await, "a b c");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("northgate_upstream_panic{northgate_upstream=\"shop\"} 1\n"));
    shops[0].is(200);
    becomes(&gateway, &shops[0], true).await;
    assert_eq!(answers(&client, 20).await, "a c");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("northgate_upstream_panic{northgate_upstream=\"shop\"} 0\n"));
}

#[tokio::test]
async fn an_endpoint_that_is_back_gets_less_until_it_is_warm() {
    let shops = shops();
    let toml = upstream(&format!(
        "endpoints = [\"$a\", \"$b\"]\nslow_start = \"1h\"\n{CHECKS}"
    ));
    let gateway = draft(&toml, &shops).start().await;
    let client = gateway.http1();
    let asked = |shop: &Shop| {
        let seen = shop.origin.seen().into_iter();
        seen.filter(|seen| seen.target == "/").count()
    };
    // Those that are there from the beginning share alike.
    answers(&client, 22).await;
    assert_eq!((asked(&shops[0]), asked(&shops[1])), (11, 11));
    shops[1].is(503);
    becomes(&gateway, &shops[1], false).await;
    shops[1].is(200);
    becomes(&gateway, &shops[1], true).await;
    assert_eq!(shown(&gateway, &shops[1]).await["warmth_percent"], 10);
    // One of eleven.
    answers(&client, 110).await;
    assert_eq!((asked(&shops[0]), asked(&shops[1])), (111, 21));
}

#[tokio::test]
async fn an_endpoint_warms_up() {
    let shops = shops();
    let toml = upstream(&format!(
        "endpoints = [\"$a\", \"$b\"]\nslow_start = \"300ms\"\n{CHECKS}"
    ));
    let gateway = draft(&toml, &shops).start().await;
    shops[1].is(503);
    becomes(&gateway, &shops[1], false).await;
    shops[1].is(200);
    becomes(&gateway, &shops[1], true).await;
    eventually("it is warm", async || {
        let shown = shown(&gateway, &shops[1]).await;
        (shown["warmth_percent"] == 100).then_some(())
    })
    .await;
    // Turns that are even again: of any two in a row each gets one.
    let client = gateway.http1();
    eventually("they share alike", async || {
        let mut turns = String::new();
        for _ in 0..8 {
            turns.push_str(&client.send(get("/")).await.text());
        }
        "abababababab".contains(&turns).then_some(())
    })
    .await;
}

/// Replaced as a whole, as programs that write such files do.
fn write(path: &std::path::Path, text: &str) {
    let part = path.with_extension("part");
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_of_an_endpoint_changes_and_its_state_stays() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    let shop = Origin::serving(Protocol::Http1, move |seen| {
        let held = held.clone();
        async move {
            if seen.target == "/held" {
                held.acquire().await.unwrap().forget();
            }
            text("shop")
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.toml");
    let listed = |more: &str| {
        let nobody = "{ address = \"127.0.0.1:9\", priority = 200 }";
        format!("endpoints = [{{ address = \"{shop}\"{more} }}, {nobody}]\n")
    };
    write(&path, &listed(""));
    let toml = upstream("discovery = { file = \"$file\" }");
    let gateway = Gateway::draft(&toml)
        .with("file", path.display())
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    assert_eq!(client.send(get("/")).await.text(), "shop");
    let asking = client.clone();
    let hanging = tokio::spawn(async move { asking.send(get("/held")).await });
    let state = async || {
        let all = gateway.admin(get("/upstreams")).await.json();
        let endpoints = all["shop"]["endpoints"].as_array().unwrap().clone();
        let address = shop.to_string();
        endpoints.into_iter().find(|it| it["address"] == *address)
    };
    eventually("the request is there", async || {
        (shop.seen().len() == 2 && state().await?["in_flight"] == 1).then_some(())
    })
    .await;
    let connections = shop.connections();
    write(
        &path,
        &listed(", weight = 7, zone = \"b\", labels = { version = \"v2\" }"),
    );
    let told = eventually("it is told", async || {
        state().await.filter(|it| it["weight"] == 7)
    })
    .await;
    assert_eq!(
        (&told["zone"], &told["labels"]["version"]),
        (&json!("b"), &json!("v2"))
    );
    assert_eq!(
        (&told["in_flight"], &told["healthy"]),
        (&json!(1), &json!(true))
    );
    gate.add_permits(1);
    assert_eq!(hanging.await.unwrap().text(), "shop");
    // Its connections are those that it had.
    for _ in 0..4 {
        assert_eq!(client.send(get("/")).await.text(), "shop");
    }
    assert_eq!(shop.connections(), connections);
}
