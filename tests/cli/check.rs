//! `northgate check`.

use super::program::{golden, json, northgate};

#[test]
fn passes_a_good_file() {
    let run = northgate(&["check", "-c", "conf/shop.toml"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.out, "");
    assert!(run.err.starts_with("ok: 2 listeners, "), "{run:?}");
}

#[test]
fn prints_errors_and_fails() {
    let run = northgate(&["check", "-c", "tests/config/reject/route-unknown-key.toml"]);
    assert_eq!(run.code, 1);
    assert_eq!(run.err, golden("tests/config/reject/route-unknown-key.out"));
}

#[test]
fn fails_on_warnings_only_when_strict() {
    let file = "tests/config/accept/upstream-unused.toml";
    let lenient = northgate(&["check", "-c", file]);
    assert_eq!(lenient.code, 0, "{lenient:?}");
    assert!(
        lenient
            .err
            .starts_with(&golden("tests/config/accept/upstream-unused.out")),
        "{lenient:?}"
    );
    let strict = northgate(&["check", "--strict", "-c", file]);
    assert_eq!(strict.code, 1, "{strict:?}");
    assert_eq!(
        northgate(&["check", "--strict", "-c", "conf/shop.toml"]).code,
        0
    );
}

#[test]
fn tells_what_would_not_be_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.toml");
    let text = r#"
[gateway]
on_error = "quarantine"
[listeners.public]
bind = "127.0.0.1:0"
[upstreams.bad]
endpoints = []
[routes.to-bad]
match = { path = "/a" }
upstream = "bad"
[routes.good]
match = { path = "/b" }
respond = { status = 200 }
"#;
    std::fs::write(&path, text).expect("the folder is ours");
    let run = northgate(&["check", "-c", &path.to_string_lossy()]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("endpoints is empty"), "{run:?}");
    let told = "1 error\nquarantined: upstream bad\nquarantined: route to-bad\n";
    assert!(run.err.ends_with(told), "{run:?}");
}

#[test]
fn speaks_json() {
    let clean = northgate(&["check", "--json", "-c", "conf/shop.toml"]);
    assert_eq!((clean.code, json(&clean.out)), (0, serde_json::json!([])));

    let run = northgate(&[
        "check",
        "--json",
        "-c",
        "tests/config/reject/several-mistakes.toml",
    ]);
    assert_eq!(run.code, 1);
    assert_eq!(run.err, "", "programs read one stream");
    let problems = json(&run.out);
    let problems = problems.as_array().expect("an array");
    assert_eq!(problems.len(), 15);
    for problem in problems {
        assert_eq!(problem["path"], "tests/config/reject/several-mistakes.toml");
        assert_eq!(problem["severity"], "error");
        assert!(problem["line"].as_u64().is_some_and(|line| line > 0));
        assert!(problem["column"].as_u64().is_some_and(|column| column > 0));
        assert!(problem["message"].is_string());
    }
    let lines: Vec<u64> = problems
        .iter()
        .filter_map(|problem| problem["line"].as_u64())
        .collect();
    assert!(lines.is_sorted(), "{lines:?}");

    let warned = northgate(&[
        "check",
        "--json",
        "-c",
        "tests/config/accept/upstream-unused.toml",
    ]);
    assert_eq!(warned.code, 0);
    assert_eq!(json(&warned.out)[0]["severity"], "warning");
}

#[test]
fn of_a_file_that_is_not_there() {
    let run = northgate(&["check", "-c", "no/such/northgate.toml"]);
    assert_eq!(run.code, 1);
    assert!(
        run.err
            .starts_with("error: cannot read no/such/northgate.toml: "),
        "{run:?}"
    );
}

#[test]
fn reads_a_folder() {
    let run = northgate(&["check", "-c", "tests/config/accept/folder"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.err, "ok: 1 listener, 1 upstream, 1 route\n");
    let empty = northgate(&["check", "-c", "tests/cli/explain"]);
    assert_eq!(empty.code, 1);
    assert!(
        empty
            .err
            .contains("tests/cli/explain: no *.toml file in this folder"),
        "{empty:?}"
    );
}
