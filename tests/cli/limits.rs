//! `northgate limits`, with the real program.

use super::program::{Run, golden, json, northgate};
use super::running::{Running, get};

fn configuration(folder: &std::path::Path) -> String {
    format!(
        r#"
[gateway]
access_log = "off"
[admin]
bind = "unix:{}/admin.sock"
[listeners.public]
bind = "127.0.0.1:0"
[gateway.policies]
rate_limit = {{ by = ["client", "header:x-tenant"], windows = [{{ rate = "4/day", burst = 2 }}, {{ requests = 1000, window = "90m" }}] }}
[routes.all]
match = {{ path = "/{{*rest}}" }}
respond = {{ status = 200 }}
[routes.seen]
match = {{ path = "/seen" }}
respond = {{ status = 200 }}
policies.quota = {{ by = "all", requests = 10, per = "month", shadow = true }}
policies.rate_limit = "off"
[routes.shop]
match = {{ path = "/shop" }}
upstream = "shop"
policies.concurrency = {{ by = "client", limit = 3 }}
policies.bandwidth = {{ by = "client", response = "1MiB" }}
[upstreams.shop]
endpoints = ["127.0.0.1:1"]
adaptive_concurrency = {{ initial = 30 }}
"#,
        folder.display()
    )
}

const LIMIT: &str = "gateway.policies.rate_limit";

/// What is the same each time.
fn plain(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.split(", more in ").next().unwrap_or(line);
        let line = line.split(", all in ").next().unwrap_or(line);
        let line = match line.split_once(" until 2") {
            Some((before, _)) => format!("{before} until …"),
            None => line.to_owned(),
        };
        lines.push(line + "\n");
    }
    lines.concat()
}

#[test]
fn an_operator_sees_and_changes_limits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, configuration(folder.path())).unwrap();
    let mut gateway = Running::start_at(&file);
    let address = gateway.serving("public");
    let status = || get(&address, "/")[9..12].to_owned();
    let path = file.to_str().unwrap();
    let mut session = String::new();
    let mut say = |arguments: &[&str]| -> Run {
        let run = northgate(&[&["limits"][..], arguments, &["-c", path]].concat());
        let (out, err) = (plain(&run.out), plain(&run.err));
        session += &format!("$ northgate limits {}\n{out}{err}", arguments.join(" "));
        session += &format!("exit {}\n\n", run.code);
        run
    };
    let client = "client=127.0.0.1";
    let without = "without=header:x-tenant";

    assert_eq!([status(), status(), status()], ["200", "200", "429"]);
    say(&[]);
    say(&["show", LIMIT]);
    say(&["show", "upstreams.shop"]);
    say(&["reset", "upstreams.shop"]);
    let run = say(&["show", LIMIT, client, without]);
    assert!(run.out.contains(" 0 of 2 left, more in "), "{}", run.out);
    say(&["show", LIMIT, client, "header:x-tenant=a=b"]);
    say(&["show", "routes.seen.policies.quota"]);
    say(&["reset", LIMIT, client, without]);
    assert_eq!([status(), status(), status()], ["200", "200", "429"]);
    let granted = ["--multiply", "1.5", "--expires", "7d"];
    say(&[&["override", LIMIT, client, without][..], &granted].concat());
    say(&["reset", LIMIT, client, without]);
    assert_eq!(
        [status(), status(), status(), status()],
        ["200", "200", "200", "429"]
    );
    say(&["show", LIMIT]);
    say(&["override", LIMIT, client, without, "--end"]);
    say(&["override", LIMIT, client, without, "--end"]);
    say(&["show", "gateway.policies.rate_limt"]);
    say(&["show", LIMIT, client]);
    let far = ["--multiply", "2", "--expires", "2999-01-01"];
    say(&[&["override", LIMIT, client, without][..], &far].concat());

    let asked = [
        "limits", "show", LIMIT, client, without, "--json", "-c", path,
    ];
    let shown = json(&northgate(&asked).out);
    assert_eq!(shown["key"]["rules"][0]["name"], "4/day", "{shown}");
    let all = northgate(&["limits", "--json", "-c", path]);
    assert_eq!(json(&all.out).as_array().map(Vec::len), Some(5));

    let at = "tests/cli/limits.out";
    if std::env::var_os("NORTHGATE_BLESS").is_some() {
        std::fs::write(at, &session).unwrap();
    }
    assert_eq!(session, golden(at));
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
    let run = northgate(&["limits", "-c", path]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("nobody answers at unix:"), "{}", run.err);
}

#[test]
fn mistakes_of_usage_are_told_before_anybody_is_asked() {
    for (arguments, words) in [
        (&["show"][..], "<NAME>"),
        (
            &["show", "x", "acme"],
            "write NAME=VALUE, such as consumer=acme",
        ),
        (&["override", "x", "consumer=a"], "--multiply <NUMBER>"),
        (&["override", "x", "--multiply", "2"], "--expires <TIME>"),
        (
            &["override", "x", "--multiply", "many", "--expires", "1d"],
            "must be a number from 0 to 1000",
        ),
        (
            &["override", "x", "--multiply", "2", "--expires", "soon"],
            "must be a date",
        ),
        (
            &["override", "x", "--end", "--multiply", "2"],
            "cannot be used with",
        ),
        (&["--json", "show", "x"], "cannot be used with"),
    ] {
        let run = northgate(&[&["limits"][..], arguments].concat());
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(run.err.contains(words), "{arguments:?}: {run:?}");
    }
}
