//! What an old answer stands for, part by part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::harness::*;

/// How the upstream of a part is: well, and in each of the ways in which it can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fault {
    None,
    LateForPart,
    LateForAll,
    Refused,
    Status4xx,
    Status5xx,
    NotJson,
    Huge,
    CutOff,
}

/// A part whose stored answer is stale by now, and may stand in where no other can be had: what each fault comes to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_answer_stands_in_where_there_is_none_and_that_is_said() {
    use Fault::*;
    // What lands: the new answer, the old one, or nothing. And what is said of it.
    for (fault, lands, reason) in [
        (None, "new", ""),
        (LateForPart, "old", "stale"),
        // It is still being asked for when everything ends.
        (LateForAll, "", "budget"),
        (Refused, "old", "stale"),
        // That is an answer, and what was kept is good no more.
        (Status4xx, "", "status_404"),
        (Status5xx, "old", "stale"),
        // What has come whole is an answer, whatever is in it.
        (NotJson, "", "not_json"),
        (Huge, "", "too_large"),
        // Its header has come, and with it the old one is gone.
        (CutOff, "", "upstream_reset"),
    ] {
        for contract in ["", ", required = true", ", default = \"7\""] {
            let what = format!("{fault:?}{contract}");
            let now = Arc::new(AtomicU8::new(u8::MAX));
            let own = now.clone();
            let shop = Origin::serving(Protocol::Http1, move |_| answer(own.clone()));
            let timeout = match fault {
                LateForPart => ", timeout = \"100ms\"",
                _ => "",
            };
            let toml = format!(
                r#"
                [upstreams.shop]
                endpoints = ["$shop"]
                [routes.home]
                match = {{ path = "/home" }}
                [routes.home.aggregate]
                timeout = "400ms"
                limits = {{ part_bytes = "1KiB" }}
                parts.part = {{ upstream = "shop", path = "/x", cache = {{ ttl = "1s", stale_if_error = "1h" }}{timeout}{contract} }}
                "#
            );
            let draft = Gateway::draft(&toml).with("shop", &shop);
            let gateway = draft.start().await;
            let first = gateway.http1().send(get("/home")).await;
            assert_eq!(first.json()["part"], "old", "{what}: {first:?}");
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            now.store(fault as u8, Ordering::SeqCst);
            if fault == Refused {
                drop(shop);
            }
            let answer = gateway.http1().send(get("/home")).await;
            let json = answer.json();
            let is_required = contract.contains("required");
            if lands.is_empty() && is_required {
                let status = if reason == "budget" { 504 } else { 502 };
                assert_eq!(answer.status, status, "{what}: {json}");
                assert_eq!(json["reason"], reason, "{what}: {json}");
                continue;
            }
            assert_eq!(answer.status, 200, "{what}: {json}");
            let landed = match (lands, contract.contains("default")) {
                ("", true) => "7".into(),
                ("", false) => serde_json::Value::Null,
                (lands, _) => lands.into(),
            };
            assert_eq!(json["part"], landed, "{what}: {json}");
            let told = &json["degraded_parts"][0];
            if reason.is_empty() {
                assert!(json["degraded"].is_null(), "{what}: {json}");
                continue;
            }
            assert_eq!(told["reason"], reason, "{what}: {json}");
            let is_default = landed == "7";
            assert_eq!(told["default"] == true, is_default, "{what}: {json}");
            let mut header = format!("part;reason={reason}");
            if is_default {
                header += ";default";
            }
            assert_eq!(answer.header("x-northgate-degraded"), Some(&*header));
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        }
    }
}

async fn answer(now: Arc<AtomicU8>) -> http::Response<Body> {
    let is = |fault: Fault| now.load(Ordering::SeqCst) == fault as u8;
    // Who is about to be gone does not answer any more.
    if is(Fault::LateForPart) || is(Fault::LateForAll) || is(Fault::Refused) {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    if is(Fault::CutOff) {
        let (source, body) = channel();
        tokio::spawn(async move {
            source.send("\"ne").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            source.fail().await;
        });
        return reply(200, &[], body);
    }
    match () {
        () if is(Fault::Status4xx) => status(404),
        () if is(Fault::Status5xx) => status(503),
        () if is(Fault::NotJson) => reply(200, &[], full("not json")),
        () if is(Fault::Huge) => reply(200, &[], full(format!("\"{}\"", "x".repeat(2000)))),
        () if is(Fault::None) => reply(200, &[], full("\"new\"")),
        () => reply(200, &[], full("\"old\"")),
    }
}
