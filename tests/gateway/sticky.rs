//! Sessions that stay with an endpoint, by a signed cookie.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::harness::*;

fn named(name: &'static str) -> Origin {
    Origin::http1(move |_| text(name))
}

fn toml(endpoints: &str, sticky: &str) -> String {
    format!(
        "[upstreams.shop]\nendpoints = [{endpoints}]\nsticky = {{ {sticky} }}\n\
         [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    )
}

/// The line that sets the cookie, if there is one.
fn line(answer: &Answer) -> Option<String> {
    answer.header("set-cookie").map(str::to_owned)
}

/// What the browser sends back.
fn cookie(answer: &Answer) -> String {
    let line = line(answer).expect("a cookie");
    line.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_stays_with_its_endpoint() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let gateway = Gateway::draft(&toml("\"$a\", \"$b\", \"$c\"", ""))
        .with("a", &a)
        .with("b", &b)
        .with("c", &c)
        .start()
        .await;
    for client in [gateway.http1(), gateway.http2()] {
        let mut homes = BTreeSet::new();
        for _ in 0..6 {
            let first = client.send(get("/")).await;
            let (home, cookie) = (first.text(), cookie(&first));
            for _ in 0..4 {
                let ask = get("/").header("cookie", &format!("theme=dark; {cookie}"));
                let again = client.send(ask).await;
                assert_eq!(again.text(), home);
                assert_eq!(line(&again), None, "it has a cookie already");
            }
            homes.insert(home);
        }
        assert_eq!(homes.len(), 3, "those without one are spread");
    }
}

#[tokio::test]
async fn the_cookie_says_what_it_should_and_no_address() {
    let shop = named("shop");
    for (sticky, expected) in [
        (
            "",
            "northgate-sticky-shop=…; Path=/; HttpOnly; SameSite=Lax",
        ),
        (
            "cookie = \"at\", path = \"/shop\", max_age = \"1h\", same_site = \"strict\", http_only = false",
            "at=…; Path=/shop; Max-Age=3600; SameSite=Strict",
        ),
        (
            "cookie = \"at\", secure = true",
            "at=…; Path=/; HttpOnly; SameSite=Lax; Secure",
        ),
        (
            "cookie = \"at\", same_site = \"none\"",
            "at=…; Path=/; HttpOnly; SameSite=None; Secure",
        ),
    ] {
        let gateway = Gateway::draft(&toml("\"$shop\"", sticky))
            .with("shop", &shop)
            .start()
            .await;
        let answer = gateway.http1().send(get("/")).await;
        let line = line(&answer).unwrap();
        let value = line
            .split_once('=')
            .unwrap()
            .1
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(line.replace(&value, "…"), expected);
        // 16 bytes in base64url, and none that the address says.
        assert_eq!(value.len(), 22, "{value}");
        assert!(
            !value.contains("127") && !value.contains(shop.port()),
            "{value}"
        );
    }
}

#[tokio::test]
async fn what_was_made_up_chooses_nothing() {
    let (a, b) = (named("a"), named("b"));
    let draft = |sticky: &str| {
        Gateway::draft(&toml("\"$a\", \"$b\"", sticky))
            .with("a", &a)
            .with("b", &b)
    };
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("key = {{ file = {:?} }}", path.display().to_string())
    };
    let (ours, theirs) = (key("ours", &"k".repeat(32)), key("theirs", &"t".repeat(32)));
    let (gateway, same, other) = (
        draft(&ours).start().await,
        draft(&ours).start().await,
        draft(&theirs).start().await,
    );
    let first = gateway.http1().send(get("/")).await;
    let (home, good) = (first.text(), cookie(&first));
    // The same key on another gateway: the same session.
    for _ in 0..6 {
        let answer = same.http1().send(get("/").header("cookie", &good)).await;
        assert_eq!((answer.text(), line(&answer)), (home.clone(), None));
    }
    let foreign = cookie(&other.http1().send(get("/")).await);
    let (name, value) = good.split_once('=').unwrap();
    let mut flipped = value.to_owned().into_bytes();
    flipped[3] = if flipped[3] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for forged in [
        foreign,
        format!("{name}={flipped}"),
        format!("{name}={}", a),
        format!("{name}="),
        format!("{name}={}", "A".repeat(22)),
        format!("{name}={}", "A".repeat(4000)),
    ] {
        let mut homes = BTreeSet::new();
        for _ in 0..4 {
            let answer = gateway
                .http1()
                .send(get("/").header("cookie", &forged))
                .await;
            assert_eq!(answer.status, 200);
            assert!(line(&answer).is_some(), "{forged} is replaced");
            homes.insert(answer.text());
        }
        assert_eq!(homes.len(), 2, "{forged} chooses nothing");
    }
}

#[tokio::test]
async fn a_session_outlives_a_reload_and_moves_when_its_endpoint_is_gone() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let origins = [&a, &b, &c];
    let draft = |endpoints: &str, more: &str| {
        let mut draft = Gateway::draft(&format!("{}{more}", toml(endpoints, "")));
        for (name, origin) in ["a", "b", "c"].into_iter().zip(origins) {
            if endpoints.contains(&format!("${name}\"")) {
                draft = draft.with(name, origin);
            }
        }
        draft
    };
    let mut gateway = draft("\"$a\", \"$b\", \"$c\"", "").start().await;
    let first = gateway.http1().send(get("/")).await;
    let (home, cookie_of_home) = (first.text(), cookie(&first));
    let again = async |gateway: &Gateway| {
        gateway
            .http1()
            .send(get("/").header("cookie", &cookie_of_home))
            .await
    };
    // Another route is nothing to the upstream; another weight makes it another one.
    let more = "[routes.more]\nmatch = { path = \"/more\" }\nrespond = { status = 204 }\n";
    draft("\"$a\", \"$b\", \"$c\"", more)
        .apply(&mut gateway)
        .await
        .unwrap();
    assert_eq!(again(&gateway).await.text(), home);
    draft("\"$a\", { address = \"$b\", weight = 7 }, \"$c\"", more)
        .apply(&mut gateway)
        .await
        .unwrap();
    for _ in 0..4 {
        let answer = again(&gateway).await;
        assert_eq!((answer.text(), line(&answer)), (home.clone(), None));
    }
    let left: Vec<String> = ["a", "b", "c"]
        .into_iter()
        .filter(|name| *name != home)
        .map(|name| format!("\"${name}\""))
        .collect();
    draft(&left.join(", "), more)
        .apply(&mut gateway)
        .await
        .unwrap();
    let moved = again(&gateway).await;
    assert_ne!(moved.text(), home);
    let cookie = cookie(&moved);
    for _ in 0..4 {
        let answer = gateway
            .http1()
            .send(get("/").header("cookie", &cookie))
            .await;
        assert_eq!((answer.text(), line(&answer)), (moved.text(), None));
    }
}

#[tokio::test]
async fn a_session_moves_when_its_endpoint_is_not_healthy() {
    let health = [Arc::new(AtomicU16::new(200)), Arc::new(AtomicU16::new(200))];
    let shop = |name: &'static str, health: &Arc<AtomicU16>| {
        let health = health.clone();
        Origin::http1(move |seen| match seen.target.as_str() {
            "/healthz" => status(health.load(Ordering::SeqCst)),
            _ => text(name),
        })
    };
    let (a, b) = (shop("a", &health[0]), shop("b", &health[1]));
    let toml = toml("\"$a\", \"$b\"", "").replace(
        "sticky",
        "health = { http = \"/healthz\", interval = \"20ms\", healthy_after = 1, unhealthy_after = 1 }\nsticky",
    );
    let gateway = Gateway::draft(&toml)
        .with("a", &a)
        .with("b", &b)
        .start()
        .await;
    let client = gateway.http1();
    let first = client.send(get("/")).await;
    let home = first.text();
    let ill = usize::from(home == "b");
    health[ill].store(503, Ordering::SeqCst);
    let cookie_of_home = cookie(&first);
    let moved = eventually("it moves", async || {
        let answer = client
            .send(get("/").header("cookie", &cookie_of_home))
            .await;
        (answer.text() != home).then_some(answer)
    })
    .await;
    assert_eq!(moved.status, 200);
    assert_ne!(cookie(&moved), cookie_of_home);
}
