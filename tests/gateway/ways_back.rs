//! Whatever has taken an endpoint out, and whatever is defined anew meanwhile: it is back once it is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::outliers::shown;
use crate::harness::*;

const HEALTH: &str = "health = { http = \"/health\", interval = \"50ms\", healthy_after = 1, unhealthy_after = 1 }\n";
const OUTLIERS: &str = "outliers = { consecutive_5xx = 3, base_ejection = \"700ms\" }\n";
const BREAKER: &str = "endpoint_breaker = { min_requests = 3, open_for = \"500ms\", probes = 1 }\n";

/// What is wrong with an endpoint.
#[derive(Default)]
struct Ills {
    /// It fails when it is asked.
    fails: AtomicBool,
    /// It says so when it is checked.
    says_so: AtomicBool,
}

fn origin(name: &'static str) -> (Origin, Arc<Ills>) {
    let ills = Arc::new(Ills::default());
    let has = ills.clone();
    let origin = Origin::http1(move |seen| {
        let is_ill = match &*seen.target {
            "/health" => has.says_so.load(Ordering::SeqCst),
            _ => has.fails.load(Ordering::SeqCst),
        };
        match is_ill {
            true => status(500),
            false => text(name),
        }
    });
    (origin, ills)
}

/// Why the endpoint is out.
async fn causes(gateway: &Gateway, endpoint: &Origin) -> Vec<String> {
    let shown = shown(gateway, &endpoint.to_string()).await;
    let out = shown["out"].as_array().cloned().unwrap_or_default();
    let kinds = out.iter().map(|it| it["kind"].as_str().unwrap().to_owned());
    kinds.collect()
}

async fn is_out_for(gateway: &Gateway, endpoint: &Origin, expected: &[&str]) {
    let client = gateway.http1();
    eventually(&format!("it is out: {expected:?}"), async || {
        client.send(get("/")).await;
        let causes = causes(gateway, endpoint).await;
        let has = |it: &&str| causes.iter().any(|cause| cause == it);
        expected.iter().all(has).then_some(())
    })
    .await;
}

async fn is_back(gateway: &Gateway, endpoint: &Origin, name: &str) {
    let client = gateway.http1();
    eventually("it is back", async || {
        let answer = client.send(get("/")).await;
        let is_served = answer.status == 200 && answer.text() == name;
        (is_served && causes(gateway, endpoint).await.is_empty()).then_some(())
    })
    .await;
}

fn draft(endpoints: &[&Origin], guards: &[&str]) -> Draft {
    let endpoints: Vec<String> = endpoints.iter().map(|it| format!("\"{it}\"")).collect();
    let (endpoints, guards) = (endpoints.join(", "), guards.concat());
    Gateway::draft(&format!(
        "[upstreams.shop]\nendpoints = [{endpoints}]\n{guards}\n[routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    ))
}

const ALL: [&str; 3] = [HEALTH, OUTLIERS, BREAKER];

/// What can be defined anew while it is out.
fn reloads() -> Vec<Option<Vec<String>>> {
    let guards = |guards: &[&str]| Some(guards.iter().map(|it| (*it).to_owned()).collect());
    let rules = ALL.map(|guard| {
        let guard = guard
            .replace("_after = 1", "_after = 2")
            .replace("= 3", "= 4");
        guard.replace("700ms", "900ms").replace("500ms", "300ms")
    });
    vec![
        None,
        guards(&[&ALL[..], &["timeouts = { first_byte = \"7s\" }\n"]].concat()),
        Some(rules.to_vec()),
        guards(&[OUTLIERS, BREAKER]),
        guards(&[HEALTH, BREAKER]),
        guards(&[HEALTH, OUTLIERS]),
        guards(&[]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_out_for_everything_is_back() {
    for reload in reloads() {
        let ((sick, ills), (well, _)) = (origin("sick"), origin("well"));
        let both = [&sick, &well];
        let mut gateway = draft(&both, &ALL).start().await;
        ills.fails.store(true, Ordering::SeqCst);
        is_out_for(&gateway, &sick, &["ejected", "breaker"]).await;
        ills.says_so.store(true, Ordering::SeqCst);
        is_out_for(&gateway, &sick, &["unhealthy"]).await;
        if let Some(guards) = &reload {
            let guards: Vec<&str> = guards.iter().map(|it| &**it).collect();
            draft(&both, &guards).apply(&mut gateway).await.unwrap();
        }
        ills.says_so.store(false, Ordering::SeqCst);
        ills.fails.store(false, Ordering::SeqCst);
        is_back(&gateway, &sick, "sick").await;
    }
}

/// Where there is nobody else, ejection leaves it; its breaker and its checks do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_alone_is_back() {
    for reload in reloads() {
        let (sick, ills) = origin("sick");
        let mut gateway = draft(&[&sick], &ALL).start().await;
        ills.fails.store(true, Ordering::SeqCst);
        is_out_for(&gateway, &sick, &["breaker"]).await;
        ills.says_so.store(true, Ordering::SeqCst);
        is_out_for(&gateway, &sick, &["unhealthy"]).await;
        if let Some(guards) = &reload {
            let guards: Vec<&str> = guards.iter().map(|it| &**it).collect();
            draft(&[&sick], &guards).apply(&mut gateway).await.unwrap();
        }
        ills.says_so.store(false, Ordering::SeqCst);
        ills.fails.store(false, Ordering::SeqCst);
        is_back(&gateway, &sick, "sick").await;
    }
}

/// Each cause by itself, while configurations come one after another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_out_for_one_thing_is_back_over_many_reloads() {
    for (guard, cause) in [
        (HEALTH, "unhealthy"),
        (OUTLIERS, "ejected"),
        (BREAKER, "breaker"),
    ] {
        let ((sick, ills), (well, _)) = (origin("sick"), origin("well"));
        let both = [&sick, &well];
        let mut gateway = draft(&both, &[guard]).start().await;
        ills.fails.store(true, Ordering::SeqCst);
        ills.says_so.store(true, Ordering::SeqCst);
        is_out_for(&gateway, &sick, &[cause]).await;
        ills.says_so.store(false, Ordering::SeqCst);
        ills.fails.store(false, Ordering::SeqCst);
        for seconds in 5..10 {
            let more = format!("timeouts = {{ first_byte = \"{seconds}s\" }}\n");
            let next = draft(&both, &[guard, &more]);
            next.apply(&mut gateway).await.unwrap();
        }
        is_back(&gateway, &sick, "sick").await;
    }
}
