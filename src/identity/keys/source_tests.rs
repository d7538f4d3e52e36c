//! Sources of keys against servers of all sorts.

#[cfg(test)]
mod origin;
#[cfg(test)]
mod rotation;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::origin::{Answer, Origin};
use super::source::{Parts, Source, Unavailable, Wanted};
use super::*;
use crate::identity::tokens::{Signer, jwks};
use crate::observability::Metrics;
use crate::text::{Diagnostics, Sources, Span, Spanned, Subject};

/// How long anything that should happen may take.
const PATIENCE: Duration = Duration::from_secs(15);
const DISCOVERY: &str = "/.well-known/openid-configuration";

fn spanned<T>(value: T) -> Spanned<T> {
    let span = Span::start_of(Sources::new().add("test", String::new()));
    Spanned::new(value, span)
}

/// Quick, so that nothing takes long.
fn quick(url: &str) -> Config {
    Config {
        url: Some(spanned(url.parse().unwrap())),
        refresh: "1h".parse().unwrap(),
        cooldown: "50ms".parse().unwrap(),
        ..Config::default()
    }
}

/// The source, or what is said of it.
fn compile(
    config: Config,
    issuer: Option<&str>,
    before: Option<&Source>,
) -> Result<Source, String> {
    let mut diagnostics = Diagnostics::new();
    let mut subject = Subject::new(&mut diagnostics, "main");
    let parts = Parts {
        key: "jwks",
        name: "jwt.main".into(),
        metrics: Metrics::new().keys("jwt.main"),
        folder: std::path::Path::new("/"),
        before,
    };
    let issuer = issuer.map(|issuer| spanned(issuer.to_owned()));
    let source = Source::compile(&spanned(config), issuer.as_ref(), parts, &mut subject);
    let said: Vec<_> = diagnostics.iter().map(|it| &*it.message).collect();
    source.ok_or_else(|| said.join("\n"))
}

fn started(config: Config) -> Source {
    let source = compile(config, None, None).unwrap();
    source.start();
    source
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("in time")
}

async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_there(source: &Source, kid: &str) -> bool {
    !source.current().is_empty() && !source.current().lacks(Some(kid))
}

#[tokio::test]
async fn keys_are_there_before_anybody_asks() {
    let origin = Origin::start().await;
    origin.publish([&Signer::new("EdDSA", "a")]);
    let source = started(quick(&origin.url("/jwks")));
    eventually("keys", || is_there(&source, "a")).await;
    let keys = source.keys(Some("a")).expect("nothing to wait for");
    assert_eq!(keys.keys().len(), 1);
    assert!(source.keys(None).is_some());
    assert_eq!(origin.asked(), 1);
}

#[tokio::test]
async fn an_unknown_name_is_asked_for_once_by_all_who_wait() {
    let origin = Origin::start().await;
    let (a, b) = (Signer::new("EdDSA", "a"), Signer::new("EdDSA", "b"));
    origin.publish([&a]);
    let source = Arc::new(started(quick(&origin.url("/jwks"))));
    eventually("keys", || is_there(&source, "a")).await;
    origin.publish([&a, &b]);
    let before = source.current().clone();
    let mut waiting = JoinSet::new();
    for _ in 0..200 {
        let source = source.clone();
        assert!(source.keys(Some("b")).is_none());
        waiting.spawn(async move { source.renewed(Wanted::Named(Some("b"))).await });
    }
    while let Some(renewed) = within(waiting.join_next()).await {
        assert!(!renewed.unwrap().unwrap().lacks(Some("b")));
    }
    assert_eq!(origin.asked(), 2);
    assert_eq!(origin.most_in_flight.load(Ordering::SeqCst), 1);
    assert!(!Arc::ptr_eq(&source.current(), &before));
    assert!(source.keys(Some("b")).is_some());
}

#[tokio::test]
async fn names_that_are_made_up_cause_no_storm() {
    let origin = Origin::start().await;
    origin.publish([&Signer::new("EdDSA", "a")]);
    let source = Arc::new(started(quick(&origin.url("/jwks"))));
    eventually("keys", || is_there(&source, "a")).await;
    let before = source.current().clone();
    let begin = Instant::now();
    for round in 0..4 {
        let mut waiting = JoinSet::new();
        for number in 0..500 {
            let source = source.clone();
            let kid = format!("{round}-{number}");
            waiting.spawn(async move {
                let renewed = source.renewed(Wanted::Named(Some(&kid))).await;
                // Refused without waiting from then on.
                (renewed, source.keys(Some(&kid)).is_some())
            });
        }
        while let Some(ended) = within(waiting.join_next()).await {
            let (renewed, is_final) = ended.unwrap();
            let keys = renewed.unwrap();
            assert_eq!(keys.keys().len(), 1);
            assert!(is_final || begin.elapsed() > Duration::from_millis(50));
        }
    }
    // One to begin with, and one for each time that the cool-down was over.
    let most = 2 + begin.elapsed().as_millis() / 50;
    let asked = origin.asked();
    assert!((3..=most as usize).contains(&asked), "{asked} of {most}");
    assert_eq!(origin.most_in_flight.load(Ordering::SeqCst), 1);
    assert!(Arc::ptr_eq(&source.current(), &before));
}

#[tokio::test]
async fn a_name_that_is_published_later_is_found_after_the_cool_down() {
    let origin = Origin::start().await;
    let (a, b) = (Signer::new("EdDSA", "a"), Signer::new("EdDSA", "b"));
    origin.publish([&a]);
    let source = started(quick(&origin.url("/jwks")));
    let missing = within(source.renewed(Wanted::Named(Some("b"))))
        .await
        .unwrap();
    assert!(missing.lacks(Some("b")));
    origin.publish([&a, &b]);
    eventually("the cool-down", || source.keys(Some("b")).is_none()).await;
    assert!(
        !within(source.renewed(Wanted::Named(Some("b"))))
            .await
            .unwrap()
            .lacks(Some("b"))
    );
}

#[tokio::test]
async fn known_keys_are_used_while_a_fetch_goes_on() {
    let origin = Origin::start().await;
    origin.publish([&Signer::new("EdDSA", "a")]);
    let source = Arc::new(started(quick(&origin.url("/jwks"))));
    eventually("keys", || is_there(&source, "a")).await;
    let gate = origin
        .gate
        .clone()
        .acquire_many_owned(1_000_000)
        .await
        .unwrap();
    let other = source.clone();
    let waiting = tokio::spawn(async move { other.renewed(Wanted::Named(Some("b"))).await });
    eventually("a fetch", || origin.asked() == 2).await;
    assert!(source.keys(Some("a")).is_some() && source.keys(None).is_some());
    drop(gate);
    assert!(within(waiting).await.unwrap().is_ok());
}

#[tokio::test]
async fn without_a_good_answer_it_cannot_be_known() {
    let origin = Origin::start().await;
    let source = started(quick(&origin.url("/jwks")));
    assert!(source.keys(Some("a")).is_none() && source.keys(None).is_none());
    for kid in [Some("a"), None] {
        assert_eq!(
            within(source.renewed(Wanted::Named(kid))).await.err(),
            Some(Unavailable)
        );
    }
    origin.publish([&Signer::new("EdDSA", "a")]);
    eventually("keys", || is_there(&source, "a")).await;
}

#[tokio::test]
async fn bad_answers_change_nothing() {
    let origin = Origin::start().await;
    let a = Signer::new("EdDSA", "a");
    origin.publish([&a]);
    let other = Origin::start().await;
    other.publish([&Signer::new("EdDSA", "b")]);
    let source = started(quick(&origin.url("/jwks")));
    eventually("keys", || is_there(&source, "a")).await;
    let huge = format!("{}{}", jwks([&a]), " ".repeat(2 << 20));
    for bad in [
        Answer::Status(500),
        Answer::Status(204),
        Answer::Status(404),
        Answer::Redirect(other.url("/jwks")),
        Answer::Json(String::new()),
        Answer::Json("<html>".to_owned()),
        Answer::Json("{}".to_owned()),
        Answer::Json(huge),
    ] {
        origin.answer("/jwks", bad);
        assert_eq!(
            within(source.renewed(Wanted::Named(Some("b")))).await.err(),
            Some(Unavailable)
        );
        assert!(source.keys(Some("a")).is_some());
    }
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn keys_that_nobody_should_publish_are_not_used() {
    let origin = Origin::start().await;
    let with = |signer: &Signer, name: &str, value: &str| {
        let mut jwk = signer.jwk.clone();
        jwk[name] = value.into();
        jwk
    };
    let good = Signer::new("ES256", "good");
    let jwks = json!({ "keys": [
        Signer::new("HS256", "shared").jwk,
        with(&Signer::new("EdDSA", "private"), "d", "AQ"),
        with(&Signer::new("RS256", "encrypts"), "use", "enc"),
        good.jwk,
    ] });
    origin.answer("/jwks", Answer::Json(jwks.to_string()));
    let source = started(quick(&origin.url("/jwks")));
    let keys = within(source.renewed(Wanted::Named(Some("good"))))
        .await
        .unwrap();
    let names: Vec<_> = keys.keys().iter().map(|key| key.kid().unwrap()).collect();
    assert_eq!(names, ["good"]);
    // A provider that withdraws everything is believed.
    origin.publish(&[]);
    assert!(
        within(source.renewed(Wanted::Named(Some("shared"))))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn keys_are_renewed_ahead_of_time_and_dropped_when_too_old() {
    let origin = Origin::start().await;
    let (a, b) = (Signer::new("EdDSA", "a"), Signer::new("EdDSA", "b"));
    origin.publish([&a]);
    let source = started(Config {
        refresh: "200ms".parse().unwrap(),
        max_stale: "1s".parse().unwrap(),
        ..quick(&origin.url("/jwks"))
    });
    eventually("keys", || is_there(&source, "a")).await;
    origin.publish([&b]);
    let withdrawn = Instant::now();
    eventually("the withdrawal", || source.current().lacks(Some("a"))).await;
    assert!(
        withdrawn.elapsed() < Duration::from_millis(900),
        "{:?}",
        withdrawn.elapsed()
    );
    origin.answer("/jwks", Answer::Status(503));
    let gone = Instant::now();
    eventually("too old", || source.current().is_empty()).await;
    let lasted = gone.elapsed();
    assert!(lasted > Duration::from_millis(600), "{lasted:?}");
    assert!(lasted < Duration::from_millis(1500), "{lasted:?}");
    assert!(source.keys(None).is_none());
    assert_eq!(
        within(source.renewed(Wanted::Named(Some("b")))).await.err(),
        Some(Unavailable)
    );
    origin.publish([&b]);
    eventually("it is back", || is_there(&source, "b")).await;
}

#[tokio::test]
async fn what_was_fetched_outlives_a_reload() {
    let origin = Origin::start().await;
    origin.publish([&Signer::new("EdDSA", "a")]);
    let config = quick(&origin.url("/jwks"));
    let first = started(config.clone());
    eventually("keys", || is_there(&first, "a")).await;
    let second = compile(config.clone(), None, Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&second.current(), &first.current()));
    second.start();
    drop(first);
    assert!(second.keys(Some("a")).is_some());
    // Still one task: it goes on to fetch.
    let missing = within(second.renewed(Wanted::Named(Some("b"))))
        .await
        .unwrap();
    assert_eq!((missing.keys().len(), origin.asked()), (1, 2));
    let changed = Config {
        refresh: "2h".parse().unwrap(),
        ..config
    };
    let third = compile(changed, None, Some(&second)).unwrap();
    assert!(third.current().is_empty());
}

#[tokio::test]
async fn it_ends_with_its_last_source() {
    let origin = Origin::start().await;
    origin.publish([&Signer::new("EdDSA", "a")]);
    let source = started(Config {
        refresh: "60ms".parse().unwrap(),
        ..quick(&origin.url("/jwks"))
    });
    eventually("it fetches", || origin.asked() > 3).await;
    let state = source.weak();
    drop(source);
    eventually("it is gone", || state.strong_count() == 0).await;
}

#[tokio::test]
async fn discovery_finds_the_keys_of_the_issuer_and_of_no_other() {
    let origin = Origin::start().await;
    origin.publish([&Signer::new("EdDSA", "a")]);
    let elsewhere = Origin::start().await;
    elsewhere.publish([&Signer::new("EdDSA", "a")]);
    let issuer = origin.url("/tenant/");
    let place = format!("/tenant{DISCOVERY}");
    let document = |issuer: &str, jwks_uri: &str| json!({ "issuer": issuer, "jwks_uri": jwks_uri });
    let check = async |document: Value, is_good: bool| {
        origin.answer(&place, Answer::Json(document.to_string()));
        let config = Config {
            url: None,
            ..quick("https://unused.test/")
        };
        let source = compile(config, Some(&issuer), None).unwrap();
        source.start();
        let renewed = within(source.renewed(Wanted::Named(Some("a")))).await;
        assert_eq!(renewed.is_ok(), is_good, "{document}: {renewed:?}");
    };
    let good = origin.url("/jwks");
    check(document(&issuer, &good), true).await;
    for other in [
        issuer.trim_end_matches('/'),
        &issuer.to_uppercase(),
        &format!("{issuer} "),
        &elsewhere.url("/tenant/"),
        "",
    ] {
        check(document(other, &good), false).await;
    }
    for other in [
        &*elsewhere.url("/jwks"),
        "http://192.0.2.1/jwks",
        "file:///etc/passwd",
        "/jwks",
        "",
    ] {
        check(document(&issuer, other), false).await;
    }
    for bad in [
        json!({ "issuer": issuer }),
        json!({ "jwks_uri": good }),
        json!({ "issuer": [issuer], "jwks_uri": good }),
        json!([]),
    ] {
        check(bad, false).await;
    }
    let redirect = Answer::Redirect(elsewhere.url(&place));
    origin.answer(&place, redirect);
    let config = Config {
        url: None,
        ..quick("https://unused.test/")
    };
    let source = compile(config, Some(&issuer), None).unwrap();
    source.start();
    assert!(within(source.renewed(Wanted::Named(None))).await.is_err());
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_taken_up() {
    // The clock goes on when there is nothing else to do, so that in this time the file is looked at twice.
    let two_looks = Duration::from_millis(2500);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let write = |content: &str| {
        std::fs::write(folder.path().join("new"), content).unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
    };
    let (a, b) = (Signer::new("EdDSA", "a"), Signer::new("EdDSA", "b"));
    write(&jwks([&a]));
    let config = Config {
        file: Some(spanned(PathBuf::from(&path))),
        ..Config::default()
    };
    let source = compile(config.clone(), None, None).unwrap();
    source.start();
    assert!(is_there(&source, "a"));
    // There is nobody to be asked.
    assert!(source.keys(Some("b")).is_some());
    let again = compile(config, None, Some(&source)).unwrap();
    assert!(Arc::ptr_eq(&again.current(), &source.current()));
    for bad in ["", "{}", "-----BEGIN", "{\"keys\":[]}"] {
        write(bad);
        tokio::time::sleep(two_looks).await;
        assert!(is_there(&source, "a"), "{bad}");
    }
    write(&jwks([&b]));
    tokio::time::sleep(two_looks).await;
    assert!(is_there(&source, "b"));
    assert!(source.current().lacks(Some("a")));
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(two_looks).await;
    assert!(is_there(&source, "b"));
    write(&jwks([&a]));
    tokio::time::sleep(two_looks).await;
    assert!(is_there(&source, "a"));
}

#[test]
fn what_cannot_be_is_said() {
    let check = |config: Config, issuer: Option<&str>, expected: &str| {
        let said = compile(config, issuer, None).err().unwrap_or_default();
        assert!(said.starts_with(expected), "{said}");
    };
    let url = || Some(spanned("https://id.test/jwks".parse().unwrap()));
    let inline = |text: &str| Some(spanned(text.to_owned()));
    check(
        Config::default(),
        None,
        "main needs issuer, which publishes its keys, or jwks",
    );
    check(Config::default(), Some("shop"), "main.issuer must be a URL");
    check(
        Config::default(),
        Some("http://id.test/"),
        "main.issuer must be https",
    );
    check(
        Config {
            url: Some(spanned("http://id.test/jwks".parse().unwrap())),
            ..Config::default()
        },
        None,
        "main.jwks.url must be https",
    );
    check(
        Config {
            url: url(),
            inline: inline("x"),
            ..Config::default()
        },
        None,
        "main.jwks.inline: the keys come from url already",
    );
    check(
        Config {
            url: url(),
            max_stale: "1m".parse().unwrap(),
            ..Config::default()
        },
        None,
        "main.jwks.max_stale must not be shorter than refresh",
    );
    check(
        Config {
            url: url(),
            cooldown: "11s".parse().unwrap(),
            ..Config::default()
        },
        None,
        "main.jwks.cooldown must not be longer than 10s",
    );
    let of = |text: &str| Config {
        inline: inline(text),
        ..Config::default()
    };
    check(of("{}"), None, "main.jwks.inline: the key set has no array");
    check(
        of("hello"),
        None,
        "main.jwks.inline has no key that could be used",
    );
    let shared = Signer::new("HS256", "h");
    check(
        of(&jwks([&shared])),
        None,
        "main.jwks.inline has a shared secret in it",
    );
    assert!(compile(of(&jwks([&Signer::new("EdDSA", "a")])), None, None).is_ok());
    assert!(compile(Config::default(), Some("https://id.test"), None).is_ok());
}
