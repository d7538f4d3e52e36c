//! `[stores]` whose servers are behind, half gone, slow, or break what they have accepted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use northgate::stores::{Redis as Store, Script, StoreError};

use super::stores::{answers, set, store, value};
use crate::harness::*;

/// The longest that a server which serves again goes unnoticed, beside what attempts to reach it take.
const NOTICED: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_sentinel_that_is_behind_is_passed_over() {
    let mut watched = Watched::start().await;
    let (master, replica) = (watched.master.address(), watched.replica.address());
    let behind = watched.cut_off(master).await;
    let wrong = watched.cut_off(replica).await;
    // The others answer later than those do.
    let mut relays = Vec::new();
    for sentinel in watched.addresses() {
        let relay = Relay::to(sentinel).await;
        relay.pass(Passing::Slow(Duration::from_millis(30)));
        relays.push(relay);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let password = |name: &str, password: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, password).expect("writable");
        format!("{{ file = \"{}\" }}", path.display())
    };
    let watching = password("watching", SENTINEL_PASSWORD);
    let serving = password("serving", SERVER_PASSWORD);
    let others: Vec<String> = relays.iter().map(Relay::url).collect();
    let store = |first: String, others: &[String]| {
        let urls = [&[first][..], others].concat().join("\", \"");
        store(&format!(
            "{{ sentinel = {{ master = \"main\", urls = [\"{urls}\"], password = {watching} }}, \
             password = {serving}, timeout = \"1s\" }}"
        ))
    };
    // It names a server that says it is a replica.
    let first = store(format!("redis://{wrong}"), &others);
    set(&first, "a", "1").await.expect("the next one is asked");
    assert_eq!(watched.master.ask(&["GET", "a"]).await, "1");
    // It names a server that takes connections and says nothing.
    watched.master.pause();
    watched.has_failed_over().await;
    let second = store(format!("redis://{behind}"), &others);
    let began = Instant::now();
    answers(&second, "b").await;
    assert!(began.elapsed() < NOTICED * 3, "{:?}", began.elapsed());
    assert_eq!(watched.replica.ask(&["GET", "b"]).await, "again");
    // Where nobody says anything better, one command waits, and not one after the other for as long as it takes.
    let slow = Relay::to(behind).await;
    slow.pass(Passing::Slow(Duration::from_millis(100)));
    let third = store(slow.url(), &[]);
    let error = value(&third, "a").await;
    assert!(matches!(error, Err(StoreError::Deadline(_))), "{error:?}");
    let began = Instant::now();
    let error = value(&third, "a").await;
    assert!(matches!(error, Err(StoreError::Down(_))), "{error:?}");
    assert!(began.elapsed() < Duration::from_millis(300));
    watched.master.resume();
}

/// Keys of each node of a cluster.
async fn keys_of(cluster: &RedisCluster) -> [Vec<String>; 3] {
    let mut keys = [const { Vec::new() }; 3];
    for index in 0..30 {
        let key = format!("key{index}");
        keys[cluster.owner(&key).await].push(key);
    }
    assert!(keys.iter().all(|keys| keys.len() > 2), "{keys:?}");
    keys
}

#[tokio::test]
async fn a_node_that_is_gone_is_no_matter_to_the_keys_of_the_others() {
    let mut cluster = RedisCluster::start().await;
    let store = store(&format!("{{ cluster = {} }}", cluster.seed()));
    let [of_gone, others @ ..] = keys_of(&cluster).await;
    for key in others.iter().flatten().chain(&of_gone) {
        set(&store, key, "before").await.expect("it answers");
    }
    // It is the one that the configuration names.
    cluster.nodes[0].stop().await;
    let began = Instant::now();
    let is_noticed = async || {
        let said = cluster.nodes[1].ask(&["CLUSTER", "NODES"]).await;
        said.contains("master,fail ")
    };
    let mut refused = 0;
    // Before the others of the cluster have noticed, and after.
    while !is_noticed().await || began.elapsed() < Duration::from_secs(4) {
        for (key, of_gone) in others.iter().flatten().zip(of_gone.iter().cycle()) {
            refused += u32::from(set(&store, of_gone, "there").await.is_err());
            set(&store, key, "there").await.expect("its node answers");
        }
    }
    assert!(refused > 100, "{refused}");
    cluster.nodes[0].start_again().await;
    for key in &of_gone {
        answers(&store, key).await;
    }
}

#[tokio::test]
async fn a_slot_that_nobody_has_is_no_matter_to_the_others() {
    let cluster = RedisCluster::start().await;
    let store = store(&format!("{{ cluster = {} }}", cluster.seed()));
    let [_, keys, _] = keys_of(&cluster).await;
    let [gone, others @ ..] = keys.as_slice() else {
        panic!("{keys:?}");
    };
    for key in &keys {
        set(&store, key, "before").await.expect("it answers");
    }
    let slot = cluster.slot(gone).await;
    // Of the one that has it first, so that it tells the others of it no more.
    for node in [1, 0, 2] {
        let node = &cluster.nodes[node];
        node.ask(&["CLUSTER", "DELSLOTS", &slot]).await;
    }
    let error = value(&store, gone).await.expect_err("nobody has it");
    assert!(error.to_string().contains("lusterDown"), "{error}");
    for key in others {
        let found = value(&store, key).await.expect("its slot is there");
        assert_eq!(found.as_deref(), Some("before"));
    }
    cluster.nodes[1].ask(&["CLUSTER", "ADDSLOTS", &slot]).await;
    answers(&store, gone).await;
}

/// Says of the key's slot that it is on its way from its node to another one, and gives who they are.
async fn begin_to_move(cluster: &RedisCluster, key: &str) -> (usize, usize, String) {
    let slot = cluster.slot(key).await;
    let from = cluster.owner(key).await;
    let to = (from + 1) % 3;
    let id = cluster.nodes[to].ask(&["CLUSTER", "MYID"]).await;
    cluster.nodes[from]
        .ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id])
        .await;
    (from, to, slot)
}

async fn is_taken(cluster: &RedisCluster, (from, to, slot): (usize, usize, &str)) {
    let id = cluster.nodes[from].ask(&["CLUSTER", "MYID"]).await;
    cluster.nodes[to]
        .ask(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &id])
        .await;
}

#[tokio::test]
async fn a_server_without_a_name_is_where_it_was_asked() {
    let cluster = RedisCluster::start().await;
    for node in &cluster.nodes {
        let unknown = ["cluster-preferred-endpoint-type", "unknown-endpoint"];
        node.ask(&["CONFIG", "SET", unknown[0], unknown[1]]).await;
    }
    let store = store(&format!("{{ cluster = {} }}", cluster.seed()));
    set(&store, "other", "1").await.expect("its node is known");
    let (from, to, slot) = begin_to_move(&cluster, "key7").await;
    is_taken(&cluster, (from, to, &slot)).await;
    // ASK :PORT
    set(&store, "key7", "moved").await.expect("it is asked");
    let id = cluster.nodes[to].ask(&["CLUSTER", "MYID"]).await;
    for node in [to, from] {
        let node = &cluster.nodes[node];
        node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
    }
    // MOVED SLOT :PORT
    let found = value(&store, "key7").await.expect("it is followed");
    assert_eq!(found.as_deref(), Some("moved"));
}

#[tokio::test]
async fn servers_that_do_not_agree_are_not_followed_for_ever() {
    let cluster = RedisCluster::start().await;
    let store = store(&format!(
        "{{ cluster = {}, timeout = \"5s\" }}",
        cluster.seed()
    ));
    set(&store, "other", "1").await.expect("its node is known");
    // The one names the other, which knows nothing of it.
    begin_to_move(&cluster, "key7").await;
    let began = Instant::now();
    let error = value(&store, "key7").await.expect_err("nobody has it");
    assert!(error.to_string().contains("do not agree"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
    set(&store, "other", "1").await.expect("its node is known");
}

#[tokio::test]
async fn a_command_waits_until_its_keys_are_together() {
    let cluster = RedisCluster::start().await;
    let store = store(&format!(
        "{{ cluster = {}, timeout = \"10s\" }}",
        cluster.seed()
    ));
    set(&store, "{key7}a", "1").await.expect("it answers");
    let (from, to, slot) = begin_to_move(&cluster, "key7").await;
    is_taken(&cluster, (from, to, &slot)).await;
    // One key is there, and the other is not: TRYAGAIN.
    let both = async {
        let script = Script::new("return redis.call('MGET', KEYS[1], KEYS[2])");
        let mut call = script.call();
        call.key("{key7}a").key("{key7}b");
        let both: Result<Vec<Option<String>>, _> = store.script(&call).await;
        both
    };
    let together = async {
        let source = &cluster.nodes[from];
        eventually("it was told to try again", async || {
            let said = source.ask(&["INFO", "errorstats"]).await;
            said.contains("errorstat_TRYAGAIN:").then_some(())
        })
        .await;
        source.ask(&["CLUSTER", "SETSLOT", &slot, "STABLE"]).await;
    };
    let (both, ()) = within("an answer", async { tokio::join!(both, together) }).await;
    assert_eq!(both.expect("an answer"), [Some("1".to_owned()), None]);
}

#[tokio::test]
async fn who_has_little_time_left_says_nothing_of_the_server() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let url = relay.url();
    let store = store(&format!("{{ url = \"{url}\", timeout = \"1s\" }}"));
    set(&store, "a", "1").await.expect("it answers");
    let connections = redis.connections().await;
    relay.pass(Passing::Slow(Duration::from_millis(300)));
    // The server does not know the script, says so after 600 ms, and is sent it whole.
    let script = Script::new("return 'of the script'");
    let mut call = script.call();
    call.key("a");
    let answer: Result<String, StoreError> = store.script(&call).await;
    assert!(matches!(answer, Err(StoreError::Deadline(_))), "{answer:?}");
    relay.pass(Passing::Fast);
    // It is asked on over the same connection, and the late answer is nobody else's.
    let found = value(&store, "a").await.expect("the server is asked");
    assert_eq!(found.as_deref(), Some("1"));
    assert_eq!(redis.calls("eval").await, 1);
    assert_eq!(redis.connections().await, connections + 2);
}

#[tokio::test]
async fn a_silent_server_is_noticed_by_those_who_are_called_off() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let url = relay.url();
    let store = store(&format!("{{ url = \"{url}\", timeout = \"1s\" }}"));
    set(&store, "a", "1").await.expect("it answers");
    relay.pass(Passing::Never);
    let began = Instant::now();
    eventually("it is not asked any more", async || {
        // As by a route whose timeout is shorter.
        let asked = tokio::time::timeout(Duration::from_millis(100), value(&store, "a")).await;
        matches!(asked, Ok(Err(StoreError::Down(_)))).then_some(())
    })
    .await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    relay.pass(Passing::Fast);
    answers(&store, "a").await;
}

#[tokio::test]
async fn a_late_answer_is_nobody_elses() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let url = relay.url();
    let store = store(&format!("{{ url = \"{url}\", timeout = \"2s\" }}"));
    for index in 0..100 {
        let key = format!("key{index}");
        set(&store, &key, &key).await.expect("it answers");
    }
    let connections = redis.connections().await;
    relay.pass(Passing::Slow(Duration::from_millis(5)));
    let ask = async |store: Arc<Store>, task: u64| {
        let (mut own, mut late) = (0, 0);
        for round in 0..100 {
            let key = format!("key{}", (task * 7 + round) % 100);
            // Some have the time that it takes, and the others leave on its way.
            let patience = Duration::from_millis((task * 11 + round * 3) % 40);
            match tokio::time::timeout(patience, value(&store, &key)).await {
                Ok(found) => {
                    assert_eq!(found.expect("it answers"), Some(key));
                    own += 1;
                }
                Err(_) => late += 1,
            }
        }
        (own, late)
    };
    let tasks = (0..20).map(|task| ask(store.clone(), task));
    let counts = within("all of them", futures_util::future::join_all(tasks)).await;
    // All of them over one connection: nobody who left has said anything against the server.
    assert_eq!(redis.connections().await, connections + 1);
    let own: u32 = counts.iter().map(|(own, _)| own).sum();
    let late: u32 = counts.iter().map(|(_, late)| late).sum();
    assert!(own > 100 && late > 100, "{own} {late}");
}

#[tokio::test]
async fn connections_that_break_at_once_are_made_less_and_less_often() {
    let redis = Redis::start().await;
    let store = store(&format!("{{ url = \"{}\" }}", redis.url()));
    redis.ask(&["SETRANGE", "large", "200000", "x"]).await;
    let limit = "client-output-buffer-limit";
    redis
        .ask(&["CONFIG", "SET", limit, "normal 1000 0 0"])
        .await;
    let before = redis.connections().await;
    // Every connection is good until it is used: what is to be read from it is more than the server allows.
    let use_it = async |began: Instant| {
        while began.elapsed() < Duration::from_secs(3) {
            assert!(value(&store, "large").await.is_err());
            tokio::task::yield_now().await;
        }
    };
    let began = Instant::now();
    futures_util::future::join_all((0..4).map(|_| use_it(began))).await;
    let made = redis.connections().await - before;
    assert!((3..=15).contains(&made), "{made}");
    redis.ask(&["CONFIG", "SET", limit, "normal 0 0 0"]).await;
    let began = Instant::now();
    eventually("it is asked again", async || {
        value(&store, "large").await.ok()
    })
    .await;
    assert!(began.elapsed() < NOTICED * 2, "{:?}", began.elapsed());
}

/// Counts its calls.
const COUNT: &str = "return redis.call('INCR', KEYS[1])";

#[tokio::test]
async fn who_may_have_been_heard_is_not_told_that_nobody_was_asked() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.address()).await;
    let url = relay.url();
    let store = store(&format!("{{ url = \"{url}\", timeout = \"2s\" }}"));
    let mut count = redis::cmd("INCR");
    count.arg("a");
    let first: u64 = store.command(&count).await.expect("it answers");
    assert_eq!(first, 1);
    // It is done, the answer is lost, and it cannot be sent again: nobody answers the new connection either.
    relay.pass(Passing::Unanswered);
    let lost = store.command::<u64>(&count).await;
    assert!(matches!(lost, Err(StoreError::Redis(_))), "{lost:?}");
    assert_eq!(redis.ask(&["GET", "a"]).await, "2");
    let refused = store.command::<u64>(&count).await;
    assert!(matches!(refused, Err(StoreError::Down(_))), "{refused:?}");
    assert_eq!(redis.ask(&["GET", "a"]).await, "2");
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_not_sent_again() {
    let redis = Redis::start().await;
    let script = Script::new(COUNT);
    for (is_once, expected) in [(false, "3"), (true, "2")] {
        redis.ask(&["DEL", "a"]).await;
        let relay = Relay::to(redis.address()).await;
        let url = relay.url();
        let store = store(&format!("{{ url = \"{url}\", timeout = \"2s\" }}"));
        let mut call = script.call();
        call.key("a");
        if is_once {
            call.once();
        }
        let first: u64 = store.script(&call).await.expect("it answers");
        assert_eq!(first, 1);
        relay.pass_on_old(Passing::Unanswered);
        let again = store.script::<u64>(&call).await;
        match is_once {
            true => assert!(matches!(again, Err(StoreError::Redis(_))), "{again:?}"),
            false => assert_eq!(again.expect("it is sent again"), 3),
        }
        assert_eq!(redis.ask(&["GET", "a"]).await, expected);
        let next: u64 = store.script(&call).await.expect("it answers");
        assert_eq!(next.to_string(), redis.ask(&["GET", "a"]).await);
    }
}

#[tokio::test]
async fn a_connection_that_ended_while_nobody_asked_is_made_anew_before_anything_is_sent() {
    let redis = Redis::start().await;
    let store = store(&format!("{{ url = \"{}\" }}", redis.url()));
    let script = Script::new(COUNT);
    let mut call = script.call();
    call.key("a").once();
    let first: u64 = store.script(&call).await.expect("it answers");
    assert_eq!(first, 1);
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    // So that what reads from the connection has its turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let second: u64 = store.script(&call).await.expect("it was not sent before");
    assert_eq!(second, 2);
}
