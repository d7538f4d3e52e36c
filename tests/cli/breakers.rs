//! `northgate breakers`, with the real program.

use super::program::{json, northgate};
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
[routes.all]
match = {{ path = "/{{*rest}}" }}
upstream = "shop"
[upstreams.shop]
endpoints = ["127.0.0.1:1"]
breaker = {{}}
endpoint_breaker = {{}}
"#,
        folder.display()
    )
}

#[test]
fn an_operator_sees_and_holds_breakers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, configuration(folder.path())).unwrap();
    let mut gateway = Running::start_at(&file);
    let address = gateway.serving("public");
    let path = file.to_str().unwrap();
    let say = |arguments: &[&str], code: i32, words: &str| {
        let run = northgate(&[&["breakers"][..], arguments, &["-c", path]].concat());
        assert_eq!(run.code, code, "{arguments:?}: {run:?}");
        let said = format!("{}{}", run.out, run.err);
        assert!(said.contains(words), "{arguments:?}: {said}");
    };
    let idle = "of 0 tries, 0 failed and 0 were slow";
    say(
        &[],
        0,
        &format!("shop: closed; {idle}\nshop 127.0.0.1:1: closed; {idle}\n"),
    );
    say(&["open", "shop"], 0, &format!("shop: open, held; {idle}\n"));
    let answer = get(&address, "/");
    assert!(
        answer.contains(" 503 ") && answer.contains("circuit_open"),
        "{answer}"
    );
    say(
        &["close", "shop", "--expires", "1h"],
        0,
        "shop: closed, held until 2",
    );
    assert!(get(&address, "/").contains(" 502 "));
    say(&["release", "shop"], 0, "shop: closed; ");
    say(
        &["release", "shop"],
        1,
        "nobody holds the breaker of upstream shop",
    );
    let endpoint = ["--endpoint", "127.0.0.1:1"];
    say(
        &[&["open", "shop"][..], &endpoint].concat(),
        0,
        "shop 127.0.0.1:1: open, held",
    );
    assert!(get(&address, "/").contains("upstream_unhealthy"));
    say(&["open", "shp"], 1, "did you mean \"shop\"?");
    say(&["open", "shop", "--expires", "32d"], 1, "31 days");
    let shown = northgate(&["breakers", "--json", "-c", path]);
    assert_eq!(json(&shown.out)[1]["held"], true, "{shown:?}");
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn mistakes_of_usage_are_told_before_anybody_is_asked() {
    for (arguments, words) in [
        (&["open"][..], "<UPSTREAM>"),
        (&["open", "x", "--expires", "soon"], "must be a date"),
        (&["release", "x", "--expires", "1h"], "unexpected argument"),
        (&["--json", "open", "x"], "cannot be used with"),
    ] {
        let run = northgate(&[&["breakers"][..], arguments].concat());
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(run.err.contains(words), "{arguments:?}: {run:?}");
    }
}
