//! `northgate diff`.

use std::path::Path;

use super::program::{json, northgate};

const OLD: &str = r#"
[listeners.public]
bind = "127.0.0.1:0"
[upstreams.web]
endpoints = ["127.0.0.1:1"]
[routes.home]
match = { path = "/" }
upstream = "web"
policies.request_headers.set = { authorization = "Bearer one" }
"#;

const NEW: &str = r#"
[listeners.public]
bind = "127.0.0.1:0" # the same
[upstreams.other]
endpoints = ["127.0.0.1:1"]
[routes.home]
match.path = "/"
upstream = "other"
policies.request_headers.set = { authorization = "Bearer two" }
"#;

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    path.to_string_lossy().into_owned()
}

#[test]
fn tells_what_is_different_and_exits_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (
        write(folder.path(), "old.toml", OLD),
        write(folder.path(), "new.toml", NEW),
    );
    let run = northgate(&["diff", &old, &new]);
    let expected = format!(
        r#"+ upstreams.other  {new}:4:12
- upstreams.web  {old}:4:12
~ routes.home  {new}:6:9
    ~ policies.request_headers.set.authorization: "***" → "***"
    ~ upstream: "web" → "other"
1 added, 1 removed, 1 changed
"#
    );
    assert_eq!((run.code, run.out, run.err), (2, expected, String::new()));

    let run = northgate(&["diff", "--json", &old, &new]);
    let changes = &json(&run.out)["changes"];
    assert_eq!(run.code, 2);
    assert_eq!(changes[2]["values"][1]["after"], "other");
    assert_eq!(changes[2]["place"]["line"], 6);
    assert!(!run.out.contains("Bearer"), "{run:?}");
}

#[test]
fn nothing_different_exits_with_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = write(folder.path(), "old.toml", OLD);
    // A folder of files says what the one file says.
    let parts = folder.path().join("parts");
    std::fs::create_dir(&parts).expect("the folder is ours");
    let (first, second) = OLD.split_once("[routes").expect("there is a route");
    write(&parts, "a.toml", first);
    write(&parts, "b.toml", &format!("[routes{second}"));
    let run = northgate(&["diff", &old, &parts.to_string_lossy()]);
    assert_eq!((run.code, &*run.out), (0, "nothing changes\n"), "{run:?}");
    let run = northgate(&["diff", "--json", &old, &old]);
    assert_eq!((run.code, &json(&run.out)["changes"]), (0, &json("[]")));
}

#[test]
fn what_cannot_be_read_exits_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = write(folder.path(), "old.toml", OLD);
    let bad = write(folder.path(), "bad.toml", "[routes.a\n");
    let run = northgate(&["diff", &old, &bad]);
    assert_eq!((run.code, &*run.out), (1, ""), "{run:?}");
    assert!(run.err.contains("bad.toml:1:10: error: "), "{run:?}");
    let run = northgate(&["diff", "/nonexistent.toml", &old]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("cannot read /nonexistent.toml"), "{run:?}");
}
