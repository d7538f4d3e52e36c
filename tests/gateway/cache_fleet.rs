//! Several gateways that purge together over a real server.

use std::time::Duration;

use tempfile::TempDir;

use crate::harness::*;

const SHARED: &str = r#"
    [gateway]
    state_dir = "$state"

    [stores.shared]
    redis = { url = "$redis", timeout = "500ms" }

    [cache]
    disk = { path = "responses", size = "16MiB" }
    broadcast = { store = "shared", name = "$name" }

    [upstreams.origin]
    endpoints = ["$origin"]

    [routes.cached]
    match = { path = "/{*rest}" }
    upstream = "origin"

    [routes.cached.policies]
    cache = { purge = "true", purge_on_write = ["written"] }
"#;

struct Setting {
    origin: Origin,
    redis: Redis,
    folders: [TempDir; 2],
}

impl Setting {
    async fn new() -> Setting {
        let origin = Origin::http1(|seen| {
            let fields = [
                ("cache-control", "max-age=600"),
                ("cache-tag", "all, written"),
            ];
            reply(200, &fields, full(seen.target.clone()))
        });
        Setting {
            origin,
            redis: Redis::start().await,
            folders: [(); 2].map(|()| tempfile::tempdir().unwrap()),
        }
    }

    async fn start(&self, number: usize) -> Gateway {
        self.draft(number, "one").start().await
    }

    fn draft(&self, number: usize, name: &str) -> Draft {
        let draft = Gateway::draft(SHARED).with("origin", &self.origin);
        let draft = draft.with("state", self.folders[number].path().display());
        draft.with("redis", self.redis.url()).with("name", name)
    }

    /// Whether a gateway has to ask for it.
    async fn is_asked(&self, gateway: &Gateway, target: &str) -> bool {
        let asked = self.origin.seen().len();
        let answer = gateway.http1().send(get(target)).await;
        assert_eq!((answer.status, answer.text()), (200, target.to_owned()));
        self.origin.seen().len() > asked
    }

    /// Waits until what was purged elsewhere is gone here.
    async fn is_gone(&self, gateway: &Gateway, target: &str) {
        eventually(&format!("{target} is gone"), async || {
            let is_asked = self.is_asked(gateway, target).await;
            is_asked.then_some(())
        })
        .await;
    }

    /// A gateway hears from some moment on, which another can see by what it makes of a purge.
    async fn hear_each_other(&self, one: &Gateway, other: &Gateway) {
        for (from, to) in [(one, other), (other, one)] {
            eventually("they hear each other", async || {
                self.is_asked(to, "/heard").await;
                let purged = from.http1().send(request("PURGE", "/heard")).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                (purged.status == 204 && self.is_asked(to, "/heard").await).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_purges_all_purge() {
    let setting = Setting::new().await;
    let [one, other] = [setting.start(0).await, setting.start(1).await];
    setting.hear_each_other(&one, &other).await;
    let keep = async |target: &str| {
        for gateway in [&one, &other] {
            setting.is_asked(gateway, target).await;
            assert!(!setting.is_asked(gateway, target).await, "{target} is kept");
        }
    };
    for purge in [
        "url=http%3A%2F%2Fshop.test%2Fa",
        "tag=all",
        "prefix=%2Fa",
        "all=true",
        "tag=all&soft=true",
    ] {
        keep("/a").await;
        keep("/b").await;
        let answer = one.admin(post(&format!("/cache/purge?{purge}"), "")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        setting.is_gone(&other, "/a").await;
        let is_of_all = purge.contains("all");
        assert_eq!(setting.is_asked(&other, "/b").await, is_of_all, "{purge}");
    }
    let text = other.metrics().await;
    for series in [
        "northgate_cache_entries{tier=\"disk\"}",
        "northgate_cache_bound_bytes{tier=\"disk\"} 16777216",
        "northgate_cache_purges_total{kind=\"tag\"} 2",
        "northgate_cache_broadcast_untold{state=\"waits\"} 0",
        "northgate_cache_broadcast_total{result=\"missed\"} 0",
        "northgate_cache_requests_total{http_route=\"cached\",result=\"hit\"}",
        "northgate_cache_age_seconds_count{http_route=\"cached\"}",
        "northgate_cache_response_body_bytes_total{http_route=\"cached\",result=\"miss\"}",
    ] {
        assert!(text.contains(series), "{series} in {text}");
    }
    let shown = other.admin(get("/cache")).await.json();
    assert_eq!(shown["disk"]["bound"], 16 << 20, "{shown}");
    assert_eq!(shown["broadcast"]["missed"], 0, "{shown}");
    // What a client changes by way of one.
    keep("/b").await;
    keep("/c").await;
    assert_eq!(one.http1().send(post("/c", "x")).await.status, 200);
    setting.is_gone(&other, "/c").await;
    setting.is_gone(&other, "/b").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_told_is_told_later() {
    let mut setting = Setting::new().await;
    let [one, other] = [setting.start(0).await, setting.start(1).await];
    setting.hear_each_other(&one, &other).await;
    for gateway in [&one, &other] {
        setting.is_asked(gateway, "/a").await;
    }
    setting.redis.stop().await;
    let purge = || post("/cache/purge?tag=all", "");
    let answer = one.admin(purge()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.text().contains("untold"), "{answer:?}");
    assert!(setting.is_asked(&one, "/a").await, "it is purged here");
    assert!(!setting.is_asked(&other, "/a").await, "nobody has told it");
    assert_eq!(one.http1().send(request("PURGE", "/b")).await.status, 202);
    setting.redis.start_again().await;
    setting.is_gone(&other, "/a").await;
    eventually("it is told at once again", async || {
        let answer = one.admin(purge()).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_hears_what_was_purged_meanwhile() {
    let setting = Setting::new().await;
    let [one, other] = [setting.start(0).await, setting.start(1).await];
    setting.hear_each_other(&one, &other).await;
    for target in ["/a", "/b"] {
        setting.is_asked(&other, target).await;
    }
    assert!(other.stop().await);
    let purged = one.http1().send(request("PURGE", "/a")).await;
    assert_eq!(purged.status, 204);
    let other = setting.start(1).await;
    setting.is_gone(&other, "/a").await;
    assert!(
        !setting.is_asked(&other, "/b").await,
        "nobody has purged it, and it is on disk"
    );
    assert!(other.stop().await);
    let purged = one.admin(post("/cache/purge?tag=all", "")).await;
    assert_eq!(purged.status, 200);
    let other = setting.start(1).await;
    setting.is_gone(&other, "/b").await;
    assert!(other.stop().await);
    // It knows that it has done this already.
    let other = setting.start(1).await;
    assert!(!setting.is_asked(&other, "/b").await);
    assert!(other.stop().await);
    // Of another channel it knows nothing, and so not what was purged there.
    let other = setting.draft(1, "two").start().await;
    setting.is_gone(&other, "/b").await;
}

#[test]
fn what_cannot_be_is_told() {
    let check = |broadcast: &str, expected: &str| {
        let toml = format!(
            "[listeners.a]\nbind = '[::1]:0'\n[stores.a]\nredis.url = 'redis://localhost'\n[cache]\nbroadcast = {broadcast}\n"
        );
        let mut loaded = northgate::config::load_text("fleet.toml", &toml);
        let metrics = northgate::observability::Metrics::new();
        assert!(northgate::config::compile(&mut loaded, &metrics).is_none());
        let told = loaded.diagnostics.render(&loaded.sources, false);
        assert!(told.contains(expected), "{told}");
    };
    check("{ store = 'b' }", "there is no store \"b\"");
    check("{ name = 'a' }", "store");
    check(
        "{ store = 'a', kept = 99 }",
        "must be 100 to 1000000, got 99",
    );
    check("{ store = 'a', name = '' }", "name");
}
