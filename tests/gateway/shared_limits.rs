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
async fn exact_gateways_admit_no_more_whatever_becomes_of_the_store() {
    let mut redis = Redis::start().await;
    let url = format!("url = \"{}\"", redis.url());
    let shared = "mode = \"exact\", on_store_down = \"deny\"";
    let toml = configuration(&url, "rate = \"50/s\", burst = 20", shared);
    let fleet = Fleet::start(NODES, &toml).await;
    let (tally, took, _) = under_load(&fleet, async {
        for_seconds(1).await;
        redis.pause();
        for_seconds(1).await;
        redis.resume();
        for_seconds(2).await;
        redis.ask(&["FLUSHALL"]).await;
        for_seconds(1).await;
        redis.stop().await;
        for_seconds(1).await;
        redis.start_again().await;
        for_seconds(2).await;
    })
    .await;
    // What it had is lost twice, and each time everybody has the burst once more.
    let most = 50.0 * took.as_secs_f64() + 3.0 * 20.0;
    println!("{} admitted of {most:.0} in {took:?}", tally.admitted());
    assert!(tally.admitted() as f64 <= most, "{tally:?} in {took:?}");
    // It was there for some six seconds, and gone for two.
    assert!(tally.admitted() >= 150, "{tally:?}");
    assert!(tally.unavailable.load(Ordering::Relaxed) > 100, "{tally:?}");
    assert!(tally.slowest() < TIMEOUT * 2, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_killed_under_a_flood_is_told_when_it_is_there_again() {
    const RATE: f64 = 100.0;
    const BURST: f64 = 5.0;
    let mut redis = Redis::start().await;
    let url = format!("url = \"{}\"", redis.url());
    let toml = configuration(&url, "rate = \"100/s\", burst = 5", "mode = \"fast\"");
    let fleet = Fleet::start(NODES, &toml).await;
    let (tally, took, arriving) = under_load(&fleet, async {
        for_seconds(1).await;
        redis.stop().await;
        for_seconds(2).await;
        redis.start_again().await;
        for_seconds(3).await;
    })
    .await;
    // Each counts alone until a second after it is there again at the latest, and it has lost what it had.
    let alone = NODES as f64 * (RATE * 3.5 + BURST);
    let rest = took.saturating_sub(Duration::from_millis(3500));
    let bound = |took| bound_of_rate(RATE, BURST, took, arriving);
    let most = alone + bound(rest) + bound(Duration::ZERO);
    println!(
        "killed: {} admitted in {took:?}, bound {most:.0}",
        tally.admitted()
    );
    assert!(tally.admitted() as f64 <= most, "{tally:?} in {took:?}");
    assert!(tally.slowest() < TIMEOUT, "{tally:?}");
    assert_eq!(tally.unavailable.load(Ordering::Relaxed), 0, "{tally:?}");
    // By now they count together again.
    let (tally, took, arriving) = under_load(&fleet, for_seconds(3)).await;
    let (admitted, bound) = (
        tally.admitted() as f64,
        bound_of_rate(RATE, BURST, took, arriving),
    );
    println!("afterwards: {admitted} admitted in {took:?}, bound {bound:.0}");
    assert!(
        (RATE..=bound).contains(&admitted),
        "{tally:?}, bound {bound}"
    );
}

/// The longest that a gateway does not know what others have admitted, in seconds.
const D: f64 = SYNC.as_secs_f64() + 2.0 * TIMEOUT.as_secs_f64();

/// As `src/limits/shared/mod.rs` states it, of a rate.
fn bound_of_rate(rate: f64, burst: f64, took: Duration, arriving: f64) -> f64 {
    let share = (arriving * D).min(burst + rate * D);
    rate * took.as_secs_f64() + burst + rate * D + (NODES - 1) as f64 * share
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_at_all_gateways_gets_no_more_however_long_it_lasts() {
    const RATE: f64 = 100.0;
    const BURST: f64 = 5.0;
    let redis = Redis::valkey().await;
    let relay = Relay::to(redis.address()).await;
    let url = format!("url = \"{}\"", relay.url());
    let limit = "rate = \"100/s\", burst = 5";
    let toml = configuration(&url, limit, "mode = \"fast\", sync = \"100ms\"");
    let fleet = Fleet::start(NODES, &toml).await;
    let bound = |took, arriving| bound_of_rate(RATE, BURST, took, arriving);
    for passing in [Passing::Fast, Passing::Slow(Duration::from_millis(40))] {
        relay.pass(passing);
        let (tally, took, arriving) = under_load(&fleet, for_seconds(8)).await;
        let (admitted, bound) = (tally.admitted() as f64, bound(took, arriving));
        println!("{passing:?}: {admitted} admitted, bound {bound:.0}, {arriving:.0}/s at each");
        // It is a flood, of which each of them would admit as much as all may together.
        assert!(arriving > RATE, "{arriving}");
        assert!(admitted <= bound, "{passing:?}: {tally:?}, bound {bound}");
        // The limit is there to be used: the debt is not larger than what was too much.
        assert!(admitted > 0.8 * RATE * took.as_secs_f64(), "{tally:?}");
    }
    relay.pass(Passing::Fast);
    // While the store is gone each counts by itself, and once it is there again they count together again.
    // That is a second after it is there again at the latest.
    let alone = NODES as f64 * (RATE * 3.0 + BURST);
    let (tally, took, arriving) = under_load(&fleet, async {
        for_seconds(1).await;
        redis.pause();
        for_seconds(2).await;
        redis.resume();
        for_seconds(1).await;
        redis.ask(&["FLUSHALL"]).await;
        for_seconds(1).await;
        redis.ask(&["DEBUG", "SLEEP", "0.2"]).await;
    })
    .await;
    // What the store loses everybody has once more.
    let rest = took.saturating_sub(Duration::from_secs(3));
    let bound_of_rest = bound(rest, arriving) + bound(Duration::ZERO, arriving);
    println!(
        "paused and flushed: {} admitted in {took:?}, bound {:.0}, slowest {:?}",
        tally.admitted(),
        alone + bound_of_rest,
        tally.slowest()
    );
    assert!(
        (tally.admitted() as f64) <= alone + bound_of_rest,
        "{tally:?} in {took:?}"
    );
    // No request has waited for the store, which would be its whole timeout.
    assert!(tally.slowest() < TIMEOUT, "{tally:?}");
    // Nobody has to pay for what was admitted meanwhile at other gateways and has come back there.
    let (tally, took, arriving) = under_load(&fleet, for_seconds(3)).await;
    let (admitted, bound) = (tally.admitted() as f64, bound(took, arriving));
    println!("afterwards: {admitted} admitted in {took:?}, bound {bound:.0}");
    assert!(
        (RATE..=bound).contains(&admitted),
        "{tally:?}, bound {bound}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_at_all_gateways_gets_a_window_once() {
    // Much more than arrives at one of them before it knows, so that it is the sharing that is seen.
    const LIMIT: f64 = 1000.0;
    let redis = Redis::start().await;
    let url = format!("url = \"{}\"", redis.url());
    let fast = "mode = \"fast\", sync = \"100ms\"";
    let sliding = "windows = [{ requests = 1000, window = \"1h\" }]";
    let calendar = configuration(&url, "requests = 1000, per = \"month\"", fast);
    let calendar = calendar.replace("policies.rate_limit", "policies.quota");
    for toml in [configuration(&url, sliding, fast), calendar] {
        let fleet = Fleet::start(NODES, &toml).await;
        let (first, _, arriving) = under_load(&fleet, for_seconds(4)).await;
        let share = (arriving * D).min(LIMIT);
        let bound = LIMIT + (NODES - 1) as f64 * share;
        println!("{} admitted of {LIMIT}, bound {bound:.0}", first.admitted());
        assert!(
            (LIMIT..=bound).contains(&(first.admitted() as f64)),
            "{first:?}"
        );
        // By now all of them know.
        let (second, ..) = under_load(&fleet, for_seconds(1)).await;
        assert!(
            second.admitted() == 0 && second.refused() > 100,
            "{second:?}"
        );
    }
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

const LIMIT: &str = "/limits/routes.all.policies.rate_limit";

/// What the store has left of a key, as a gateway sees it.
async fn left(gateway: &Gateway, key: &str) -> Option<u64> {
    let answer = gateway.admin(get(&format!("{LIMIT}?path:key={key}"))).await;
    let shown: serde_json::Value = serde_json::from_str(&answer.text()).ok()?;
    let is_known = shown["key"]["store_problem"].is_null();
    shown["key"]["rules"][0]["remaining"]
        .as_u64()
        .filter(|_| is_known)
}

async fn order(gateway: &Gateway, what: &str) {
    let answer = gateway.admin(post(&format!("{LIMIT}{what}"), "")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn what_is_reset_at_one_gateway_is_so_at_all() {
    let redis = Redis::start().await;
    let (one, other) = (
        gateway(&redis.url(), "fast", "local").await,
        gateway(&redis.url(), "fast", "local").await,
    );
    assert_eq!(statuses(&one, "a", 4).await, [200, 200, 200, 429]);
    assert_eq!(statuses(&other, "a", 1).await, [200]);
    eventually("both have told it", async || {
        let key = redis.ask(&["KEYS", "*"]).await;
        let life: Option<i64> = redis.ask(&["PTTL", &key]).await.parse().ok();
        life.is_some_and(|life| life > 3 * 600_000).then_some(())
    })
    .await;
    eventually("the other one knows", async || {
        (statuses(&other, "a", 1).await == [429]).then_some(())
    })
    .await;
    order(&one, "/reset?path:key=a").await;
    // It is refused until it asks, and not until the next one comes back ten minutes later.
    eventually("the other one knows", async || {
        (statuses(&other, "a", 1).await == [200]).then_some(())
    })
    .await;
    // An override is this gateway's alone; a share of a rate that is used up is so everywhere.
    let expires = std::time::SystemTime::now() + Duration::from_secs(86_400);
    let expires = expires.duration_since(std::time::UNIX_EPOCH).unwrap();
    let expires = northgate::text::Timestamp::from_unix(expires.as_secs()).unwrap();
    let grant = format!("/override?path:key=b&multiply=2&expires={expires}");
    order(&one, &grant).await;
    assert_eq!(statuses(&one, "b", 4).await, [200; 4]);
    eventually("the store knows", async || {
        (left(&one, "b").await == Some(2) && left(&other, "b").await == Some(1)).then_some(())
    })
    .await;
    assert_eq!(statuses(&one, "b", 3).await, [200, 200, 429]);
    eventually("the other one knows", async || {
        (statuses(&other, "b", 1).await == [429]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_outage_gives_nothing_again() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let (one, other) = (
        gateway(&relay.url(), "fast", "local").await,
        gateway(&redis.url(), "fast", "local").await,
    );
    for round in 0..3 {
        let key = format!("key{round}");
        assert_eq!(statuses(&one, "before", 1).await.len(), 1);
        relay.pass(Passing::Never);
        assert_eq!(statuses(&one, &key, 4).await, [200, 200, 200, 429]);
        eventually("it is noticed", async || {
            let shared = one.metrics().await;
            let down = "northgate_store_servers_down{northgate_store=\"main\"} 1";
            shared.contains(down).then_some(())
        })
        .await;
        assert_eq!(left(&other, &key).await, Some(3));
        relay.pass(Passing::Fast);
        // Nobody has to ask for it to be told.
        eventually("it is told", async || {
            (left(&other, &key).await == Some(0)).then_some(())
        })
        .await;
        assert_eq!(statuses(&one, &key, 1).await, [429]);
    }
    // Nor is anything counted twice that the store does when it goes on.
    assert_eq!(statuses(&one, "before", 1).await.len(), 1);
    redis.pause();
    assert_eq!(statuses(&one, "twice", 1).await, [200]);
    let down = "northgate_store_servers_down{northgate_store=\"main\"}";
    for count in [1, 0] {
        eventually("it is noticed", async || {
            let metrics = one.metrics().await;
            metrics.contains(&format!("{down} {count}")).then_some(())
        })
        .await;
        redis.resume();
    }
    assert_eq!(statuses(&one, "twice", 1).await, [200]);
    eventually("it is told", async || {
        (left(&other, "twice").await == Some(1)).then_some(())
    })
    .await;
}

async fn is_cut_off(gateway: &Gateway) {
    eventually("it is noticed", async || {
        let metrics = gateway.metrics().await;
        let down = "northgate_store_servers_down{northgate_store=\"main\"} 1";
        metrics.contains(down).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_several_have_admitted_in_an_outage_counts_together() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let start = async |url: &str| {
        let limit = "rate = \"6/h\", burst = 100";
        let toml = configuration(&format!("url = \"{url}\""), limit, "mode = \"fast\"");
        Gateway::start(&toml.replace("$bind", "127.0.0.1:0")).await
    };
    let mut gateways = Vec::new();
    for _ in 0..4 {
        gateways.push(start(&redis.url()).await);
    }
    for gateway in &gateways {
        assert_eq!(statuses(gateway, "before", 1).await, [200]);
    }
    redis.pause();
    // The first is under way when it falls silent, and is done when it goes on.
    for gateway in &gateways {
        assert_eq!(statuses(gateway, "a", 1).await, [200]);
    }
    for gateway in &gateways {
        is_cut_off(gateway).await;
        assert_eq!(statuses(gateway, "a", 15).await, [200; 15]);
    }
    redis.resume();
    eventually("the store knows of all", async || {
        (left(&gateways[0], "a").await == Some(100 - 4 * 16)).then_some(())
    })
    .await;
    // What never came to the store is told whatever others have told meanwhile.
    let cut_off = start(&relay.url()).await;
    assert_eq!(statuses(&cut_off, "b", 1).await, [200]);
    eventually("it is told", async || {
        (left(&gateways[0], "b").await == Some(99)).then_some(())
    })
    .await;
    relay.pass(Passing::Never);
    assert_eq!(statuses(&cut_off, "b", 5).await, [200; 5]);
    is_cut_off(&cut_off).await;
    assert_eq!(statuses(&gateways[0], "b", 30).await, [200; 30]);
    eventually("it is told", async || {
        (left(&gateways[0], "b").await == Some(69)).then_some(())
    })
    .await;
    relay.pass(Passing::Fast);
    eventually("it is told", async || {
        (left(&gateways[0], "b").await == Some(64)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reload_in_an_outage_forgets_nothing() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let toml = |sync: &str| {
        let url = format!("url = \"{}\"", relay.url());
        let shared = format!("mode = \"fast\", sync = \"{sync}\"");
        let toml = configuration(&url, "rate = \"6/h\", burst = 3", &shared);
        toml.replace("$bind", "127.0.0.1:0")
    };
    let mut one = Gateway::start(&toml("50ms")).await;
    let other = gateway(&redis.url(), "fast", "local").await;
    assert_eq!(statuses(&one, "before", 1).await, [200]);
    relay.pass(Passing::Never);
    assert_eq!(statuses(&one, "a", 2).await, [200; 2]);
    is_cut_off(&one).await;
    Gateway::draft(&toml("60ms")).apply(&mut one).await.unwrap();
    // It is tried a few times, and nobody asks meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(left(&other, "a").await, Some(3));
    relay.pass(Passing::Fast);
    eventually("it is told", async || {
        (left(&other, "a").await == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_an_override_gave_is_the_same_share_when_it_has_ended() {
    let redis = Redis::start().await;
    let url = format!("url = \"{}\"", redis.url());
    let shared = "mode = \"fast\", sync = \"5s\"";
    let toml = configuration(&url, "rate = \"6/h\", burst = 3", shared);
    let one = Gateway::start(&toml.replace("$bind", "127.0.0.1:0")).await;
    let expires = std::time::SystemTime::now() + Duration::from_secs(86_400);
    let expires = expires.duration_since(std::time::UNIX_EPOCH).unwrap();
    let expires = northgate::text::Timestamp::from_unix(expires.as_secs()).unwrap();
    let grant = |times| format!("/override?path:key=a&multiply={times}&expires={expires}");
    order(&one, &grant(100)).await;
    assert_eq!(statuses(&one, "a", 100).await, [200; 100]);
    order(&one, &grant(1)).await;
    assert_eq!(left(&one, "a").await, Some(3));
    let told = eventually("it is told", async || {
        left(&one, "a").await.filter(|left| *left != 3)
    })
    .await;
    // A third of what there was, whatever it is called now.
    assert_eq!(told, 2);
}

#[tokio::test]
async fn a_price_that_is_told_afterwards_is_a_debt_of_two_bursts_everywhere() {
    let redis = Redis::start().await;
    let shop = Origin::http1(|_| reply(200, &[("x-cost", "1000")], empty()));
    let toml = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n[stores.main]\nredis = {{ url = \"{}\" }}\n\
         [upstreams.shop]\nendpoints = [\"$shop\"]\n[routes.all]\nmatch = {{ path = \"/\" }}\nupstream = \"shop\"\n\
         policies.rate_limit = {{ by = \"all\", rate = \"1/h\", burst = 10, cost = 0, response_cost = \"x-cost\", \
         shared = {{ store = \"main\", mode = \"fast\" }} }}\n",
        redis.url()
    );
    let gateway = Gateway::draft(&toml).with("shop", &shop).start().await;
    assert_eq!(gateway.http1().send(get("/")).await.status, 200);
    let life = eventually("the store knows", async || {
        let key = redis.ask(&["KEYS", "*"]).await;
        redis
            .ask(&["PTTL", &key])
            .await
            .parse::<i64>()
            .ok()
            .filter(|life| *life > 0)
    })
    .await;
    const HOUR: i64 = 3_600_000;
    assert!((20 * HOUR - 60_000..=20 * HOUR).contains(&life), "{life}");
}

#[tokio::test]
async fn who_leaves_tells_what_is_left() {
    let redis = Redis::start().await;
    let toml = |sync: &str| {
        let shared = format!("mode = \"fast\", sync = \"{sync}\"");
        let url = format!("url = \"{}\"", redis.url());
        let toml = configuration(&url, "rate = \"6/h\", burst = 3", &shared);
        toml.replace("$bind", "127.0.0.1:0")
    };
    let other = Gateway::start(&toml("100ms")).await;
    let one = Gateway::start(&toml("10s")).await;
    assert_eq!(statuses(&one, "a", 3).await, [200; 3]);
    assert_eq!(left(&other, "a").await, Some(3));
    assert!(one.stop().await);
    assert_eq!(left(&other, "a").await, Some(0));
    // Nor is it lost where a configuration has the limit no more.
    let mut one = Gateway::start(&toml("1s")).await;
    assert_eq!(statuses(&one, "b", 2).await, [200; 2]);
    let without = toml("1s").replace("policies.rate_limit", "policies.quota");
    let without = without.replace("rate = \"6/h\", burst = 3", "requests = 3, per = \"day\"");
    Gateway::draft(&without).apply(&mut one).await.unwrap();
    eventually("it is told", async || {
        (left(&other, "b").await == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_new_keys_does_not_cut_anybody_off() {
    const KEYS: u64 = 6000;
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    relay.pass(Passing::Slow(Duration::from_millis(100)));
    let shared = "mode = \"fast\", sync = \"3s\", on_store_down = \"allow\"";
    let url = format!("url = \"{}\"", relay.url());
    let toml = configuration(&url, "rate = \"6/h\", burst = 3", shared);
    // A single exchange has to be in time also on a machine that has much else to do.
    let toml = toml.replace("timeout = \"300ms\"", "timeout = \"2s\"");
    let gateway = Gateway::start(&toml.replace("$bind", "127.0.0.1:0")).await;
    let client = gateway.http1();
    for chunk in 0..60 {
        let asks = (0..KEYS / 60).map(|index| {
            let (client, target) = (&client, format!("/key{chunk}x{index}"));
            async move { client.send(get(&target)).await.status }
        });
        let statuses = futures_util::future::join_all(asks).await;
        assert!(statuses.iter().all(|status| *status == 200));
    }
    // That takes longer than a deadline.
    eventually("the store knows of all", async || {
        let known = redis.ask(&["DBSIZE"]).await.parse::<u64>().unwrap();
        (known == KEYS).then_some(())
    })
    .await;
    assert_eq!(statuses(&gateway, "one", 4).await, [200, 200, 200, 429]);
    let metrics = gateway.metrics().await;
    for series in ["by=\"allowed\"", "northgate_store_unshared_changes_total{"] {
        assert!(!metrics.contains(series), "{series}");
    }
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
        assert!(tally.slowest() < TIMEOUT * 2, "{tally:?}");
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
        // Each takes ten minutes to come back: three of one key, and one of another.
        let life: i64 = redis.ask(&["PTTL", key]).await.parse().expect("a number");
        let is_life = |count: i64| (count * 600_000 - 30_000..=count * 600_000).contains(&life);
        assert!(is_life(3) || is_life(1), "{key} {life}");
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

#[tokio::test]
async fn a_cluster_that_has_lost_a_server_counts_what_the_others_have() {
    let mut cluster = RedisCluster::start().await;
    let shared = "mode = \"fast\", sync = \"20ms\", on_store_down = \"deny\"";
    let store = format!("cluster = {}", cluster.seed());
    let toml = configuration(&store, "rate = \"6/h\", burst = 3", shared);
    let toml = toml.replace("$bind", "127.0.0.1:0");
    let (one, other) = (Gateway::start(&toml).await, Gateway::start(&toml).await);
    const KEYS: usize = 30;
    let key = |index: usize| format!("key{index}");
    for index in 0..KEYS {
        assert_eq!(statuses(&one, &key(index), 2).await, [200; 2]);
    }
    for index in 0..KEYS {
        eventually("the other one knows", async || {
            (left(&other, &key(index)).await == Some(1)).then_some(())
        })
        .await;
    }
    cluster.nodes[1].stop().await;
    // The keys of the server that is gone are denied from their first exchange on, and those of the others are not.
    let mut lost = Vec::new();
    let ask = async |index| statuses(&one, &key(index), 1).await[0];
    eventually("it is noticed", async || {
        for index in 0..KEYS {
            if ask(index).await == 503 && !lost.contains(&index) {
                lost.push(index);
            }
        }
        (lost.len() >= KEYS / 10).then_some(())
    })
    .await;
    for _ in 0..5 {
        for index in 0..KEYS {
            match ask(index).await {
                503 => assert!(lost.contains(&index) || left(&other, &key(index)).await.is_none()),
                429 | 200 => assert!(!lost.contains(&index), "{index} of {lost:?}"),
                status => panic!("{status}"),
            }
        }
    }
    assert!(lost.len() < KEYS / 2 + KEYS / 4, "{lost:?}");
    // Nor are they where nobody else asks, so that whatever there is to exchange fails.
    let kept = (0..KEYS).find(|index| !lost.contains(index)).expect("one");
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(ask(kept).await, 429);
    }
    cluster.nodes[1].start_again().await;
    for index in 0..KEYS {
        eventually("it is counted again", async || {
            (ask(index).await != 503).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_a_new_master_has_counts() {
    let mut watched = Watched::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let (server, sentinel) = (
        file("server", SERVER_PASSWORD),
        file("sentinel", SENTINEL_PASSWORD),
    );
    let store = format!(
        "sentinel = {{ master = \"main\", urls = {}, password = {{ file = \"{sentinel}\" }} }}, password = {{ file = \"{server}\" }}",
        watched.sentinels()
    );
    let shared = "mode = \"fast\", sync = \"20ms\"";
    let toml = configuration(&store, "rate = \"6/h\", burst = 3", shared);
    let toml = toml.replace("$bind", "127.0.0.1:0");
    let (one, other) = (Gateway::start(&toml).await, Gateway::start(&toml).await);
    assert_eq!(statuses(&one, "a", 2).await, [200; 2]);
    eventually("the other one knows", async || {
        (left(&other, "a").await == Some(1)).then_some(())
    })
    .await;
    let copied = async || (watched.replica.ask(&["DBSIZE"]).await == "1").then_some(());
    eventually("the replica has it", copied).await;
    watched.master.stop().await;
    // What is counted while nobody is the master is told to the new one.
    assert_eq!(statuses(&one, "a", 2).await, [200, 429]);
    eventually("the new master has it", async || {
        (left(&other, "a").await == Some(0)).then_some(())
    })
    .await;
    assert_eq!(watched.replica.ask(&["DBSIZE"]).await, "1");
}

/// The minute that it is, and the second of it.
fn minute() -> (u64, u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    (now / 60, now % 60)
}

#[tokio::test]
async fn a_window_of_the_calendar_ends_for_all_at_once() {
    let redis = Redis::start().await;
    let url = format!("url = \"{}\"", redis.url());
    let start = async |sync: &str| {
        let shared = format!("mode = \"fast\", sync = \"{sync}\"");
        let toml = configuration(&url, "requests = 3, per = \"minute\"", &shared);
        let toml = toml.replace("policies.rate_limit", "policies.quota");
        Gateway::start(&toml.replace("$bind", "127.0.0.1:0")).await
    };
    let (one, other, late) = (start("10ms").await, start("10ms").await, start("10s").await);
    while !(52..57).contains(&minute().1) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (before, _) = minute();
    // What is told when the window has ended does not count in the next.
    assert_eq!(statuses(&late, "late", 4).await, [200, 200, 200, 429]);
    let mut admitted = [0; 2];
    while minute() < (before + 1, 3) {
        for gateway in [&one, &other] {
            let asked = minute().0;
            if statuses(gateway, "a", 1).await == [200] && minute().0 == asked {
                admitted[usize::from(asked > before)] += 1;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // Each window has its three, and what the other one admits before it knows.
    assert!(
        admitted.iter().all(|count| (3..=6).contains(count)),
        "{admitted:?}"
    );
    eventually("the late one has told", async || {
        let has_told = "northgate_store_sync_lag_seconds_count{northgate_store=\"main\"} 1";
        late.metrics().await.contains(has_told).then_some(())
    })
    .await;
    for key in ["a", "late"] {
        let shown = other
            .admin(get(&format!(
                "/limits/routes.all.policies.quota?path:key={key}"
            )))
            .await;
        let shown: serde_json::Value = serde_json::from_str(&shown.text()).expect("JSON");
        let expected = if key == "late" { 3 } else { 0 };
        assert_eq!(shown["key"]["rules"][0]["remaining"], expected, "{shown}");
    }
    // It is kept until the window ends, and a minute longer for clocks that differ.
    let keys = redis.ask(&["KEYS", "*"]).await;
    let left = 60 - minute().1 as i64;
    for key in keys.lines() {
        let life: i64 = redis.ask(&["PTTL", key]).await.parse().expect("a number");
        let range = (left + 60 - 5) * 1000..=(left + 60 + 1) * 1000;
        assert!(range.contains(&life), "{key} {life}, {range:?}");
    }
}
