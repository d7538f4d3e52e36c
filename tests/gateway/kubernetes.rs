//! `discovery.kubernetes`, with a strict double of the API server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::discovery::{assert_quick, standing};
use crate::harness::*;

fn named(name: &'static str) -> Origin {
    Origin::http1(move |_| text(name))
}

/// A gateway that asks the API server at this address.
async fn gateway_of(api: &Kubernetes, address: SocketAddr) -> Gateway {
    of_kubeconfig(api.kubeconfig(address).display(), "")
        .start()
        .await
}

fn of_kubeconfig(path: impl std::fmt::Display, more: &str) -> Draft {
    let users = "[upstreams.users]\n\
         discovery = { kubernetes = { service = \"users\", port = \"http\", kubeconfig = \"$file\", context = \"it\" } }\n\
         [routes.all]\nmatch = { path = \"/{*rest}\" }\nupstream = \"users\"\n";
    Gateway::draft(&format!("{more}{users}")).with("file", path)
}

fn ports(origin: &Origin) -> Value {
    let port: u16 = origin.port().parse().expect("a port");
    json!([
        {"name": "metrics", "port": 1, "protocol": "TCP"},
        {"name": "http", "port": port, "protocol": "TCP"},
    ])
}

/// A slice of the service with one endpoint, in these conditions.
fn put(api: &Kubernetes, name: &str, origin: &Origin, conditions: Value) {
    let endpoint = json!({"addresses": ["127.0.0.1"], "conditions": conditions, "zone": "a"});
    api.put(name, "users", ports(origin), json!([endpoint]));
}

fn ready() -> Value {
    json!({"ready": true, "serving": true, "terminating": false})
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

async fn is_up(gateway: &Gateway, is_up: bool) {
    let series = "northgate_discovery_up{northgate_upstream=\"users\",source=\"kubernetes\"}";
    let line = format!("{series} {}", u8::from(is_up));
    eventually(&line, async || {
        gateway.metrics().await.contains(&line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn slices_of_a_service_are_one_set() {
    let [a, b, c] = ["a", "b", "c"].map(named);
    let api = Kubernetes::start().await;
    put(&api, "users-1", &a, ready());
    put(&api, "users-2", &b, ready());
    // The same endpoint again, as slices have it while they are balanced anew.
    put(&api, "users-3", &a, json!({"ready": false}));
    put(
        &api,
        "users-4",
        &c,
        json!({"ready": false, "serving": false}),
    );
    api.put(
        "orders-1",
        "orders",
        ports(&c),
        json!([{"addresses": ["127.0.0.1"]}]),
    );
    let gateway = gateway_of(&api, api.address()).await;
    answered_by(&gateway, &["a", "b"]).await;
    let lists = api.asked().0;
    // Four slices are two pages.
    assert_eq!(lists, 2);

    put(&api, "users-4", &c, json!({}));
    answered_by(&gateway, &["a", "b", "c"]).await;
    // It is about to end: others are ready.
    put(
        &api,
        "users-4",
        &c,
        json!({"ready": false, "serving": true, "terminating": true}),
    );
    answered_by(&gateway, &["a", "b"]).await;
    api.delete("users-1");
    put(
        &api,
        "users-2",
        &b,
        json!({"ready": false, "serving": false, "terminating": true}),
    );
    // None is ready any more, and one serves still.
    answered_by(&gateway, &["c"]).await;
    api.delete("users-4");
    answered_by(&gateway, &["503"]).await;
    // A name, and a port that all of it is.
    let port: u16 = a.port().parse().unwrap();
    let named = json!([{"name": "http", "port": port}]);
    let endpoint = json!([{"addresses": ["localhost"]}]);
    api.put_of("FQDN", "users-5", "users", named, endpoint);
    answered_by(&gateway, &["a"]).await;
    assert_eq!(api.asked().0, lists, "it was watched, and not listed again");
}

/// 100 ms from the moment that the API server tells it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_takes_effect_at_once() {
    let [a, b] = ["a", "b"].map(named);
    let api = Kubernetes::start().await;
    put(&api, "users-1", &a, ready());
    let gateway = gateway_of(&api, api.address()).await;
    answered_by(&gateway, &["a"]).await;
    let client = gateway.http1();
    let mut took = Vec::new();
    for round in 0..20 {
        let (origin, name) = [(&b, "b"), (&a, "a")][round % 2];
        let began = Instant::now();
        put(&api, "users-1", origin, ready());
        eventually("the other one answers", async || {
            (client.send(get("/")).await.text() == name).then_some(())
        })
        .await;
        took.push(began.elapsed());
    }
    assert_quick("the double of Kubernetes", took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_forgets_costs_no_request() {
    let [a, b] = ["a", "b"].map(named);
    let mut api = Kubernetes::start().await;
    put(&api, "users-1", &a, ready());
    let gateway = gateway_of(&api, api.address()).await;
    answered_by(&gateway, &["a"]).await;
    let traffic = Traffic::through(gateway.http1());
    assert_eq!(api.asked().0, 1);

    // It has happened much that concerns others. Who was told so goes on from there, and lists nothing.
    let before = heard(&gateway).await;
    api.pass_time();
    eventually("a word", async || {
        api.bookmark();
        (heard(&gateway).await > before).then_some(())
    })
    .await;
    api.stop();
    is_up(&gateway, false).await;
    api.start_again().await;
    is_up(&gateway, true).await;
    put(&api, "users-2", &b, ready());
    answered_by(&gateway, &["a", "b"]).await;
    assert_eq!(api.asked().0, 1);

    // Who was not told has to begin anew.
    api.stop();
    is_up(&gateway, false).await;
    api.pass_time();
    api.delete("users-1");
    api.start_again().await;
    answered_by(&gateway, &["b"]).await;
    assert_eq!(api.asked().0, 2);

    // A watch that goes on is told that it is too far behind.
    api.pass_time();
    api.compact();
    eventually("another list", async || (api.asked().0 == 3).then_some(())).await;
    put(&api, "users-1", &a, ready());
    answered_by(&gateway, &["a", "b"]).await;
    traffic.end(&["a", "b"]).await;
}

/// The second in which the gateway has heard of the registry last.
async fn heard(gateway: &Gateway) -> u64 {
    let series = "northgate_discovery_heard_timestamp_seconds{northgate_upstream=\"users\",source=\"kubernetes\"} ";
    let metrics = gateway.metrics().await;
    let mut lines = metrics.lines();
    let second = lines.find_map(|line| line.strip_prefix(series));
    second.expect("it was heard of").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_cut_off_is_noticed() {
    let [a, b] = ["a", "b"].map(named);
    let api = Kubernetes::start().await;
    let relay = Relay::to(api.address()).await;
    put(&api, "users-1", &a, ready());
    let gateway = gateway_of(&api, relay.address()).await;
    answered_by(&gateway, &["a"]).await;
    let traffic = Traffic::through(gateway.http1());
    let began = Instant::now();
    relay.pass_on_old(Passing::Never);
    put(&api, "users-1", &b, ready());
    tokio::time::timeout(Duration::from_secs(60), async {
        let client = gateway.http1();
        while client.send(get("/")).await.text() != "b" {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the change behind a connection that is cut off");
    let took = began.elapsed();
    println!("a connection to Kubernetes that is cut off was left after {took:?}");
    traffic.end(&["a", "b"]).await;
}

#[tokio::test]
async fn a_token_is_rotated() {
    let [a, b] = ["a", "b"].map(named);
    let mut api = Kubernetes::start().await;
    put(&api, "users-1", &a, ready());
    let gateway = gateway_of(&api, api.address()).await;
    answered_by(&gateway, &["a"]).await;
    api.rotate_token("the second");
    api.stop();
    is_up(&gateway, false).await;
    put(&api, "users-1", &b, ready());
    api.start_again().await;
    answered_by(&gateway, &["b"]).await;
}

/// As in a pod: the token and the authority lie where Kubernetes puts them, which only this process sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_finds_its_own_cluster() {
    let [a, b] = ["a", "b"].map(named);
    let api = Kubernetes::start().await;
    put(&api, "users-1", &a, ready());
    let account = api.service_account();
    let listener = own_address();
    let toml = account.join("gateway.toml");
    let text = format!(
        "[listeners.public]\nbind = \"{listener}\"\n\
         [upstreams.users]\ndiscovery = {{ kubernetes = {{ service = \"users\", port = \"http\" }} }}\n\
         [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"users\"\n"
    );
    std::fs::write(&toml, text).unwrap();
    let script = "set -e; mount -t tmpfs tmpfs /run; to=/run/secrets/kubernetes.io/serviceaccount; mkdir -p $to; \
         mount --bind \"$1\" $to; exec \"$2\" run -c \"$3\"";
    let mut command = tokio::process::Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .args([
            &account,
            std::path::Path::new(env!("CARGO_BIN_EXE_northgate")),
            &toml,
        ])
        .env("KUBERNETES_SERVICE_HOST", api.address().ip().to_string())
        .env("KUBERNETES_SERVICE_PORT", api.address().port().to_string())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true);
    let _pod = command.spawn().expect("unshare");
    let client = Client::of(listener, Protocol::Http1);
    eventually("the pod answers", async || {
        let answer = client.try_send(get("/")).await.ok()?;
        (answer.text() == "a").then_some(())
    })
    .await;
    // Kubernetes replaces the token after a while. The process is in its sandbox, and reads it all the same.
    api.rotate_token("the second");
    let part = account.join("part");
    std::fs::write(&part, "the second").unwrap();
    std::fs::rename(part, account.join("token")).unwrap();
    put(&api, "users-1", &b, ready());
    // The watch was begun with the first one, and ends.
    api.pass_time();
    api.compact();
    eventually("it is listed with the new token", async || {
        let lists = api.asked().0;
        let answer = client.try_send(get("/")).await.ok()?;
        (lists > 1 && answer.text() == "b").then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_cannot_prove_to_be_the_server_is_not_believed() {
    let a = named("a");
    let api = Kubernetes::start().await;
    put(&api, "users-1", &a, ready());
    let kubeconfig = api.kubeconfig(api.address());
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    let other = Authority::named("another one");
    let own: serde_json::Value = serde_json::from_str(&text).unwrap();
    let own = own["clusters"][0]["cluster"]["certificate-authority"]
        .as_str()
        .unwrap();
    let relay = Relay::to(api.address()).await;
    let elsewhere = format!("https://localhost:{}", relay.address().port());
    let here = format!("https://{}", api.address());
    for (is, wrong) in [(own, &*other.path()), (&*here, &*elsewhere)] {
        assert!(text.contains(is), "{text}");
        std::fs::write(&kubeconfig, text.replace(is, wrong)).unwrap();
        let gateway = of_kubeconfig(kubeconfig.display(), "").start().await;
        let shown = standing(&gateway).await;
        let error = shown["last_error"]["error"].as_str().unwrap_or_default();
        assert!(
            error.contains("it cannot be reached") && error.contains("certificate"),
            "{shown}"
        );
        assert_eq!(api.asked(), (0, 0));
        assert_eq!(gateway.http1().send(get("/")).await.status, 503);
    }
}

/// What one cluster has said up to a version is nothing that another one could go on from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubeconfig_that_leads_to_another_cluster_is_followed() {
    let [a, b] = ["a", "b"].map(named);
    let (mut api, other) = (Kubernetes::start().await, Kubernetes::start().await);
    put(&other, "users-2", &b, ready());
    // A version that is neither too old there nor in the future.
    for _ in 0..2 {
        put(&api, "users-1", &a, ready());
        put(&other, "users-3", &b, ready());
    }
    let kubeconfig = api.kubeconfig(api.address());
    let gateway = of_kubeconfig(kubeconfig.display(), "").start().await;
    answered_by(&gateway, &["a"]).await;
    let traffic = Traffic::through(gateway.http1());
    std::fs::copy(other.kubeconfig(other.address()), &kubeconfig).unwrap();
    api.stop();
    answered_by(&gateway, &["b"]).await;
    traffic.end(&["a", "b"]).await;
}

#[tokio::test]
async fn a_start_without_the_server_begins_with_what_was_kept() {
    let [a, b] = ["a", "b"].map(named);
    let mut api = Kubernetes::start().await;
    put(&api, "users-1", &a, ready());
    let kubeconfig = api.kubeconfig(api.address());
    let state = tempfile::tempdir().unwrap();
    let more = format!("[gateway]\nstate_dir = \"{}\"\n", state.path().display());
    let start = async || {
        let draft = of_kubeconfig(kubeconfig.display(), &more);
        draft.start().await
    };
    let gateway = start().await;
    let kept = state.path().join("endpoints.users.json");
    eventually("it is kept", async || kept.exists().then_some(())).await;
    gateway.stop().await;
    api.stop();
    let gateway = start().await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "a");
    assert_eq!(standing(&gateway).await["from_disk"], true);
    let traffic = Traffic::through(gateway.http1());
    api.start_again().await;
    put(&api, "users-1", &b, ready());
    answered_by(&gateway, &["b"]).await;
    traffic.end(&["a", "b"]).await;
}

/// The port has another name from now on: that is no word of there being no endpoint, however often it is watched anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_that_cannot_be_used_take_nothing_away() {
    let a = named("a");
    let mut api = Kubernetes::start().await;
    put(&api, "users-1", &a, ready());
    let gateway = gateway_of(&api, api.address()).await;
    answered_by(&gateway, &["a"]).await;
    let traffic = Traffic::through(gateway.http1());
    let port: u16 = a.port().parse().unwrap();
    let renamed = json!([{"name": "web", "port": port, "protocol": "TCP"}]);
    let endpoints = json!([{"addresses": ["127.0.0.1"]}]);
    api.put("users-1", "users", renamed, endpoints);
    is_up(&gateway, false).await;
    let before = heard(&gateway).await;
    for _ in 0..2 {
        let watches = api.asked().1;
        api.stop();
        api.start_again().await;
        eventually("another watch", async || {
            (api.asked().1 > watches).then_some(())
        })
        .await;
        answered_by(&gateway, &["a"]).await;
    }
    assert_eq!(heard(&gateway).await, before);
    is_up(&gateway, false).await;
    put(&api, "users-1", &a, ready());
    is_up(&gateway, true).await;
    traffic.end(&["a"]).await;
}
