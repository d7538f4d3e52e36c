//! Endpoints from a real Consul.

use std::time::Instant;

use serde_json::json;

use crate::discovery::{assert_quick, has, standing, toml};
use crate::harness::*;

fn of(address: impl std::fmt::Display, more: &str) -> String {
    format!(
        "consul = {{ address = \"http://{address}\", service = \"users\", wait = \"1s\"{more} }}"
    )
}

fn named(name: &'static str) -> Origin {
    Origin::http1(move |_| text(name))
}

#[tokio::test]
async fn a_change_is_soon_in_force_and_nobody_notices() {
    let consul = Consul::start().await;
    let (one, two) = (named("one"), named("two"));
    let [first, second] = [&one, &two].map(ToString::to_string);
    consul.register(&first).await;
    let gateway = Gateway::start(&toml(&of(consul.address(), ""))).await;
    has(&gateway, &[&first]).await;
    let traffic = Crowd::on(gateway.address());
    let client = gateway.http1();
    let mut took = Vec::new();
    for round in 0..10 {
        let (next, last, name) = [(&second, &first, "two"), (&first, &second, "one")][round % 2];
        consul.register(next).await;
        has(&gateway, &[&first, &second]).await;
        let began = Instant::now();
        consul.check(last, "critical").await;
        eventually(name, async || {
            let shown = gateway.admin(get("/upstreams")).await.json();
            (shown["users"]["endpoints"].as_array()?.len() == 1).then_some(())
        })
        .await;
        took.push(began.elapsed());
        assert_eq!(client.send(get("/")).await.text(), name);
        consul.deregister(last).await;
        traffic.more(20).await;
    }
    println!("{} requests, none failed", traffic.end().await);
    assert_quick("consul, its own work included", took);
}

#[tokio::test]
async fn what_is_wanted_of_an_instance() {
    let consul = Consul::start().await;
    let addresses = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
    let [plain, tagged, other] = addresses;
    consul.register(plain).await;
    let more = json!({ "Tags": ["v1", "blue"], "Meta": { "version": "1 a" }, "Weights": { "Passing": 5, "Warning": 2 } });
    consul.register_with(tagged, more).await;
    consul.register_with(other, json!({ "Tags": ["v1"] })).await;
    consul.check(other, "warning").await;
    for (more, expected) in [
        ("", &[plain, tagged][..]),
        (", tags = [\"v1\"]", &[tagged]),
        (", tags = [\"v1\", \"blue\"], health = \"any\"", &[tagged]),
        (", health = \"warning\"", &[plain, tagged, other]),
        (", filter = 'Service.Meta.version == \"1 a\"'", &[tagged]),
        (", datacenter = \"dc1\"", &[plain, tagged]),
    ] {
        let gateway = Gateway::start(&toml(&of(consul.address(), more))).await;
        has(&gateway, expected).await;
    }
    let elsewhere = of(consul.address(), ", datacenter = \"nowhere\"");
    let gateway = Gateway::start(&toml(&elsewhere)).await;
    let shown = standing(&gateway).await;
    let error = shown["last_error"]["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("it refuses: 500 Internal Server Error, No path to datacenter"),
        "{shown}"
    );
    consul.check(other, "critical").await;
    let gateway = Gateway::start(&toml(&of(consul.address(), ", health = \"any\""))).await;
    has(&gateway, &addresses).await;
}

#[tokio::test]
async fn a_consul_that_is_killed_or_cut_off_takes_nothing_away() {
    let mut consul = Consul::start().await;
    let origins = [named("one"), named("two")];
    let [first, second] = [0, 1].map(|number: usize| origins[number].to_string());
    consul.register(&first).await;
    let relay = Relay::to(consul.address()).await;
    let short = ", client = { timeout = \"500ms\" }";
    let gateway = Gateway::start(&toml(&of(relay.address(), short))).await;
    has(&gateway, &[&first]).await;
    let traffic = Crowd::on(gateway.address());
    let is_up = async |expected: bool| {
        eventually(&format!("up is {expected}"), async || {
            (standing(&gateway).await["up"] == expected).then_some(())
        })
        .await;
    };
    consul.stop().await;
    is_up(false).await;
    traffic.more(20).await;
    consul.start_again().await;
    consul.register(&second).await;
    has(&gateway, &[&first, &second]).await;
    // Nothing gets through, and nobody is told.
    relay.pass(Passing::Never);
    is_up(false).await;
    consul.deregister(&second).await;
    traffic.more(20).await;
    relay.pass(Passing::Fast);
    is_up(true).await;
    has(&gateway, &[&first]).await;
    // All instances fail at once: that is not believed.
    consul.check(&first, "critical").await;
    eventually("it is left aside", async || {
        let aside =
            "northgate_discovery_empty_total{northgate_upstream=\"users\",source=\"consul\"}";
        gateway.metrics().await.contains(aside).then_some(())
    })
    .await;
    traffic.more(20).await;
    println!("{} requests, none failed", traffic.end().await);
}

#[tokio::test]
async fn a_start_without_consul_begins_with_what_was_kept() {
    let mut consul = Consul::start().await;
    let origin = named("kept");
    consul.register(&origin.to_string()).await;
    let state = tempfile::tempdir().unwrap();
    let gateway = format!("[gateway]\nstate_dir = \"{}\"\n", state.path().display());
    let toml = gateway + &toml(&of(consul.address(), ""));
    let gateway = Gateway::start(&toml).await;
    let kept = state.path().join("endpoints.users.json");
    eventually("it is kept", async || kept.exists().then_some(())).await;
    gateway.stop().await;
    consul.stop().await;
    let gateway = Gateway::start(&toml).await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "kept");
    assert_eq!(standing(&gateway).await["from_disk"], true);
    consul.start_again().await;
    eventually("Consul confirms it", async || {
        let shown = standing(&gateway).await;
        (shown["from_disk"] == false && shown["up"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn consul_is_asked_over_tls_with_a_token() {
    let authority = Authority::new();
    let own = authority.issue(&["localhost"]);
    let https = free_address().port();
    let settings = format!(
        "ports {{ https = {https} }}\naddresses {{ https = \"127.0.0.1\" }}\ncert_file = \"{}\"\nkey_file = \"{}\"\n\
         acl {{ enabled = true\n default_policy = \"deny\"\n tokens {{ master = \"root-token\" agent = \"root-token\" }} }}\n",
        own.cert_path.display(),
        own.key_path.display()
    );
    let consul = Consul::with(&settings, "root-token").await;
    let origin = named("guarded");
    consul.register(&origin.to_string()).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "wrong-token\n").unwrap();
    let discovery = format!(
        "consul = {{ address = \"https://localhost:{https}\", service = \"users\", token = {{ file = \"{}\" }}, \
         client = {{ ca = \"{}\" }} }}",
        token.display(),
        authority.path()
    );
    let gateway = Gateway::start(&toml(&discovery)).await;
    let shown = standing(&gateway).await;
    let error = shown["last_error"]["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("403") && !error.contains("wrong-token"),
        "{shown}"
    );
    // Who cannot prove to be Consul is not told the token, and not believed.
    let other = Authority::named("another one");
    for (place, is_ours) in [("localhost", false), ("127.0.0.1", true)] {
        let ca = if is_ours {
            authority.path()
        } else {
            other.path()
        };
        let discovery = discovery
            .replace(&authority.path(), &ca)
            .replace("https://localhost", &format!("https://{place}"));
        let gateway = Gateway::start(&toml(&discovery)).await;
        let shown = standing(&gateway).await;
        let error = shown["last_error"]["error"].as_str().unwrap_or_default();
        assert!(
            error.contains("it cannot be reached") && error.contains("certificate"),
            "{place}: {shown}"
        );
        assert_eq!(gateway.http1().send(get("/")).await.status, 503);
    }
    // The token that is there now is taken without a reload.
    std::fs::write(&token, "root-token\n").unwrap();
    has(&gateway, &[&origin.to_string()]).await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "guarded");
}

/// One instance, as Consul tells of it, and an index.
fn told(origin: &str, index: &str) -> http::Response<Body> {
    let port = origin.rsplit_once(':').unwrap().1;
    let body = format!(
        "[{{\"Node\": {{\"Address\": \"127.0.0.1\"}}, \"Service\": {{\"Address\": \"\", \"Port\": {port}, \"Tags\": null}}, \"Checks\": null}}]"
    );
    let headers = [("x-consul-index", index)];
    let headers = if index.is_empty() { &[][..] } else { &headers };
    reply(200, headers, full(body))
}

/// A Consul that is rarely met: what a real one does after it was restored, or what stands in its place.
#[tokio::test]
async fn an_index_that_goes_backwards_begins_anew_and_nonsense_changes_nothing() {
    let users = named("well");
    let address = users.to_string();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let strange =
        Origin::http1(
            move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => told(&address, "0"),
                1 => told(&address, "10"),
                2 => told(&address, "5"),
                3 => told(&address, "6"),
                4 => told(&address, ""),
                5 => reply(200, &[("x-consul-index", "7")], full("[{\"Node\": 5}]")),
                6 => reply(500, &[], full("No cluster\r\nleader")),
                _ => told(&address, "8"),
            },
        );
    let gateway = Gateway::start(&toml(&of(&strange, ""))).await;
    let traffic = Crowd::on(gateway.address());
    let shown = eventually("it is well after all", async || {
        let shown = standing(&gateway).await;
        (strange.seen().len() > 8 && shown["up"] == true).then_some(shown)
    })
    .await;
    let error = shown["last_error"]["error"].as_str().unwrap();
    assert_eq!(
        error,
        "it refuses: 500 Internal Server Error, No clusterleader"
    );
    traffic.more(10).await;
    traffic.end().await;
    let indices: Vec<Option<String>> = strange
        .seen()
        .iter()
        .map(|seen| {
            let index = seen
                .target
                .split('&')
                .find_map(|it| it.strip_prefix("index="));
            index.map(str::to_owned)
        })
        .collect();
    let indices: Vec<Option<&str>> = indices.iter().take(8).map(Option::as_deref).collect();
    // After a failure it begins anew as well, and one bad instance is no failure of the question.
    let expected = [
        None,
        Some("1"),
        Some("10"),
        None,
        Some("6"),
        None,
        Some("7"),
        None,
    ];
    assert_eq!(indices, expected);
    let metrics = gateway.metrics().await;
    for (error, count) in [("malformed", 2), ("refused", 1)] {
        let series = format!(
            "northgate_discovery_failures_total{{error=\"{error}\",northgate_upstream=\"users\",source=\"consul\"}} {count}\n"
        );
        assert!(metrics.contains(&series), "{series} {metrics}");
    }
}
