//! Endpoints that a registry knows: what is so for all of them, shown with a file; and what is of files alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::harness::*;

/// One upstream with this discovery, behind every path.
pub fn toml(discovery: &str) -> String {
    format!(
        "[upstreams.users]\ndiscovery = {{ {discovery} }}\n[routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"users\"\n"
    )
}

/// What the admin listener says of the registry.
pub async fn standing(gateway: &Gateway) -> Value {
    let shown = gateway.admin(get("/upstreams")).await.json();
    shown["users"]["discovery"].clone()
}

/// Waits until the upstream has exactly these endpoints.
pub async fn has(gateway: &Gateway, expected: &[&str]) {
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    eventually(&format!("endpoints {expected:?}"), async || {
        let shown = gateway.admin(get("/upstreams")).await.json();
        let endpoints = shown["users"]["endpoints"].as_array()?.clone();
        let mut now: Vec<&str> = endpoints
            .iter()
            .filter_map(|it| it["address"].as_str())
            .collect();
        now.sort_unstable();
        (now == expected).then_some(())
    })
    .await;
}

/// Shows how long changes took to be in force, and that all but one took less than they may: the machine may have had
/// something else to do once.
pub fn assert_quick(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let count = took.len();
    let (median, last_but_one, most) = (took[count / 2], took[count - 2], took[count - 1]);
    println!(
        "{what}: in force after {median:?} (median of {count}), {last_but_one:?} and {most:?} at most"
    );
    assert!(
        last_but_one < Duration::from_millis(100),
        "{what}: {took:?}"
    );
}

/// A file that lists endpoints.
pub struct List {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl List {
    fn named(name: &str) -> List {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        List { folder, path }
    }

    pub fn of(endpoints: &[&dyn std::fmt::Display]) -> List {
        let list = List::named("users.toml");
        list.set(endpoints);
        list
    }

    /// Another file in its place.
    pub fn set(&self, endpoints: &[&dyn std::fmt::Display]) {
        let listed: Vec<String> = endpoints.iter().map(|it| format!("\"{it}\"")).collect();
        self.replace(&format!("endpoints = [{}]\n", listed.join(", ")));
    }

    fn replace(&self, text: &str) {
        let part = self.folder.path().join("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, &self.path).unwrap();
    }

    pub fn toml(&self) -> String {
        format!("file = \"{}\"", self.path.display())
    }
}

pub fn named(name: &'static str) -> Origin {
    Origin::http1(move |_| text(name))
}

#[tokio::test]
async fn a_change_is_soon_in_force_and_nobody_notices() {
    let (one, two) = (named("one"), named("two"));
    let list = List::of(&[&one]);
    let gateway = Gateway::start(&toml(&list.toml())).await;
    let traffic = Crowd::on(gateway.address());
    let client = gateway.http1();
    let mut took = Vec::new();
    for round in 0..20 {
        let (next, name) = [(&two, "two"), (&one, "one")][round % 2];
        list.set(&[next]);
        let began = Instant::now();
        eventually(name, async || {
            (client.send(get("/")).await.text() == name).then_some(())
        })
        .await;
        took.push(began.elapsed());
        traffic.more(20).await;
    }
    println!("{} requests, none failed", traffic.end().await);
    assert_quick("file", took);
}

#[tokio::test]
async fn whatever_way_a_file_is_changed_it_is_noticed() {
    let list = List::named("users.json");
    list.replace(r#"{"endpoints": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 2}]}"#);
    let gateway = Gateway::start(&toml(&list.toml())).await;
    has(&gateway, &["10.0.0.1:80", "10.0.0.2:80"]).await;
    // Written in place.
    std::fs::write(&list.path, r#"{"endpoints": ["10.0.0.3:80"]}"#).unwrap();
    has(&gateway, &["10.0.0.3:80"]).await;
    // As container platforms do it: links to a folder that a link leads to, which is replaced.
    let folder = list.folder.path();
    for (version, text) in [
        ("..1", r#"{"endpoints": ["10.0.0.4:80"]}"#),
        ("..2", r#"{"endpoints": []}"#),
        ("..3", r#"{"endpoints": ["10.0.0.5:80"]}"#),
    ] {
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("users.json"), text).unwrap();
        std::os::unix::fs::symlink(version, folder.join("..part")).unwrap();
        std::fs::rename(folder.join("..part"), folder.join("..data")).unwrap();
        if version == "..1" {
            std::os::unix::fs::symlink("..data/users.json", folder.join("part")).unwrap();
            std::fs::rename(folder.join("part"), &list.path).unwrap();
        }
        match version {
            "..1" => has(&gateway, &["10.0.0.4:80"]).await,
            // That there are none is what somebody has written.
            "..2" => has(&gateway, &[]).await,
            _ => has(&gateway, &["10.0.0.5:80"]).await,
        }
    }
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_what_is_wrong() {
    let origin = named("well");
    let list = List::of(&[&origin]);
    let gateway = Gateway::start(&toml(&list.toml())).await;
    let shown = standing(&gateway).await;
    assert_eq!(
        (&shown["up"], &shown["last_error"]),
        (&true.into(), &Value::Null)
    );
    assert!(shown["age_seconds"].as_f64().unwrap() < 60.0, "{shown}");
    let client = gateway.http1();
    for (text, expected) in [
        (
            "endpoints = [\n  \"10.0.0.5\",\n]\n",
            ":2:3: endpoints[0] must be ",
        ),
        ("endpoints = [\n", ":1:"),
        ("", ":1:1: missing key \"endpoints\""),
    ] {
        list.replace(text);
        eventually(expected, async || {
            let shown = standing(&gateway).await;
            let error = shown["last_error"]["error"].as_str()?.to_owned();
            let path = format!("{}{expected}", list.path.display());
            (shown["up"] == false && error.contains(&path)).then_some(())
        })
        .await;
        assert_eq!(client.send(get("/")).await.text(), "well");
    }
    std::fs::remove_file(&list.path).unwrap();
    eventually("it is gone", async || {
        let shown = standing(&gateway).await;
        let error = shown["last_error"]["error"].as_str()?.to_owned();
        error.contains("No such file").then_some(())
    })
    .await;
    assert_eq!(client.send(get("/")).await.text(), "well");
    let metrics = gateway.metrics().await;
    let series = "northgate_discovery_up{northgate_upstream=\"users\",source=\"file\"} ";
    assert!(metrics.contains(&format!("{series}0\n")), "{metrics}");
    list.set(&[&origin]);
    eventually("it is well again", async || {
        (standing(&gateway).await["up"] == true).then_some(())
    })
    .await;
    assert!(gateway.metrics().await.contains(&format!("{series}1\n")));
}

#[tokio::test]
async fn who_is_removed_is_drained_and_not_cut() {
    let (release, hold) = mpsc::channel::<()>(1);
    let hold = std::sync::Arc::new(tokio::sync::Mutex::new(hold));
    let (idle_ended, mut idle_end) = mpsc::channel::<()>(2);
    // Answers `/` at once and `/slow` when it is let; says when a connection ends.
    let old = RawOrigin::serving(move |mut stream, _| {
        let (hold, ended) = (hold.clone(), idle_ended.clone());
        async move {
            let mut head = Vec::new();
            while let Ok(1..) = stream.read_buf(&mut head).await {
                if !head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                if head.starts_with(b"GET /slow") {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nbegi")
                        .await
                        .unwrap();
                    hold.lock().await.recv().await;
                    stream.write_all(b"nend").await.unwrap();
                } else {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
                        .await
                        .unwrap();
                }
                head.clear();
            }
            let _ = ended.send(()).await;
        }
    });
    let new = named("new");
    let list = List::of(&[&old]);
    let gateway = Gateway::start(&toml(&list.toml())).await;
    let (client, other) = (gateway.http1(), gateway.http1());
    // One connection of the gateway is in use, another one was.
    let mut slow = client.open(get("/slow")).await;
    assert_eq!(other.send(get("/")).await.text(), "old");
    assert_eq!(old.connections(), 2);
    list.set(&[&new]);
    within("the unused connection is closed", idle_end.recv()).await;
    assert_eq!(other.send(get("/")).await.text(), "new");
    release.send(()).await.unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = within("the rest", slow.try_chunk()).await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    assert_eq!(body, b"beginend");
    within("the other one is closed too", idle_end.recv()).await;
    assert_eq!(old.connections(), 2);
}

#[tokio::test]
async fn who_comes_back_is_as_healthy_as_it_was() {
    let sick = Origin::http1(|seen| status(if seen.target == "/healthz" { 503 } else { 200 }));
    let well = Origin::http1(|_| text("well"));
    let list = List::of(&[&sick, &well]);
    let toml = toml(&list.toml()).replace(
        "[routes",
        "health = { http = \"/healthz\", interval = \"20ms\", unhealthy_after = 1 }\n[routes",
    );
    let gateway = Gateway::start(&toml).await;
    let health = async || {
        let shown = gateway.admin(get("/upstreams")).await.json();
        let endpoints = shown["users"]["endpoints"].as_array().unwrap().clone();
        let address = sick.to_string();
        let sick = endpoints.into_iter().find(|it| it["address"] == *address);
        sick.map(|it| it["healthy"].as_bool().unwrap())
    };
    eventually("it is found sick", async || {
        (!health().await?).then_some(())
    })
    .await;
    for _ in 0..5 {
        list.set(&[&well]);
        eventually("it is gone", async || {
            health().await.is_none().then_some(())
        })
        .await;
        list.set(&[&sick, &well]);
        // The first look at it is the first one that can be had.
        let first = eventually("it is back", async || health().await).await;
        assert!(!first, "it was taken for healthy");
    }
}

#[tokio::test]
async fn a_start_without_the_registry_begins_with_what_was_kept() {
    let origin = named("kept");
    let state = tempfile::tempdir().unwrap();
    let list = List::of(&[&origin]);
    let toml = format!(
        "[gateway]\nstate_dir = \"{}\"\n{}",
        state.path().display(),
        toml(&list.toml())
    );
    let kept = state.path().join("endpoints.users.json");
    let gateway = Gateway::start(&toml).await;
    eventually("it is kept", async || kept.exists().then_some(())).await;
    gateway.stop().await;
    std::fs::remove_file(&list.path).unwrap();
    let gateway = Gateway::start(&toml).await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "kept");
    let shown = standing(&gateway).await;
    assert_eq!(
        (&shown["from_disk"], &shown["up"]),
        (&true.into(), &false.into())
    );
    // The endpoints are as old as the last word to the process before.
    let age = shown["age_seconds"].as_f64().unwrap();
    assert!((0.0..300.0).contains(&age), "{shown}");
    let from_disk = "northgate_discovery_from_disk{northgate_upstream=\"users\",source=\"file\"} ";
    assert!(gateway.metrics().await.contains(&format!("{from_disk}1\n")));
    // The same set is confirmed; another one is taken over.
    list.set(&[&origin]);
    eventually("it is confirmed", async || {
        (standing(&gateway).await["from_disk"] == false).then_some(())
    })
    .await;
    assert!(gateway.metrics().await.contains(&format!("{from_disk}0\n")));
    gateway.stop().await;
    // What is kept is damaged: as if there were nothing.
    std::fs::remove_file(&list.path).unwrap();
    std::fs::write(&kept, "{").unwrap();
    let gateway = Gateway::start(&toml).await;
    let answer = gateway.http1().send(get("/")).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(gateway.admin(get("/readyz")).await.status, 200);
    list.set(&[&origin]);
    eventually("it serves", async || {
        (gateway.http1().send(get("/")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_empty_answer_counts_as_it_is_said() {
    let origin = named("well");
    let list = List::of(&[&origin]);
    let keep = format!("{}, on_empty = \"keep\"", list.toml());
    let mut gateway = Gateway::start(&toml(&keep)).await;
    list.set(&[]);
    let aside = "northgate_discovery_empty_total{northgate_upstream=\"users\",source=\"file\"} 1\n";
    eventually("it is left aside", async || {
        gateway.metrics().await.contains(aside).then_some(())
    })
    .await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "well");
    // With a reload the same registry is followed by what it said last, and believed now.
    let dropped = Gateway::draft(&toml(&list.toml()));
    dropped.apply(&mut gateway).await.unwrap();
    has(&gateway, &[]).await;
    assert_eq!(gateway.http1().send(get("/")).await.status, 503);
}

#[tokio::test]
async fn a_reload_goes_on_with_what_is_known() {
    let origin = named("well");
    let list = List::of(&[&origin]);
    let mut gateway = Gateway::start(&toml(&list.toml())).await;
    let traffic = Crowd::on(gateway.address());
    // The registry fails, and the upstream is defined otherwise: the endpoints stay.
    std::fs::remove_file(&list.path).unwrap();
    for idle in 10..20 {
        let timeouts = format!("timeouts = {{ idle = \"{idle}s\" }}\n[routes");
        let changed = toml(&list.toml()).replace("[routes", &timeouts);
        Gateway::draft(&changed).apply(&mut gateway).await.unwrap();
        traffic.more(10).await;
    }
    traffic.end().await;
    assert!(std::fs::metadata(&list.path).is_err());
}
