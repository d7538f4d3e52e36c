//! `northgate canaries`, with the real program.

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
[routes.shop]
match = {{ path = "/{{*rest}}" }}
split.to = [
    {{ upstream = "stable", weight = 0 }},
    {{ upstream = "next", weight = 5, guard = {{ error_ratio = "50%", min_requests = 3 }} }},
]
fallback = {{ status = 200, body = "degraded", on = ["unavailable"] }}
[upstreams.stable]
endpoints = ["127.0.0.1:1"]
[upstreams.next]
endpoints = ["127.0.0.1:1"]
"#,
        folder.display()
    )
}

#[test]
fn an_operator_sees_canaries_and_takes_them_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, configuration(folder.path())).unwrap();
    let mut gateway = Running::start_at(&file);
    let address = gateway.serving("public");
    let path = file.to_str().unwrap();
    let say = |arguments: &[&str], code: i32, words: &str| {
        let run = northgate(&[&["canaries"][..], arguments, &["-c", path]].concat());
        assert_eq!(run.code, code, "{arguments:?}: {run:?}");
        let said = format!("{}{}", run.out, run.err);
        assert!(said.contains(words), "{arguments:?}: {said}");
    };
    say(
        &[],
        0,
        "shop, next: weight 5; of 0 requests 0 failed, 0 were slow\n",
    );
    for _ in 0..3 {
        assert!(get(&address, "/").contains(" 502 "));
    }
    gateway.await_line("route shop: the branch next is rolled back: of 3 requests 3 failed");
    let rolled_back = "shop, next: rolled back; of 3 requests 3 failed, 0 were slow\n";
    say(&[], 0, rolled_back);
    // The other branch has no weight and never had one.
    let answer = get(&address, "/");
    assert!(
        answer.contains(" 200 ") && answer.contains("degraded"),
        "{answer}"
    );
    let shown = northgate(&["canaries", "--json", "-c", path]);
    let shown = json(&shown.out);
    assert_eq!(
        (&shown[0]["rolled_back"], &shown[0]["weight"]),
        (&true.into(), &0.0.into()),
        "{shown}"
    );
    say(
        &["reset", "shop", "stable"],
        1,
        "there is no guarded branch \"stable\"",
    );
    say(
        &["reset", "shop", "next"],
        0,
        "shop, next: weight 5; of 0 requests",
    );
    gateway.await_line("route shop: an operator has taken the branch next up again");
    assert!(get(&address, "/").contains(" 502 "));
    say(&[], 0, "shop, next: weight 5; of 1 requests 1 failed");
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn mistakes_of_usage_are_told_before_anybody_is_asked() {
    for (arguments, words) in [
        (&["reset"][..], "<ROUTE>"),
        (&["reset", "shop"], "<UPSTREAM>"),
        (&["raise", "shop", "next"], "unrecognized subcommand"),
        (&["--json", "reset", "shop", "next"], "cannot be used with"),
    ] {
        let run = northgate(&[&["canaries"][..], arguments].concat());
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(run.err.contains(words), "{arguments:?}: {run:?}");
    }
}
