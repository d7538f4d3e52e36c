//! `discovery.etcd`, with real servers.

use std::time::{Duration, Instant};

use crate::discovery::{assert_quick, standing};
use crate::harness::*;

const KEY: &str = "/services/users/";

fn named(name: &'static str) -> Origin {
    Origin::http1(move |_| text(name))
}

/// An upstream whose endpoints are below [`KEY`]; `more` is the rest of the table.
fn users(endpoints: &str, more: &str) -> Draft {
    let discovery = format!("{{ endpoints = {endpoints}, prefix = \"{KEY}\"{more} }}");
    Gateway::draft(&format!(
        "[upstreams.users]\ndiscovery = {{ etcd = {discovery} }}\n\
         [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"users\"\n"
    ))
}

async fn users_of(etcd: &Etcd) -> Gateway {
    users(&format!("[\"{etcd}\"]"), "").start().await
}

/// Until the next requests are answered by each of these and by nobody else.
async fn answered_by(gateway: &Gateway, names: &[&str]) {
    let client = gateway.http1();
    eventually(&format!("answers of {names:?}"), async || {
        let mut seen = Vec::new();
        for _ in 0..12 {
            let answer = client.send(get("/")).await;
            seen.push(match answer.status {
                200 => answer.text(),
                status => status.to_string(),
            });
        }
        seen.sort_unstable();
        seen.dedup();
        (seen == names).then_some(())
    })
    .await;
}

/// Until the gateway says this of how it stands with the registry.
async fn is_up(gateway: &Gateway, is_up: bool) {
    let series = "northgate_discovery_up{northgate_upstream=\"users\",source=\"etcd\"}";
    let line = format!("{series} {}", u8::from(is_up));
    eventually(&line, async || {
        gateway.metrics().await.contains(&line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_become_endpoints_and_end_with_their_lease() {
    let [a, b, c] = ["a", "b", "c"].map(named);
    let etcd = Etcd::start().await;
    etcd.put("/services/users/1", &a).await;
    etcd.put("/services/users/bad", "not an address").await;
    etcd.put("/services/users-of-others/1", &c).await;
    let gateway = users_of(&etcd).await;
    answered_by(&gateway, &["a"]).await;

    let json = format!("{{\"address\": \"{b}\", \"weight\": 3, \"zone\": \"z\"}}");
    etcd.put("/services/users/2", json).await;
    answered_by(&gateway, &["a", "b"]).await;
    // Written by etcd's own naming, which takes the bad value's place.
    let grpc = format!("{{\"Op\":0,\"Addr\":\"{c}\",\"Metadata\":{{\"v\":\"1\"}}}}");
    etcd.put("/services/users/bad", grpc).await;
    answered_by(&gateway, &["a", "b", "c"]).await;
    etcd.delete("/services/users/bad").await;
    etcd.delete("/services/users/1").await;
    answered_by(&gateway, &["b"]).await;

    let began = Instant::now();
    etcd.put_for("/services/users/leased", &a, 2).await;
    answered_by(&gateway, &["a", "b"]).await;
    answered_by(&gateway, &["b"]).await;
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    etcd.delete("/services/users/2").await;
    answered_by(&gateway, &["503"]).await;
}

/// 100 ms from the moment that etcd tells it; this measures from before it is told to etcd.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_takes_effect_at_once() {
    let [a, b] = ["a", "b"].map(named);
    let etcd = Etcd::start().await;
    etcd.put("/services/users/1", &a).await;
    let gateway = users_of(&etcd).await;
    answered_by(&gateway, &["a"]).await;
    let client = gateway.http1();
    let mut took = Vec::new();
    for round in 0..20 {
        let (origin, name) = [(&b, "b"), (&a, "a")][round % 2];
        let began = Instant::now();
        etcd.put("/services/users/1", origin).await;
        eventually("the other one answers", async || {
            (client.send(get("/")).await.text() == name).then_some(())
        })
        .await;
        took.push(began.elapsed());
    }
    assert_quick("etcd", took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_killed_compacted_and_cut_off_costs_no_request() {
    let [a, b] = ["a", "b"].map(named);
    let mut etcd = Etcd::start().await;
    let relay = Relay::to(etcd.address()).await;
    etcd.put("/services/users/1", &a).await;
    let gateway = users(&format!("[\"http://{}\"]", relay.address()), "")
        .start()
        .await;
    answered_by(&gateway, &["a"]).await;
    let traffic = Traffic::through(gateway.http1());

    etcd.stop().await;
    is_up(&gateway, false).await;
    etcd.start_again().await;
    is_up(&gateway, true).await;
    etcd.put("/services/users/2", &b).await;
    answered_by(&gateway, &["a", "b"]).await;

    // What happens meanwhile is forgotten before the gateway can ask for it.
    etcd.stop().await;
    is_up(&gateway, false).await;
    relay.pass(Passing::Never);
    etcd.start_again().await;
    etcd.delete("/services/users/1").await;
    etcd.put("/services/others", "x").await;
    etcd.compact().await;
    relay.pass(Passing::Fast);
    answered_by(&gateway, &["b"]).await;

    // It accepts connections and answers nothing, then answers again.
    etcd.pause();
    is_up(&gateway, false).await;
    etcd.resume();
    is_up(&gateway, true).await;
    etcd.put("/services/users/1", &a).await;
    answered_by(&gateway, &["a", "b"]).await;
    traffic.end(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_of_a_cluster_after_the_other_fails() {
    let [a, b] = ["a", "b"].map(named);
    let mut cluster = Etcd::cluster(3).await;
    let relay = Relay::to(cluster[0].address()).await;
    cluster[1].put("/services/users/1", &a).await;
    let urls = format!(
        "[\"http://{}\", \"{}\", \"{}\"]",
        relay.address(),
        cluster[1],
        cluster[2]
    );
    let gateway = users(&urls, "").start().await;
    answered_by(&gateway, &["a"]).await;
    let traffic = Traffic::through(gateway.http1());

    // The connection to the first goes silent: ten seconds later at most the second is asked.
    let began = Instant::now();
    relay.pass(Passing::Never);
    cluster[1].put("/services/users/2", &b).await;
    answered_by(&gateway, &["a", "b"]).await;
    println!(
        "a server that is cut off was left after {:?}",
        began.elapsed()
    );

    let began = Instant::now();
    cluster[1].stop().await;
    cluster[2].put("/services/users/3", "127.0.0.1:1").await;
    cluster[2].delete("/services/users/3").await;
    cluster[2].delete("/services/users/1").await;
    answered_by(&gateway, &["b"]).await;
    println!(
        "the change behind a server that was killed came after {:?}",
        began.elapsed()
    );
    traffic.end(&["a", "b"]).await;
}

#[tokio::test]
async fn prefixes_share_a_connection_and_its_stream() {
    let [a, b] = ["a", "b"].map(named);
    let etcd = Etcd::start().await;
    etcd.put("/services/users/1", &a).await;
    etcd.put("/services/orders/1", &b).await;
    let gateway = Gateway::draft(
        "[upstreams.users]\ndiscovery = { etcd = { endpoints = [\"$etcd\"], prefix = \"/services/users/\" } }\n\
         [upstreams.orders]\ndiscovery = { etcd = { endpoints = [\"$etcd\"], prefix = \"/services/orders/\" } }\n\
         [routes.users]\nmatch = { path = \"/{*rest}\" }\nupstream = \"users\"\n\
         [routes.orders]\nmatch = { path = \"/orders\" }\nupstream = \"orders\"\n",
    )
    .with("etcd", &etcd)
    .start()
    .await;
    answered_by(&gateway, &["a"]).await;
    assert_eq!(gateway.http1().send(get("/orders")).await.text(), "b");
    assert_eq!(
        etcd.metric("etcd_debugging_mvcc_watch_stream_total").await,
        1
    );
    assert_eq!(etcd.metric("etcd_debugging_mvcc_watcher_total").await, 2);
    drop(gateway);
    eventually("nobody watches any more", async || {
        let left = etcd.metric("etcd_debugging_mvcc_watcher_total").await;
        (left == 0).then_some(())
    })
    .await;
}

/// Its own authority, a client certificate, a user; tokens that end, a password that changes.
#[tokio::test]
async fn tls_and_logins() {
    let [a, b] = ["a", "b"].map(named);
    let authority = Authority::new();
    let shown = authority.issue(&["gateway"]);
    let mut etcd = Etcd::guarded(&authority, 1).await;
    etcd.lock().await;
    etcd.put("/services/users/1", &a).await;
    etcd.put("/services/orders/1", &b).await;
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, USER.1).unwrap();
    let etcd_of = |prefix: &str| {
        format!(
            "discovery = {{ etcd = {{ endpoints = [\"{etcd}\"], prefix = \"{prefix}\", username = \"{}\", \
             password = {{ file = \"{}\" }}, tls = {{ ca = \"{}\", client_certificate = {} }} }} }}\n",
            USER.0,
            password.display(),
            authority.path(),
            shown.entry()
        )
    };
    let route = "[routes.all]\nmatch = { path = \"/{*rest}\" }\nupstream = \"users\"\n";
    let users = format!("[upstreams.users]\n{}", etcd_of("/services/users/"));
    let mut gateway = Gateway::start(&format!("{users}{route}")).await;
    answered_by(&gateway, &["a"]).await;

    // By now the token may have ended; whoever begins later needs another one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let orders = format!("[upstreams.orders]\n{}", etcd_of("/services/orders/"));
    let secret = format!("[upstreams.secret]\n{}", etcd_of("/secret/"));
    let more = "[routes.orders]\nmatch = { path = \"/orders\" }\nupstream = \"orders\"\n\
         [routes.secret]\nmatch = { path = \"/secret\" }\nupstream = \"secret\"\n";
    let toml = format!("{users}{orders}{secret}{route}{more}");
    Gateway::draft(&toml).apply(&mut gateway).await.unwrap();
    let client = gateway.http1();
    eventually("the other prefix is listed", async || {
        (client.send(get("/orders")).await.status == 200).then_some(())
    })
    .await;
    // What this user may not read is refused, which concerns nobody else.
    let refused = "northgate_discovery_failures_total{error=\"refused\",northgate_upstream=\"secret\",source=\"etcd\"}";
    eventually("a refusal", async || {
        gateway.metrics().await.contains(refused).then_some(())
    })
    .await;
    etcd.put("/services/users/1", &b).await;
    answered_by(&gateway, &["b"]).await;

    // Whoever begins later needs a token by the new password, with which its connection is made anew.
    etcd.change_password("another").await;
    std::fs::write(&password, "another").unwrap();
    let more = format!("[upstreams.more]\n{}", etcd_of("/services/orders/1"));
    let route = "[routes.more]\nmatch = { path = \"/more\" }\nupstream = \"more\"\n";
    let toml = format!("{toml}{more}{route}");
    Gateway::draft(&toml).apply(&mut gateway).await.unwrap();
    eventually("by the new password", async || {
        (client.send(get("/more")).await.text() == "b").then_some(())
    })
    .await;
    etcd.put("/services/users/1", &a).await;
    answered_by(&gateway, &["a"]).await;

    // Who cannot prove to be etcd is not believed.
    let other = Authority::named("another one");
    let users = format!("{users}{}", route.replace("more", "users"));
    let relay = Relay::to(etcd.address()).await;
    let elsewhere = format!("https://localhost:{}", relay.address().port());
    for (is, wrong) in [
        (authority.path(), other.path()),
        (etcd.to_string(), elsewhere),
    ] {
        let gateway = Gateway::start(&users.replace(&is, &wrong)).await;
        let shown = standing(&gateway).await;
        let error = shown["last_error"]["error"].as_str().unwrap_or_default();
        assert!(
            error.contains("it cannot be reached") && error.contains("certificate"),
            "{shown}"
        );
        assert_eq!(gateway.http1().send(get("/users")).await.status, 503);
    }
}

/// What it had is lost, and it has caught up before anybody could see that; then it is lost again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_has_lost_what_it_had_takes_nothing_away() {
    let [a, b] = ["a", "b"].map(named);
    let mut etcd = Etcd::start().await;
    let relay = Relay::to(etcd.address()).await;
    etcd.put("/services/users/1", &a).await;
    // One that has been started once more is in a later term than one that has not.
    etcd.stop().await;
    etcd.start_again().await;
    let gateway = users(&format!("[\"http://{}\"]", relay.address()), "")
        .start()
        .await;
    answered_by(&gateway, &["a"]).await;
    let traffic = Traffic::through(gateway.http1());

    relay.pass(Passing::Never);
    etcd.stop().await;
    etcd.start_empty().await;
    for value in 0..10 {
        etcd.put("/services/others", value).await;
    }
    etcd.put("/services/users/2", &b).await;
    relay.pass(Passing::Fast);
    answered_by(&gateway, &["b"]).await;
    is_up(&gateway, true).await;

    // That there is nothing is nobody's word.
    etcd.stop().await;
    is_up(&gateway, false).await;
    etcd.start_empty().await;
    eventually("the loss is told of", async || {
        let shown = standing(&gateway).await;
        let error = shown["last_error"]["error"].as_str()?.to_owned();
        (shown["up"] == false && error.contains("it has lost what it had")).then_some(())
    })
    .await;
    answered_by(&gateway, &["b"]).await;
    etcd.put("/services/users/1", &a).await;
    answered_by(&gateway, &["a"]).await;
    is_up(&gateway, true).await;
    // From then on it is somebody's.
    traffic.end(&["a", "b"]).await;
    etcd.delete("/services/users/1").await;
    answered_by(&gateway, &["503"]).await;
}

#[tokio::test]
async fn a_start_without_etcd_begins_with_what_was_kept() {
    let [a, b] = ["a", "b"].map(named);
    let mut etcd = Etcd::start().await;
    etcd.put("/services/users/1", &a).await;
    let state = tempfile::tempdir().unwrap();
    let toml = format!(
        "[gateway]\nstate_dir = \"{}\"\n\
         [upstreams.users]\ndiscovery = {{ etcd = {{ endpoints = [\"{etcd}\"], prefix = \"{KEY}\" }} }}\n\
         [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"users\"\n",
        state.path().display()
    );
    let gateway = Gateway::start(&toml).await;
    let kept = state.path().join("endpoints.users.json");
    eventually("it is kept", async || kept.exists().then_some(())).await;
    gateway.stop().await;
    etcd.stop().await;
    let gateway = Gateway::start(&toml).await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "a");
    assert_eq!(standing(&gateway).await["from_disk"], true);
    let traffic = Traffic::through(gateway.http1());
    etcd.start_again().await;
    etcd.put("/services/users/1", &b).await;
    answered_by(&gateway, &["b"]).await;
    traffic.end(&["a", "b"]).await;
}

/// What is written is looked at, and nobody is asked.
#[tokio::test]
async fn check_asks_no_registry() {
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    registry.set_nonblocking(true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let toml = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n\
         [upstreams.users]\ndiscovery = {{ etcd = {{ endpoints = [\"http://{}\"], prefix = \"{KEY}\" }} }}\n\
         [routes.all]\nmatch = {{ path = \"/\" }}\nupstream = \"users\"\n",
        registry.local_addr().unwrap()
    );
    std::fs::write(&path, toml).unwrap();
    let mut check = tokio::process::Command::new(env!("CARGO_BIN_EXE_northgate"));
    let check = check.args(["check", "-c"]).arg(&path).output();
    let output = within("it is checked", check).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let asked = registry.accept();
    assert_eq!(asked.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
