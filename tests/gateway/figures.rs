//! What clients notice of one endpoint of four that does badly. The figures at length, of a real process under load, are
//! those of `loadtest/upstreams`; that a retry storm cannot happen stands in `retries.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::harness::*;
use crate::outliers::shown;

/// What each client has seen of so many requests, one after the other.
async fn ask_by_many(
    gateway: &Arc<Gateway>,
    path: &'static str,
    clients: usize,
    requests: usize,
) -> Vec<(u16, Duration)> {
    let asking = (0..clients).map(|_| {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let client = gateway.http1();
            let mut seen = Vec::with_capacity(requests);
            for _ in 0..requests {
                let begin = Instant::now();
                let status = client.send(get(path)).await.status;
                seen.push((status, begin.elapsed()));
            }
            seen
        })
    });
    let seen = join_all(asking).await.into_iter();
    seen.flat_map(|one| one.expect("no panic")).collect()
}

fn p99(seen: &[(u16, Duration)]) -> Duration {
    let mut times: Vec<Duration> = seen.iter().map(|(_, took)| *took).collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

const BASE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_four_that_fails_half_of_its_requests() {
    let fails = Arc::new(AtomicBool::new(true));
    let (switch, asked) = (fails.clone(), AtomicUsize::new(0));
    let sick = Origin::http1(move |_| {
        let is_bad = asked.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        match is_bad && switch.load(Ordering::SeqCst) {
            true => status(500),
            false => text("sick"),
        }
    });
    let others: Vec<Origin> = (0..3).map(|_| Origin::http1(|_| text("well"))).collect();
    let list: Vec<String> = others.iter().map(|it| format!("\"{it}\"")).collect();
    let toml = format!(
        r#"
        [upstreams.shop]
        endpoints = ["{sick}", {}]
        outliers = {{ failure_ratio = 0.3, min_requests = 10, window = "5s", base_ejection = "{}s" }}
        retry = {{ on = ["connect", "stale", "refused_stream", "500"], backoff = {{ base = "1ms", max = "1ms" }} }}

        [routes.all]
        match = {{ path = "/" }}
        upstream = "shop"
        "#,
        list.join(", "),
        BASE.as_secs()
    );
    let gateway = Arc::new(Gateway::start(&toml).await);
    let address = sick.to_string();
    let (begin, mut sent, mut failed) = (Instant::now(), 0, 0);
    // From the first request on, and not only when there have been ten seconds for finding out.
    let mut ejected = None;
    while sent < 2000 || ejected.is_none() {
        let seen = ask_by_many(&gateway, "/", 4, 25).await;
        sent += seen.len();
        failed += seen.iter().filter(|(status, _)| *status != 200).count();
        if ejected.is_none() && shown(&gateway, &address).await["healthy"] == false {
            ejected = Some(Instant::now());
        }
        assert!(begin.elapsed() < PATIENCE, "it is never ejected");
    }
    assert!(failed * 1000 < sent, "{failed} of {sent} have failed");

    fails.store(false, Ordering::SeqCst);
    let well = Instant::now();
    eventually("the endpoint is back", async || {
        (shown(&gateway, &address).await["healthy"] == true).then_some(())
    })
    .await;
    let took = well.elapsed();
    // Each ejection is longer than the one before, where there was time for several.
    let metrics = gateway.metrics().await;
    let count = "northgate_ejections_total{northgate_upstream=\"shop\",reason=\"failure_ratio\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(count));
    let count: u32 = count.expect("an ejection").parse().expect("a number");
    // And what a loaded machine takes to notice.
    let most = BASE * count + Duration::from_secs(3);
    assert!(took < most, "{took:?} of {most:?}");
    let client = gateway.http1();
    eventually("requests to it", async || {
        (client.send(get("/")).await.text() == "sick").then_some(())
    })
    .await;
}

const USUAL: Duration = Duration::from_millis(80);

/// Four endpoints that take so long as is usual, but for the first.
fn fleet(first: Duration) -> Vec<Origin> {
    let taking = |time| {
        Origin::serving(Protocol::Http1, move |_| async move {
            tokio::time::sleep(time).await;
            text("done")
        })
    };
    let times = [first, USUAL, USUAL, USUAL];
    times.into_iter().map(taking).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_endpoint_of_four() {
    let outliers = r#"outliers = { slow_call = "300ms", min_requests = 3 }"#;
    let settings = [
        ("healthy", "balance = \"least_request\"".to_owned()),
        ("ewma", "balance = \"ewma\"".to_owned()),
        ("shop", format!("balance = \"least_request\"\n{outliers}")),
        ("nothing", String::new()),
    ];
    let fleets = [USUAL, 10 * USUAL, 10 * USUAL, 10 * USUAL].map(fleet);
    let toml: String = settings
        .iter()
        .zip(&fleets)
        .map(|((name, settings), fleet)| {
            let list: Vec<String> = fleet.iter().map(|it| format!("\"{it}\"")).collect();
            format!(
                "[upstreams.{name}]\nendpoints = [{}]\n{settings}\n[routes.{name}]\nmatch = {{ path = \"/{name}\" }}\nupstream = \"{name}\"\n",
                list.join(", ")
            )
        })
        .collect();
    let gateway = Arc::new(Gateway::start(&toml).await);
    // Until it is known which one is slow.
    let slow = fleets[2][0].to_string();
    eventually("the ejection", async || {
        ask_by_many(&gateway, "/shop", 8, 2).await;
        (shown(&gateway, &slow).await["healthy"] == false).then_some(())
    })
    .await;
    ask_by_many(&gateway, "/ewma", 8, 2).await;

    // All at the same time, so that whatever else the machine does is the same for all.
    let (healthy, ewma, ejecting, nothing) = tokio::join!(
        ask_by_many(&gateway, "/healthy", 8, 60),
        ask_by_many(&gateway, "/ewma", 8, 60),
        ask_by_many(&gateway, "/shop", 8, 60),
        ask_by_many(&gateway, "/nothing", 8, 10),
    );
    let most = p99(&healthy).mul_f64(1.5);
    let [ewma, ejecting, nothing] = [ewma, ejecting, nothing].map(|seen| p99(&seen));
    assert!(ewma <= most, "ewma: {ewma:?} where {most:?} may be");
    assert!(
        ejecting <= most,
        "least_request with outliers: {ejecting:?} where {most:?} may be"
    );
    assert!(
        nothing > most,
        "without either: {nothing:?}, so that this shows nothing"
    );
}
