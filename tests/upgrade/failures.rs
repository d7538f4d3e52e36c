//! Upgrades that come to nothing: the running process serves on, and says why.

use std::thread;

use crate::program::northgate;
use crate::running::until;
use crate::service::{Service, lives, post};

/// Scripts can be executed only outside of the sandbox.
const PING: &str = r#"
[gateway]
sandbox = "off"
access_log = "off"
upgrade_timeout = "$limit"

[admin]
bind = "127.0.0.1:0"

[listeners.public]
bind = "127.0.0.1:0"

[routes.ping]
match = { path = "/ping" }
respond = { body = "pong" }
"#;

fn service(limit: &str) -> Service {
    Service::start(&PING.replace("$limit", limit))
}

/// Upgrades, and asserts that this was said of it and nothing else has changed.
#[track_caller]
fn assert_fails(service: &mut Service, said: &str) {
    let before = service.count("failed");
    let outcome = service.upgrade();
    assert_eq!(outcome.status, 422, "{outcome:?}");
    assert!(outcome.problems.contains(said), "{outcome:?}");
    assert_eq!(outcome.notes, "the upgrade has failed");
    service.first.await_line("this process serves on");
    assert_eq!(service.count("failed"), before + 1);
    service.assert_serves();
}

#[test]
fn what_does_not_start_changes_nothing() {
    let mut service = service("20s");
    std::fs::remove_file(service.program()).unwrap();
    assert_fails(&mut service, "No such file or directory");
    service.replace_program("echo 'cannot find libmagic.so' >&2; exit 127");
    assert_fails(
        &mut service,
        "the new process ended (exit status: 127); its last words:\ncannot find libmagic.so",
    );
    service.replace_program("kill -SEGV $$");
    assert_fails(&mut service, "signal: 11 (SIGSEGV)");
    std::fs::write(service.program(), "no program").unwrap();
    assert_fails(&mut service, "cannot start ");
    // After all of these it still can be upgraded.
    service.restore_program();
    service.upgraded();
    service.assert_serves();
}

#[test]
fn a_configuration_with_errors_changes_nothing() {
    let mut service = service("20s");
    let path = service.folder.path().join("gateway.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    service.write_config(&good.replace("[routes.ping]", "[routes.ping]\nmethod = 1"));
    assert_fails(&mut service, "unknown key \"method\"");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    service.write_config(&format!("{good}\n[listeners.more]\nbind = \"{address}\"\n"));
    assert_fails(&mut service, "listener more: cannot bind");
    service.write_config("");
    assert_fails(&mut service, "there is no listener");
    service.write_config(&good);
    service.upgraded();
    service.assert_serves();
}

#[test]
fn what_never_becomes_ready_is_ended() {
    let mut service = service("300ms");
    service.replace_program("echo $$ >$(dirname $0)/pid; exec sleep 1000");
    assert_fails(
        &mut service,
        "the new process was not ready within 300ms, and was ended",
    );
    let pid = std::fs::read_to_string(service.folder.path().join("pid")).unwrap();
    assert!(!lives(pid.trim().parse().unwrap()));
}

#[test]
fn one_thing_at_a_time() {
    let mut service = service("60s");
    let wait = "while [ ! -e $(dirname $0)/go ]; do sleep 0.01; done; exit 1";
    service.replace_program(wait);
    let admin = service.admin.clone();
    let first = thread::spawn(move || post(&admin, "/upgrade"));
    let pid = service.await_start();
    for path in ["/upgrade", "/reload"] {
        let second = post(&service.admin, path);
        assert_eq!(second.status, 422, "{second:?}");
        assert_eq!(second.notes, "an upgrade is under way");
    }
    service.assert_serves();
    std::fs::write(service.folder.path().join("go"), "").unwrap();
    let first = first.join().unwrap();
    assert!(first.problems.contains("exit status: 1"), "{first:?}");
    assert!(!lives(pid));
}

#[test]
fn who_is_told_to_end_takes_what_it_has_started_along() {
    let mut service = service("60s");
    service.replace_program("exec sleep 1000");
    service.first.signal("USR2");
    let pid = service.await_start();
    service.first.terminate();
    service.first.await_line("drained");
    until(|| !lives(pid));
    assert_eq!(service.first.exit_code(), Some(0));
}

#[test]
fn the_command_says_what_has_become_of_it() {
    let mut service = service("20s");
    let admin = service.admin.clone();
    let upgrade = || northgate(&["upgrade", "--admin", &admin]);
    service.replace_program("echo 'out of luck' >&2; exit 3");
    let failed = upgrade();
    assert_eq!((failed.code, &*failed.out), (1, ""));
    assert!(failed.err.contains("out of luck\n"), "{}", failed.err);
    assert!(
        failed.err.contains("what served before serves on"),
        "{}",
        failed.err
    );
    service.restore_program();
    let done = upgrade();
    assert_eq!((done.code, &*done.out), (0, "upgraded\n"), "{}", done.err);
    assert!(done.err.contains("note: process "), "{}", done.err);
    // The start that failed is in the log as well.
    service.await_start();
    service.await_start();
    assert_eq!(service.first.exit_code_of_itself(), Some(0));
    service.assert_serves();
}
