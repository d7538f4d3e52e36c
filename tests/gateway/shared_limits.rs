//! Limits that several gateways count together, in a real Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::*;

const NODES: usize = 8;
const TIMEOUT: Duration = Duration::from_millis(300);
const SYNC: Duration = Duration::from_millis(100);

fn configuration(redis: &str, limit: &str, shared: &str) -> String {
    format!(
        "[listeners.public]\nbind = \"$bind\"\n\n[stores.main]\nredis = {{ {redis}, timeout = \"300ms\" }}\n\n\
         [routes.all]\nmatch = {{ path = \"/{{key}}\" }}\nrespond = {{ status = 200 }}\n\
         policies.rate_limit = {{ by = [\"path:key\"], {limit}, shared = {{ store = \"main\", {shared} }} }}\n"
    )
}

/// What came of requests.
#[derive(Debug, Default)]
struct Tally {
    admitted: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    /// In microseconds.
    slowest: AtomicU64,
}

impl Tally {
    async fn ask(&self, client: &Client, target: &str) {
        let began = Instant::now();
        let status = client.send(get(target)).await.status;
        let took = began.elapsed().as_micros() as u64;
        self.slowest.fetch_max(took, Ordering::Relaxed);
        match status {
            200 => &self.admitted,
            429 => &self.refused,
            503 => &self.unavailable,
            other => panic!("{other}"),
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.load(Ordering::Relaxed))
    }
}

/// Requests one after another to each of the gateways, for as long as something else goes on. Gives what came of them, how
/// long it took, and the most that one gateway was asked within a time.
async fn under_load(fleet: &Fleet, meanwhile: impl Future<Output = ()>) -> (Tally, Duration, f64) {
    let tally = Arc::new(Tally::default());
    let is_over = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let load = fleet.clients().into_iter().map(|client| {
        let (tally, is_over) = (tally.clone(), is_over.clone());
        tokio::spawn(async move {
            let mut count = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                tally.ask(&client, "/key").await;
                count += 1;
            }
            count
        })
    });
    let load: Vec<_> = load.collect();
    meanwhile.await;
    is_over.store(true, Ordering::Relaxed);
    let mut most = 0;
    for one in load {
        most = most.max(one.await.expect("no panic"));
    }
    let took = began.elapsed();
    let tally = Arc::into_inner(tally).expect("all have ended");
    (tally, took, most as f64 / took.as_secs_f64())
}

async fn for_seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exact_gateways_together_admit_no_more_than_one() {
    for redis in [Redis::start().await, Redis::valkey().await] {
        let url = format!("url = \"{}\"", redis.url());
        let toml = configuration(&url, "rate = \"50/s\", burst = 20", "mode = \"exact\"");
        let fleet = Fleet::start(NODES, &toml).await;
        let (tally, took, _) = under_load(&fleet, for_seconds(2)).await;
        let most = 50.0 * took.as_secs_f64() + 20.0;
        println!(
            "exact: {} admitted of {most:.0} in {took:?}, slowest {:?}",
            tally.admitted(),
            tally.slowest()
        );
        assert!(tally.admitted() as f64 <= most, "{tally:?} in {took:?}");
        // It is the limit that was measured, and everybody was asked enough to go beyond it.
        assert!(tally.admitted() >= 70 && tally.refused() > 100, "{tally:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fast_gateways_together_stay_within_the_bound() {
    const RATE: f64 = 100.0;
    const BURST: f64 = 50.0;
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let url = format!("url = \"{}\"", relay.url());
    let toml = configuration(
        &url,
        "rate = \"100/s\", burst = 50",
        "mode = \"fast\", sync = \"100ms\"",
    );
    let fleet = Fleet::start(NODES, &toml).await;
    // As `src/limits/shared/mod.rs` states it.
    let bound = |took: Duration, arriving: f64| {
        let d = (SYNC + TIMEOUT).as_secs_f64();
        let share = (arriving * d).min(BURST + RATE * d);
        RATE * took.as_secs_f64() + BURST + RATE * d + (NODES - 1) as f64 * share
    };
    for (how, passing) in [
        ("near", Passing::Fast),
        ("slow", Passing::Slow(Duration::from_millis(40))),
    ] {
        relay.pass(passing);
        let (tally, took, arriving) = under_load(&fleet, for_seconds(3)).await;
        let (admitted, bound) = (tally.admitted() as f64, bound(took, arriving));
        let limit = RATE * took.as_secs_f64() + BURST;
        println!(
            "fast, {how}: {admitted} admitted, limit {limit:.0}, bound {bound:.0}, {arriving:.0}/s at each"
        );
        assert!(
            admitted <= bound,
            "{how}: {tally:?} in {took:?}, bound {bound}"
        );
        assert!(tally.refused() > 100, "{how}: {tally:?}");
    }
    relay.pass(Passing::Fast);
    // While the store is gone each counts by itself, and once it is there again they count together again.
    let alone = |took: Duration| NODES as f64 * (RATE * took.as_secs_f64() + BURST);
    let (tally, took, _) = under_load(&fleet, async {
        for_seconds(1).await;
        redis.pause();
        for_seconds(1).await;
        redis.resume();
        for_seconds(1).await;
        redis.ask(&["FLUSHALL"]).await;
        for_seconds(1).await;
        redis.ask(&["DEBUG", "SLEEP", "0.2"]).await;
    })
    .await;
    println!(
        "fast, paused and flushed: {} admitted in {took:?}, slowest {:?}",
        tally.admitted(),
        tally.slowest()
    );
    assert!(
        (tally.admitted() as f64) <= alone(took),
        "{tally:?} in {took:?}"
    );
    // No request has waited for the store.
    assert!(tally.slowest() < Duration::from_secs(1), "{tally:?}");
    eventually("they count together again", async || {
        let (tally, took, arriving) = under_load(&fleet, for_seconds(1)).await;
        ((tally.admitted() as f64) <= bound(took, arriving)).then_some(())
    })
    .await;
}

async fn gateway(redis: &str, mode: &str, on_store_down: &str) -> Gateway {
    let shared = format!("mode = \"{mode}\", on_store_down = \"{on_store_down}\"");
    let url = format!("url = \"{redis}\"");
    let toml = configuration(&url, "rate = \"6/h\", burst = 3", &shared);
    Gateway::start(&toml.replace("$bind", "127.0.0.1:0")).await
}

/// What comes of as many requests of one key.
async fn statuses(gateway: &Gateway, key: &str, count: usize) -> Vec<u16> {
    let (client, target) = (gateway.http1(), format!("/{key}"));
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(client.send(get(&target)).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_store_that_is_gone_means_what_is_chosen() {
    for mode in ["exact", "fast"] {
        let mut redis = Redis::start().await;
        let local = gateway(&redis.url(), mode, "local").await;
        let allow = gateway(&redis.url(), mode, "allow").await;
        let deny = gateway(&redis.url(), mode, "deny").await;
        for gateway in [&local, &allow, &deny] {
            assert_eq!(statuses(gateway, "before", 1).await, [200], "{mode}");
        }
        redis.stop().await;
        // In fast mode it is noticed when there is something to tell.
        eventually("it is noticed", async || {
            (statuses(&deny, "notice", 1).await == [503]).then_some(())
        })
        .await;
        eventually("it is noticed", async || {
            (statuses(&allow, "notice", 5).await == [200; 5]).then_some(())
        })
        .await;
        assert_eq!(
            statuses(&local, "down", 5).await,
            [200, 200, 200, 429, 429],
            "{mode}"
        );
        assert_eq!(statuses(&allow, "down", 5).await, [200; 5], "{mode}");
        let answer = deny.http1().send(get("/down")).await;
        answer.assert_problem(503, "limit_unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
        for (gateway, by) in [(&local, "local"), (&allow, "allowed"), (&deny, "denied")] {
            let series = format!(
                "northgate_store_limit_decisions_total{{by=\"{by}\",mode=\"{mode}\",northgate_store=\"main\"}}"
            );
            eventually(&series, async || {
                statuses(gateway, "noticed", 1).await;
                gateway.metrics().await.contains(&series).then_some(())
            })
            .await;
        }
        redis.start_again().await;
        for gateway in [&local, &allow, &deny] {
            let mut round = 0;
            eventually("it counts together again", async || {
                round += 1;
                let key = format!("after{round}");
                (statuses(gateway, &key, 4).await == [200, 200, 200, 429]).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn no_request_waits_beyond_the_deadline() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let gateway = gateway(&relay.url(), "exact", "deny").await;
    assert_eq!(statuses(&gateway, "a", 1).await, [200]);
    for passing in [Passing::Never, Passing::Slow(Duration::from_secs(2))] {
        relay.pass(passing);
        let tally = Tally::default();
        let client = gateway.http1();
        // Some are under way when it falls silent, the others come later.
        let first = (0..20).map(|_| tally.ask(&client, "/b"));
        futures_util::future::join_all(first).await;
        assert!(
            tally.slowest() < TIMEOUT + Duration::from_millis(700),
            "{tally:?}"
        );
        let later = Tally::default();
        for _ in 0..50 {
            later.ask(&client, "/b").await;
        }
        assert_eq!(later.unavailable.load(Ordering::Relaxed), 50, "{later:?}");
        assert!(later.slowest() < TIMEOUT, "{later:?}");
        relay.pass(Passing::Fast);
        let answers = async || (statuses(&gateway, "a", 1).await != [503]).then_some(());
        eventually("the store is asked again", answers).await;
    }
}

#[tokio::test]
async fn what_one_gateway_has_admitted_the_others_know() {
    let redis = Redis::start().await;
    for mode in ["exact", "fast"] {
        let (one, other) = (
            gateway(&redis.url(), mode, "local").await,
            gateway(&redis.url(), mode, "local").await,
        );
        assert_eq!(statuses(&one, mode, 3).await, [200; 3]);
        // In fast mode the other one learns of it after its own first request.
        eventually("the other one knows", async || {
            (statuses(&other, mode, 1).await == [429]).then_some(())
        })
        .await;
        assert_eq!(statuses(&one, mode, 1).await, [429]);
        assert_eq!(statuses(&other, "another", 1).await, [200]);
    }
    // Nothing that a client has sent stands there, and everything goes away by itself.
    let keys = redis.ask(&["KEYS", "*"]).await;
    assert!(keys.lines().count() >= 2, "{keys}");
    for key in keys.lines() {
        assert!(
            key.starts_with("northgate:limit:{routes.all.policies.rate_limit:"),
            "{key}"
        );
        let life: i64 = redis.ask(&["PTTL", key]).await.parse().expect("a number");
        assert!((1..=3_600_000).contains(&life), "{key} {life}");
    }
}

#[tokio::test]
async fn a_cluster_counts_as_one_server_does() {
    let mut cluster = RedisCluster::start().await;
    let toml = configuration(
        &format!("cluster = {}", cluster.seed()),
        "rate = \"6/h\", burst = 3",
        "on_store_down = \"deny\"",
    );
    let toml = toml.replace("$bind", "127.0.0.1:0");
    let (one, other) = (Gateway::start(&toml).await, Gateway::start(&toml).await);
    for index in 0..20 {
        let key = format!("key{index}");
        assert_eq!(statuses(&one, &key, 2).await, [200; 2]);
        assert_eq!(statuses(&other, &key, 2).await, [200, 429]);
    }
    // Where a node is gone, its keys cannot be counted, and those of the others can.
    cluster.nodes[1].stop().await;
    let mut seen = [0, 0];
    for index in 20..60 {
        match statuses(&one, &format!("key{index}"), 1).await[..] {
            [200] => seen[0] += 1,
            [503] => seen[1] += 1,
            ref other => panic!("{other:?}"),
        }
    }
    assert!(seen.iter().all(|count| *count >= 5), "{seen:?}");
}
