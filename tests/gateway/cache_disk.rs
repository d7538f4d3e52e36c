//! The cache's disk: what was kept is there after a restart, what was purged is not, and what is broken is a miss.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::*;

const CACHED: &str = r#"
    [gateway]
    state_dir = "$state"

    [cache]
    memory = "$memory"
    disk = { path = "responses", size = "64MiB" }

    [upstreams.origin]
    endpoints = ["$origin"]

    [routes.cached]
    match = { path = "/{*rest}" }
    upstream = "origin"

    [routes.cached.policies]
    cache = { purge = "true", purge_on_write = ["written"], tags = ["written"] }
"#;

/// An origin whose responses say what they are of, and a folder for what is kept of them.
struct Setting {
    origin: Origin,
    state: TempDir,
}

impl Setting {
    fn new() -> Setting {
        let origin = Origin::http1(|seen| {
            let length = seen.target.rsplit_once('/').map_or("", |(_, last)| last);
            let language = seen.header("accept-language").unwrap_or("none").to_owned();
            let fields = [("cache-control", "max-age=600"), ("etag", "\"1\"")];
            let vary = [("vary", "accept-language")];
            let fields: Vec<_> = match seen.target.starts_with("/varied") {
                true => fields.into_iter().chain(vary).collect(),
                false => fields.to_vec(),
            };
            let text = body(&seen.target, &language, length.parse().unwrap_or(10));
            reply(200, &fields, full(text))
        });
        Setting {
            origin,
            state: tempfile::tempdir().unwrap(),
        }
    }

    async fn start(&self, memory: &str) -> Gateway {
        let draft = Gateway::draft(CACHED).with("origin", &self.origin);
        let state = self.state.path().display();
        draft
            .with("state", state)
            .with("memory", memory)
            .start()
            .await
    }

    /// How often the origin was asked.
    fn asked(&self) -> usize {
        self.origin.seen().len()
    }

    fn folder(&self) -> PathBuf {
        self.state.path().join("responses")
    }
}

/// So many bytes that nothing else has.
fn body(target: &str, language: &str, length: usize) -> String {
    let line = format!("{target} {language} ");
    let mut body = line.repeat(length / line.len() + 1);
    body.truncate(length);
    body
}

fn language(target: &str, language: &str) -> Ask {
    get(target).header("accept-language", language)
}

async fn expect(gateway: &Gateway, target: &str, word: &str) {
    let answer = gateway.http1().send(language(target, word)).await;
    assert_eq!(answer.status, 200, "{target}");
    let length = target.rsplit_once('/').and_then(|it| it.1.parse().ok());
    let expected = body(target, word, length.unwrap_or(10));
    assert!(answer.text() == expected, "{target}: not what it is");
}

const TARGETS: [&str; 6] = [
    "/small/1",
    "/empty/0",
    "/block/65536",
    "/blocks/65537",
    "/more/700001",
    "/large/3000000",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_is_there_after_a_restart() {
    let setting = Setting::new();
    let gateway = setting.start("16MiB").await;
    for target in TARGETS {
        expect(&gateway, target, "none").await;
    }
    for word in ["de", "fr"] {
        expect(&gateway, "/varied/100", word).await;
    }
    let asked = setting.asked();
    assert_eq!(asked, TARGETS.len() + 2);
    assert!(gateway.stop().await);
    // What is too large for the memory that there is now is read past it.
    for memory in ["16MiB", "1MiB"] {
        let gateway = setting.start(memory).await;
        for _ in 0..2 {
            for target in TARGETS {
                expect(&gateway, target, "none").await;
            }
            for word in ["de", "fr"] {
                expect(&gateway, "/varied/100", word).await;
            }
        }
        let part = get("/large/3000000").header("range", "bytes=2500000-2500009");
        let answer = gateway.http1().send(part).await;
        let all = body("/large/3000000", "none", 3_000_000);
        assert_eq!(
            (answer.status, answer.text()),
            (206, all[2_500_000..2_500_010].to_owned())
        );
        let answer = gateway.http1().send(get("/small/1")).await;
        let status = answer.header("cache-status").unwrap_or_default();
        assert!(status.contains("hit"), "{status}");
        assert!(answer.header("age").is_some());
        assert_eq!(setting.asked(), asked, "{memory}");
        assert!(gateway.stop().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_is_not_there_after_a_restart() {
    let setting = Setting::new();
    let gateway = setting.start("16MiB").await;
    for target in ["/purged/5", "/kept/5", "/written/5"] {
        expect(&gateway, target, "none").await;
    }
    assert!(gateway.stop().await);
    // It is not in memory: the purge is about what is on disk alone.
    let gateway = setting.start("16MiB").await;
    let purged = gateway.http1().send(request("PURGE", "/purged/5")).await;
    assert_eq!(purged.status, 204);
    assert!(gateway.stop().await);
    let gateway = setting.start("16MiB").await;
    let asked = setting.asked();
    expect(&gateway, "/kept/5", "none").await;
    assert_eq!(setting.asked(), asked, "it was not purged");
    expect(&gateway, "/purged/5", "none").await;
    assert_eq!(setting.asked(), asked + 1, "it was purged");
    // A tag, by a write.
    assert_eq!(gateway.http1().send(post("/other", "x")).await.status, 200);
    assert!(gateway.stop().await);
    let gateway = setting.start("16MiB").await;
    let asked = setting.asked();
    for target in ["/purged/5", "/kept/5", "/written/5"] {
        expect(&gateway, target, "none").await;
    }
    assert_eq!(setting.asked(), asked + 3, "all have the tag");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_has_no_room_for_is_on_disk() {
    let setting = Setting::new();
    let gateway = setting.start("1MiB").await;
    let targets: Vec<String> = (0..40).map(|number| format!("/{number}/100000")).collect();
    for _ in 0..3 {
        for target in &targets {
            expect(&gateway, target, "none").await;
        }
    }
    assert_eq!(setting.asked(), targets.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_served_from_disk() {
    let setting = Setting::new();
    let gateway = setting.start("16MiB").await;
    let targets = ["/wanted/50000", "/wanted/900000", "/wanted/2500000"];
    for target in targets {
        expect(&gateway, target, "none").await;
    }
    assert!(gateway.stop().await);
    for memory in ["64MiB", "1MiB"] {
        let gateway = setting.start(memory).await;
        for target in targets {
            let crowd = (0..50).map(|_| expect(&gateway, target, "none"));
            futures_util::future::join_all(crowd).await;
        }
        assert!(gateway.stop().await);
    }
    assert_eq!(setting.asked(), targets.len());
}

/// The files in which objects are: all but the log of purges and the lock.
fn regions(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let large = |path: &PathBuf| fs::metadata(path).unwrap().len() > 10_000;
    entries.filter(large).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_torn_is_a_miss() {
    let setting = Setting::new();
    let damages: [fn(&Path); 3] = [
        |path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(20_000).unwrap();
        },
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes
                .iter_mut()
                .skip(200)
                .step_by(1000)
                .for_each(|it| *it ^= 1);
            fs::write(path, bytes).unwrap();
        },
        |path| fs::write(path, b"nothing").unwrap(),
    ];
    for damage in damages {
        let gateway = setting.start("16MiB").await;
        for target in TARGETS {
            expect(&gateway, target, "none").await;
        }
        assert!(gateway.stop().await);
        let regions = regions(&setting.folder());
        assert!(!regions.is_empty(), "there is something to be damaged");
        regions.iter().for_each(|path| damage(path));
        let asked = setting.asked();
        let gateway = setting.start("16MiB").await;
        for target in TARGETS {
            expect(&gateway, target, "none").await;
        }
        assert!(setting.asked() > asked, "something was damaged");
        assert!(gateway.stop().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_another_has_the_disk_gets_it_next() {
    let setting = Setting::new();
    let targets: Vec<String> = (0..200).map(|number| format!("/{number}/20")).collect();
    let first = setting.start("16MiB").await;
    expect(&first, "/purged/5", "none").await;
    for target in &targets {
        expect(&first, target, "none").await;
    }
    let second = setting.start("16MiB").await;
    let purged = second.http1().send(request("PURGE", "/purged/5")).await;
    // It is purged, and nobody knows what a restart would find.
    assert_eq!(purged.status, 500, "{}", purged.text());
    let asked = setting.asked();
    expect(&second, &targets[0], "none").await;
    assert_eq!(setting.asked(), asked + 1, "it has no disk");
    assert!(first.stop().await);
    let mut left = targets.iter().skip(1);
    eventually("what the first has kept is there", async || {
        let asked = setting.asked();
        expect(&second, left.next()?, "none").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        (setting.asked() == asked).then_some(())
    })
    .await;
    let asked = setting.asked();
    expect(&second, "/purged/5", "none").await;
    assert_eq!(
        setting.asked(),
        asked + 1,
        "it was purged before there was a log"
    );
}

/// All that a URL stands for is purged, also where it cannot be logged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_is_purged_in_all_spellings_whatever_becomes_of_the_log() {
    let setting = Setting::new();
    fs::create_dir_all(setting.folder()).unwrap();
    let lock = fs::File::create(setting.folder().join("lock")).unwrap();
    lock.lock().unwrap();
    let toml = CACHED.replace("cache = {", "cache = { ignore_query = [\"utm\"],");
    let exact = r#"
        [routes.exact]
        match = { path = "/exact/{*rest}" }
        upstream = "origin"
        policies.cache = {}
    "#;
    let gateway = Gateway::draft(&(toml + exact))
        .with("origin", &setting.origin)
        .with("state", setting.state.path().display())
        .with("memory", "16MiB")
        .start()
        .await;
    let target = "/exact/a?utm=1";
    for asked in [1, 1] {
        expect(&gateway, target, "none").await;
        assert_eq!(setting.asked(), asked);
    }
    let url = "http%3A%2F%2Fshop.test%2Fexact%2Fa%3Futm=1";
    let purged = gateway.admin(post(&format!("/cache/purge?url={url}"), ""));
    let purged = purged.await;
    assert_eq!(purged.status, 500, "{}", purged.text());
    expect(&gateway, target, "none").await;
    assert_eq!(setting.asked(), 2, "it was purged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_brings_a_disk_and_takes_it_away() {
    let setting = Setting::new();
    let draft = |disk: &str| {
        let toml = CACHED.replace("disk = { path = \"responses\", size = \"64MiB\" }", disk);
        let draft = Gateway::draft(&toml).with("origin", &setting.origin);
        let state = setting.state.path().display();
        draft.with("state", state).with("memory", "16MiB")
    };
    let mut gateway = draft("").start().await;
    let is_open = || fs::exists(setting.folder()).unwrap();
    assert!(!is_open());
    let disk = "disk = { path = \"responses\", size = \"8MiB\" }";
    draft(disk).apply(&mut gateway).await.unwrap();
    eventually("the disk is there", async || is_open().then_some(())).await;
    draft("").apply(&mut gateway).await.unwrap();
    let other = setting.start("16MiB").await;
    expect(&other, "/a/5", "none").await;
    assert!(other.stop().await);
    let asked = setting.asked();
    let other = setting.start("16MiB").await;
    expect(&other, "/a/5", "none").await;
    assert_eq!(setting.asked(), asked, "the folder was free");
}

#[test]
fn what_cannot_be_is_told() {
    let check = |disk: &str, expected: &str| {
        let toml = format!("[listeners.a]\nbind = '[::1]:0'\n[cache]\ndisk = {disk}\n");
        let mut loaded = northgate::config::load_text("disk.toml", &toml);
        let metrics = northgate::observability::Metrics::new();
        assert!(northgate::config::compile(&mut loaded, &metrics).is_none());
        let told = loaded.diagnostics.render(&loaded.sources, false);
        assert!(told.contains(expected), "{told}");
    };
    check(
        "{ path = 'a', size = '1023KiB' }",
        "must be at least \"1MiB\"",
    );
    check("{ path = '', size = '1MiB' }", "must not be empty");
    check("{ path = 'a' }", "size");
    check("{ size = '1MiB' }", "path");
}

/// Whoever is told that something is purged while the gateway ends finds it purged afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_purged_while_the_gateway_ends_stays_purged() {
    const OBJECTS: usize = 400;
    let setting = Setting::new();
    let gateway = setting.start("64MiB").await;
    for number in 0..OBJECTS {
        expect(&gateway, &format!("/{number}/100"), "none").await;
    }
    // These are written while it ends.
    for number in 0..12 {
        expect(&gateway, &format!("/large{number}/3000000"), "none").await;
    }
    let admin = gateway.admin_client();
    let purging = tokio::spawn(async move {
        let mut purged = Vec::new();
        for number in 0..OBJECTS {
            let url = format!("http%3A%2F%2Fshop.test%2F{number}%2F100");
            let ask = post(&format!("/cache/purge?url={url}"), "").host("localhost");
            match admin.try_send(ask).await {
                Ok(answer) if answer.status == 200 => purged.push(number),
                Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
                Err(_) => break,
            }
        }
        purged
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(gateway.stop().await);
    let purged = purging.await.unwrap();
    assert!(!purged.is_empty());
    let asked = setting.asked();
    let gateway = setting.start("64MiB").await;
    for number in &purged {
        expect(&gateway, &format!("/{number}/100"), "none").await;
    }
    assert_eq!(setting.asked() - asked, purged.len());
}

/// A folder that the gateway went on without has not heard of what was purged since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_taken_out_is_empty_when_it_comes_back() {
    let setting = Setting::new();
    let mut gateway = setting.start("16MiB").await;
    expect(&gateway, "/small/1", "none").await;
    let line = "disk = { path = \"responses\", size = \"64MiB\" }";
    let without = Gateway::draft(&CACHED.replace(line, ""));
    let state = setting.state.path().display();
    let without = without.with("origin", &setting.origin);
    let without = without.with("state", state).with("memory", "16MiB");
    without.apply(&mut gateway).await.unwrap();
    let answer = gateway.http1().send(request("PURGE", "/small/1")).await;
    assert_eq!(answer.status, 204);
    assert!(gateway.stop().await);
    let asked = setting.asked();
    let gateway = setting.start("16MiB").await;
    expect(&gateway, "/small/1", "none").await;
    assert_eq!(setting.asked(), asked + 1);
}
