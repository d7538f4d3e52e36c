//! `[stores]`, asked as the rooms above ask them, with real servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use northgate::config::{load_text, recompile};
use northgate::observability::Metrics;
use northgate::stores::{Redis as Store, Script, StoreError};
use northgate::text::{Diagnostics, Name, Sources, Span, Spanned, Subject};
use redis::cmd;

use crate::harness::*;

/// A store as `redis = …` says it is.
pub fn store(redis: &str) -> Arc<Store> {
    store_of(redis, &Metrics::new())
}

fn store_of(redis: &str, metrics: &Metrics) -> Arc<Store> {
    install_cryptography();
    let toml = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n[stores.it]\nredis = {redis}\n\
         [routes.all]\nmatch = {{ path = \"/\" }}\nrespond = {{ status = 200 }}\n"
    );
    let mut loaded = load_text("gateway.toml", &toml);
    let compiled = recompile(&mut loaded, metrics, None);
    let configuration =
        compiled.unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(&loaded.sources, false)));
    let name: Name = "it".parse().expect("a name");
    let span = Span::start_of(Sources::new().add("it", ""));
    let mut diagnostics = Diagnostics::new();
    let subject = &mut Subject::new(&mut diagnostics, "store");
    let stores = &configuration.snapshot.stores;
    stores
        .find(&Spanned::new(name, span), subject)
        .expect("the store")
}

pub async fn set(store: &Store, key: &str, value: &str) -> Result<(), StoreError> {
    let mut command = cmd("SET");
    command.arg(key).arg(value);
    within("an answer", store.command(&command)).await
}

pub async fn value(store: &Store, key: &str) -> Result<Option<String>, StoreError> {
    let mut command = cmd("GET");
    command.arg(key);
    within("an answer", store.command(&command)).await
}

/// Until the store does what is asked of it.
pub async fn answers(store: &Store, key: &str) {
    eventually("the store answers", async || {
        set(store, key, "again").await.ok()
    })
    .await;
}

/// A server that does not answer costs one deadline, and then nothing.
async fn is_refused_at_once(store: &Store, key: &str) {
    eventually("it is not asked any more", async || {
        matches!(value(store, key).await, Err(StoreError::Down(_))).then_some(())
    })
    .await;
    let began = Instant::now();
    let mut refused = 0;
    for _ in 0..100 {
        refused += u32::from(matches!(value(store, key).await, Err(StoreError::Down(_))));
    }
    // A look whether it answers again may be under way; nobody waits for that.
    assert_eq!(refused, 100);
    assert!(
        began.elapsed() < Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_script_is_sent_once_and_known_from_then_on() {
    for redis in [Redis::start().await, Redis::valkey().await] {
        let store = store(&format!("{{ url = \"{}\" }}", redis.url()));
        let script = Script::new("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}");
        for round in 1..=3 {
            let mut call = script.call();
            call.key("counter").arg(7);
            let answer: (String, u32, u32) = store.script(&call).await.expect("an answer");
            assert_eq!(answer, ("counter".into(), 7, round));
        }
        assert_eq!(redis.calls("eval").await, 1);
        assert_eq!(redis.calls("evalsha").await, 3);
        redis.ask(&["SCRIPT", "FLUSH"]).await;
        let mut call = script.call();
        call.key("counter").arg(7);
        let answer: (String, u32, u32) = store.script(&call).await.expect("an answer");
        assert_eq!(answer.2, 4);
    }
}

#[tokio::test]
async fn commands_of_many_share_a_connection() {
    let redis = Redis::start().await;
    let store = store(&format!(
        "{{ url = \"{}/3\", timeout = \"10s\" }}",
        redis.url()
    ));
    let many = (0..2000).map(|index| {
        let store = store.clone();
        async move {
            let mut command = cmd("INCRBY");
            command.arg(format!("key{}", index % 10)).arg(index);
            store.command::<u64>(&command).await.expect("an answer")
        }
    });
    futures_util::future::join_all(many).await;
    assert_eq!(
        redis.ask(&["-n", "3", "GET", "key7"]).await,
        (0..200).map(|n| n * 10 + 7).sum::<u64>().to_string()
    );
    let clients = redis.ask(&["CLIENT", "LIST"]).await;
    assert_eq!(
        clients
            .lines()
            .filter(|line| line.contains("lib-name=northgate") || line.contains(" db=3 "))
            .count(),
        1,
        "{clients}"
    );
}

#[tokio::test]
async fn tls_and_passwords_and_certificates() {
    // OpenSSL takes a certificate that is named as its issuer for one that has issued itself.
    let (authority, stranger) = (Authority::named("ours"), Authority::named("theirs"));
    let own = authority.issue(&["127.0.0.1"]);
    let client = authority.issue(&["gateway"]);
    let redis = Redis::guarded(&authority, &own, "s3cret").await;
    let folder = tempfile::tempdir().expect("a folder");
    let (right, wrong) = (folder.path().join("right"), folder.path().join("wrong"));
    std::fs::write(&right, "s3cret\n").expect("writable");
    std::fs::write(&wrong, "guessed").expect("writable");
    redis
        .ask(&[
            "ACL",
            "SETUSER",
            "northgate",
            "on",
            ">s3cret",
            "allkeys",
            "+@all",
            "-ping",
        ])
        .await;
    let store = |ca: &str, shows: bool, more: &str, password: &std::path::Path| {
        let shown = match shows {
            true => format!(
                ", client_certificate = {{ cert = \"{}\", key = {{ file = \"{}\" }} }}",
                client.cert_path.display(),
                client.key_path.display()
            ),
            false => String::new(),
        };
        let (url, password) = (redis.url().replace("redis:", "rediss:"), password.display());
        store(&format!(
            "{{ url = \"{url}\", ca = \"{ca}\", password = {{ file = \"{password}\" }}{shown}{more} }}"
        ))
    };
    let ca = authority.path();
    let good = store(&ca, true, "", &right);
    set(&good, "a", "1").await.expect("it is let in");
    let named = store(&ca, true, ", username = \"northgate\"", &right);
    assert_eq!(
        value(&named, "a").await.expect("it is let in").as_deref(),
        Some("1")
    );
    for (bad, why) in [
        (store(&ca, true, "", &wrong), "authentication failed"),
        (
            store(&ca, true, ", username = \"nobody\"", &right),
            "authentication failed",
        ),
        (store(&ca, false, "", &right), ""),
        (store(&stranger.path(), true, "", &right), "certificate"),
    ] {
        let error = value(&bad, "a")
            .await
            .expect_err("it is not let in")
            .to_string();
        assert!(error.contains(why), "{error}");
    }
    // The name that is asked for has to be that of the certificate.
    let other = redis
        .url()
        .replace("redis://127.0.0.1", "rediss://localhost");
    let other = store_of(
        &format!("{{ url = \"{other}\", ca = \"{ca}\" }}"),
        &Metrics::new(),
    );
    let error = value(&other, "a")
        .await
        .expect_err("it is another name")
        .to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_found_again() {
    let mut redis = Redis::start().await;
    let store = store(&format!("{{ url = \"{}\" }}", redis.url()));
    set(&store, "a", "1").await.expect("it answers");
    // One that was replaced between two commands is not even noticed.
    redis.stop().await;
    redis.start_again().await;
    set(&store, "a", "1").await.expect("it answers");
    redis.stop().await;
    is_refused_at_once(&store, "a").await;
    redis.start_again().await;
    answers(&store, "a").await;
}

#[tokio::test]
async fn a_server_that_stands_still_costs_one_deadline() {
    let redis = Redis::start().await;
    let metrics = Metrics::new();
    let store = store_of(
        &format!("{{ url = \"{}\", timeout = \"300ms\" }}", redis.url()),
        &metrics,
    );
    set(&store, "a", "1").await.expect("it answers");
    redis.pause();
    let began = Instant::now();
    let many = (0..50).map(|_| {
        let store = store.clone();
        async move { (value(&store, "a").await.is_err(), began.elapsed()) }
    });
    for (is_error, took) in futures_util::future::join_all(many).await {
        assert!(is_error && took < Duration::from_millis(900), "{took:?}");
    }
    is_refused_at_once(&store, "a").await;
    let said = String::from_utf8(metrics.expose()).expect("text");
    assert!(
        said.contains("northgate_store_servers_down{northgate_store=\"it\"} 1"),
        "{said}"
    );
    assert!(said.contains("northgate_store_command_duration_seconds_count{northgate_store=\"it\",result=\"timeout\"}"), "{said}");
    redis.resume();
    answers(&store, "a").await;
    let said = String::from_utf8(metrics.expose()).expect("text");
    assert!(
        said.contains("northgate_store_servers_down{northgate_store=\"it\"} 0"),
        "{said}"
    );
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_replaced() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let store = store(&format!(
        "{{ url = \"{}\", timeout = \"300ms\" }}",
        relay.url()
    ));
    set(&store, "a", "1").await.expect("it answers");
    relay.pass_on_old(Passing::Never);
    let began = Instant::now();
    assert!(matches!(
        value(&store, "a").await,
        Err(StoreError::Deadline(_))
    ));
    answers(&store, "a").await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    // One that is silent to everybody is left alone until it is not.
    relay.pass(Passing::Never);
    is_refused_at_once(&store, "a").await;
    relay.pass(Passing::Fast);
    answers(&store, "a").await;
    // So is one that is too slow; one that is slow enough is not.
    relay.pass(Passing::Slow(Duration::from_millis(500)));
    is_refused_at_once(&store, "a").await;
    relay.pass(Passing::Slow(Duration::from_millis(20)));
    answers(&store, "a").await;
}

#[tokio::test]
async fn a_server_that_still_loads_or_only_reads_is_not_used() {
    let redis = Redis::start().await;
    let store = store(&format!("{{ url = \"{}\" }}", redis.url()));
    set(&store, "a", "1").await.expect("it answers");
    let nowhere = free_address().port().to_string();
    redis.ask(&["REPLICAOF", "127.0.0.1", &nowhere]).await;
    eventually("its state is known", async || {
        set(&store, "a", "2").await.err()
    })
    .await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]).await;
    answers(&store, "a").await;
}

#[tokio::test]
async fn sentinels_lead_to_the_new_master() {
    let mut watched = Watched::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (watching, serving) = (
        folder.path().join("watching"),
        folder.path().join("serving"),
    );
    std::fs::write(&watching, SENTINEL_PASSWORD).expect("writable");
    std::fs::write(&serving, SERVER_PASSWORD).expect("writable");
    let store = |master: &str, sentinels: &str| {
        store(&format!(
            "{{ sentinel = {{ master = \"{master}\", urls = {sentinels}, password = {{ file = \"{}\" }} }}, password = {{ file = \"{}\" }} }}",
            watching.display(),
            serving.display(),
        ))
    };
    // Where nobody is at one of the addresses, the others answer.
    let urls = watched
        .sentinels()
        .replacen('[', &format!("[\"redis://{}\", ", free_address()), 1);
    let shared = store("main", &urls);
    set(&shared, "a", "1").await.expect("it answers");
    assert_eq!(watched.master.ask(&["GET", "a"]).await, "1");
    let unknown = store("other", &urls);
    let error = value(&unknown, "a")
        .await
        .expect_err("nobody knows it")
        .to_string();
    assert!(
        error.contains("no sentinel knows a master \"other\""),
        "{error}"
    );
    watched.master.stop().await;
    answers(&shared, "b").await;
    assert_eq!(watched.replica.ask(&["GET", "b"]).await, "again");
    assert_eq!(
        value(&shared, "a").await.expect("it answers").as_deref(),
        Some("1")
    );
}

#[tokio::test]
async fn a_cluster_is_one_store() {
    let mut cluster = RedisCluster::start().await;
    let store = store(&format!("{{ cluster = {} }}", cluster.seed()));
    // Keys of every node are found from one of them.
    for index in 0..50 {
        set(&store, &format!("key{index}"), &index.to_string())
            .await
            .expect("it answers");
    }
    for index in 0..50 {
        let found = value(&store, &format!("key{index}"))
            .await
            .expect("it answers");
        assert_eq!(found, Some(index.to_string()));
    }
    let script = Script::new("return {redis.call('GET', KEYS[1]), KEYS[2]}");
    let mut call = script.call();
    call.key("key7").key("{key7}:other");
    let answer: (String, String) = store.script(&call).await.expect("it answers");
    assert_eq!(answer, ("7".into(), "{key7}:other".into()));
    // While slots move no command fails.
    let (from, to) = (
        cluster.owner("key7").await,
        (cluster.owner("key7").await + 1) % 3,
    );
    let moving = cluster.move_slots(2000, from, to);
    let using = async {
        loop {
            for index in 0..50 {
                set(&store, &format!("key{index}"), "moving")
                    .await
                    .expect("it answers");
            }
        }
    };
    tokio::select! {
        () = moving => {}
        () = using => {}
    }
    for index in 0..50 {
        set(&store, &format!("key{index}"), "moved")
            .await
            .expect("it answers");
    }
    // Where one node is gone, the keys of the others are as near as before.
    let gone = cluster.owner("key7").await;
    let mut of_others = String::new();
    for index in 0..50 {
        let key = format!("key{index}");
        if cluster.owner(&key).await != gone {
            of_others = key;
        }
    }
    cluster.nodes[gone].stop().await;
    is_refused_at_once(&store, "key7").await;
    for _ in 0..20 {
        set(&store, &of_others, "there")
            .await
            .expect("its node answers");
    }
    cluster.nodes[gone].start_again().await;
    answers(&store, "key7").await;
}
