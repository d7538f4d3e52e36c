//! What ends an aggregation before all of it is there, and what becomes of an answer that is.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::harness::*;

/// Takes all the steps that a filter may take, and makes nothing.
const ENDLESS: &str = "last(range(10000000))";

fn shop() -> Origin {
    Origin::serving(Protocol::Http1, |seen| async move {
        if seen.target == "/never" {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let text = "the same again and again, ".repeat(100);
        let headers = [("cache-control", "max-age=60")];
        reply(200, &headers, full(format!("\"{text}\"")))
    })
}

async fn start(shop: &Origin, aggregate: &str) -> Gateway {
    let toml = format!(
        "[upstreams.shop]\nendpoints = [\"$shop\"]\n[routes.home]\nmatch = {{ path = \"/home\" }}\n\
         policies.compression = {{}}\n[routes.home.aggregate]\n{aggregate}\n"
    );
    Gateway::draft(&toml).with("shop", shop).start().await
}

/// Four of them take some tenths of a second each, at most as many at a time as there are processors.
fn slow_parts() -> String {
    let part = |index: usize| {
        format!("parts.slow{index} = {{ upstream = \"shop\", path = \"/\", jq = \"{ENDLESS}\" }}\n")
    };
    (0..4).map(part).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_do_not_hold_an_answer_back() {
    let shop = shop();
    let parts = slow_parts();
    let sure = "parts.sure = { upstream = \"shop\", path = \"/\" }";
    let gateway = start(&shop, &format!("timeout = \"150ms\"\n{parts}{sure}")).await;
    let began = Instant::now();
    let answer = gateway.http1().send(get("/home")).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let json = answer.json();
    assert!(json["sure"].is_string(), "{json}");
    let failed = json["degraded_parts"].as_array().expect("a list");
    assert_eq!(failed.len(), 4, "{json}");
    assert!(
        failed.iter().all(|part| part["reason"] == "budget"),
        "{json}"
    );
    // What they run into for want of steps is another failure.
    let part = format!("parts.a = {{ upstream = \"shop\", path = \"/\", jq = \"{ENDLESS}\" }}");
    let gateway = start(&shop, &format!("timeout = \"60s\"\n{part}")).await;
    let answer = gateway.http1().send(get("/home")).await.json();
    assert_eq!(answer["degraded_parts"][0]["reason"], "shape", "{answer}");
}

/// The whole is filtered when all of it is there, which may be when its time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_of_the_whole_has_a_moment_of_its_own() {
    let shop = shop();
    let late = "timeout = \"150ms\"\nparts.a = { upstream = \"shop\", path = \"/\" }\n\
        parts.b = { upstream = \"shop\", path = \"/never\" }\njq = \"{ names: keys }\"";
    let gateway = start(&shop, late).await;
    let answer = gateway.http1().send(get("/home")).await;
    assert_eq!(
        answer.json()["names"],
        serde_json::json!(["a"]),
        "{answer:?}"
    );
    // Twelve of some tenths of a second each, at most as many at a time as there are processors.
    let slow = format!(
        "timeout = \"150ms\"\njq = \"{ENDLESS}\"\nparts.a = {{ upstream = \"shop\", path = \"/\" }}"
    );
    let gateway = start(&shop, &slow).await;
    let client = gateway.http2();
    let began = Instant::now();
    let all = (0..12).map(|_| client.send(get("/home")));
    let all = futures_util::future::join_all(all).await;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    for answer in all {
        let json = answer.json();
        match json["reason"].as_str() {
            Some("budget") => answer.assert_problem(504, "part_timeout"),
            // It had its turn.
            Some("shape") => answer.assert_problem(502, "part_failed"),
            _ => panic!("{json}"),
        }
    }
}

/// Whether or not the client has sent all of its body, which is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_its_body_takes_its_parts_along() {
    let shop = shop();
    let never = "timeout = \"60s\"\nparts.a = { upstream = \"shop\", path = \"/never\" }";
    for sent in ["", "some", "0123456789"] {
        let gateway = start(&shop, never).await;
        let before = shop.seen().len();
        let mut client = RawClient::connect(gateway.address()).await;
        let head = "POST /home HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 10\r\n\r\n";
        client.send(format!("{head}{sent}")).await;
        eventually("the part is asked for", async || {
            (shop.seen().len() > before).then_some(())
        })
        .await;
        drop(client);
        left(&gateway).await;
    }
    for client in [Protocol::Http1, Protocol::H2] {
        let gateway = start(&shop, never).await;
        let before = shop.seen().len();
        let (chunks, body) = channel();
        assert!(chunks.send("some").await);
        let asking = gateway.client(client);
        let asking = asking.send(post("/home", "").body(body));
        tokio::select! {
            answer = asking => panic!("{answer:?}"),
            () = eventually("the part is asked for", async || {
                (shop.seen().len() > before).then_some(())
            }) => {}
        }
        left(&gateway).await;
    }
    // Who has more to say is served as anybody.
    let gateway = start(&shop, "parts.a = { upstream = \"shop\", path = \"/\" }").await;
    for client in [gateway.http1(), gateway.http2()] {
        let answer = client.send(post("/home", vec![b'x'; 3 << 20])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

async fn left(gateway: &Gateway) {
    let record = gateway.log_where("a client that has left", |record| {
        record["parts"]
            .as_str()
            .is_some_and(|it| it.contains("a=cancelled"))
    });
    assert_eq!(record.await["code"], "client_closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_compressed_and_asked_for_again_like_any_other() {
    let shop = shop();
    let gateway = start(&shop, "parts.a = { upstream = \"shop\", path = \"/\" }").await;
    for client in [gateway.http1(), gateway.http2()] {
        let plain = client.send(get("/home")).await;
        assert_eq!(plain.header("content-encoding"), None);
        let ask = |tag: Option<&str>| {
            let ask = get("/home").header("accept-encoding", "gzip");
            match tag {
                None => ask,
                Some(tag) => ask.header("if-none-match", tag),
            }
        };
        let encoded = client.send(ask(None)).await;
        assert_eq!(encoded.header("content-encoding"), Some("gzip"));
        assert!(encoded.body.len() < plain.body.len() / 4, "{encoded:?}");
        let mut decoded = Vec::new();
        let read = flate2::read::GzDecoder::new(&encoded.body[..]).read_to_end(&mut decoded);
        assert!(read.is_ok() && decoded == plain.body, "{encoded:?}");
        // They are other bytes (RFC 9110 section 8.8.3.3), and the same answer.
        let (strong, weak) = (
            plain.header("etag").unwrap(),
            encoded.header("etag").unwrap(),
        );
        assert_eq!(weak, format!("W/{strong}"));
        for (tag, status) in [
            (strong, 304),
            (weak, 304),
            ("\"x\", W/\"y\"", 200),
            (&format!("\"x\", {strong}"), 304),
        ] {
            let again = client.send(ask(Some(tag))).await;
            assert_eq!(again.status, status, "{tag}: {again:?}");
            assert_eq!(again.body.is_empty(), status == 304, "{tag}");
            let control = again.header("cache-control");
            assert_eq!(control, encoded.header("cache-control"), "{tag}");
            // A 304 with the tag of what is not compressed is of that.
            let is_of_encoded = status == 200 || tag == weak;
            let vary = is_of_encoded.then(|| encoded.header("vary")).flatten();
            assert_eq!(again.header("vary"), vary, "{tag}");
            assert!(again.header("etag").is_some_and(|it| it.ends_with(strong)));
            assert_eq!(
                again.header("content-type").is_some(),
                status == 200,
                "{tag}"
            );
        }
    }
    // What lacks a part is not the same as anything.
    let late = "timeout = \"150ms\"\nparts.a = { upstream = \"shop\", path = \"/\" }\n\
        parts.b = { upstream = \"shop\", path = \"/never\" }";
    let gateway = start(&shop, late).await;
    let answer = gateway.http1().send(get("/home")).await;
    assert_eq!((answer.status, answer.header("etag")), (200, None));
}
