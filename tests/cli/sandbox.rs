//! What a gateway that runs has given up, and that it serves all the same.

use std::fs;
use std::os::unix::net::UnixStream;

use super::program::northgate;
use super::running::{Running, get};

const EVERYTHING: &str = r#"
[gateway]
access_log = { path = "FOLDER/log/access.log" }

[admin]
bind = "unix:FOLDER/run/admin.sock"

[listeners.public]
bind = "127.0.0.1:0"

[upstreams.itself]
endpoints = ["localhost:PORT"]

[routes.ping]
match = { path = "/ping" }
respond = { body = "pong" }

[routes.named]
match = { path = "/named" }
upstream = "itself"
"#;

/// The same field of every thread's status.
fn of_all_threads(gateway: &Running, field: &str) -> Vec<String> {
    let tasks = format!("/proc/{}/task", gateway.id());
    let mut values = Vec::new();
    for task in fs::read_dir(tasks).expect("it runs") {
        let path = task.expect("a thread").path().join("status");
        // A thread of the pool for blocking work may have ended.
        let Ok(status) = fs::read_to_string(path) else {
            continue;
        };
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        values.push(line.expect("the kernel tells").trim().to_owned());
    }
    assert!(values.len() > 1, "{values:?}");
    values.sort();
    values.dedup();
    values
}

#[test]
fn it_serves_without_what_it_does_not_need() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["log", "run"] {
        fs::create_dir(folder.path().join(name)).expect("a folder in it");
    }
    let origin = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = origin.local_addr().expect("it is bound").port();
    let config = EVERYTHING
        .replace("FOLDER", &folder.path().display().to_string())
        .replace("PORT", &port.to_string());
    let mut gateway = Running::start(&config);
    let line = gateway.await_line("sandbox: ");
    for part in ["no core dumps", "no_new_privs", "landlock ", "seccomp"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let address = gateway.serving("public");

    assert_eq!(of_all_threads(&gateway, "Seccomp:"), ["2"]);
    assert_eq!(of_all_threads(&gateway, "NoNewPrivs:"), ["1"]);
    let only_low_ports = 1u64 << 10;
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        for held in of_all_threads(&gateway, set) {
            let held = u64::from_str_radix(&held, 16).expect("a number");
            assert_eq!(held & !only_low_ports, 0, "{set}");
        }
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.id())).expect("limits");
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file"));
    let words: Vec<&str> = cores.expect("a line").split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);

    assert!(get(&address, "/ping").ends_with("pong"));
    let answering = std::thread::spawn(move || answer_once(&origin));
    let response = get(&address, "/named");
    assert!(response.ends_with("by name"), "{response}");
    answering.join().expect("the origin answered");
    let socket = folder.path().join("run/admin.sock");
    UnixStream::connect(&socket).expect("the admin listener is there");
    // Rotated away, the log is made anew, for which its folder has to be open.
    let log = folder.path().join("log/access.log");
    fs::rename(&log, folder.path().join("log/old.log")).expect("it is rotated");
    super::running::until(|| log.exists());
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
}

fn answer_once(origin: &std::net::TcpListener) {
    use std::io::{BufRead, BufReader, Write};
    let (mut stream, _) = origin.accept().expect("the gateway connects");
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    while !lines.next().expect("a header").expect("a line").is_empty() {}
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nby name")
        .expect("the gateway reads");
}

#[test]
fn it_can_be_switched_off() {
    let config = EVERYTHING
        .replace(
            "access_log = { path = \"FOLDER/log/access.log\" }",
            "sandbox = \"off\"",
        )
        .replace("[admin]\nbind = \"unix:FOLDER/run/admin.sock\"", "")
        .replace("PORT", "9");
    let mut gateway = Running::start(&config);
    gateway.await_line("sandbox: off");
    gateway.serving("public");
    assert_eq!(
        of_all_threads(&gateway, "Seccomp:"),
        of_this_process("Seccomp:")
    );
    assert_eq!(
        of_all_threads(&gateway, "NoNewPrivs:"),
        of_this_process("NoNewPrivs:")
    );
    assert_eq!(
        of_all_threads(&gateway, "CapPrm:"),
        of_this_process("CapPrm:")
    );
}

#[test]
fn a_reload_is_told_why_it_cannot_write_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("northgate.toml");
    let [log, prepared] = ["log", "prepared"].map(|name| folder.path().join(name));
    for made in [&log, &prepared, &folder.path().join("run")] {
        fs::create_dir(made).expect("a folder in it");
    }
    let write = |log: &str| {
        let sandbox = format!("sandbox = {{ write = [\"{}\"] }}", prepared.display());
        let config = EVERYTHING
            .replace("FOLDER/log", log)
            .replace("FOLDER", &folder.path().display().to_string())
            .replace("PORT", "9")
            .replace("[gateway]", &format!("[gateway]\n{sandbox}"));
        fs::write(&file, config).expect("it is written");
    };
    write("FOLDER/log");
    let mut gateway = Running::start_at(&file);
    gateway.serving("public");
    let reload = || northgate(&["reload", "-c", file.to_str().expect("it is UTF-8")]);

    fs::create_dir(folder.path().join("elsewhere")).expect("a folder in it");
    write("FOLDER/elsewhere");
    let run = reload();
    assert_eq!(run.code, 1);
    assert!(
        run.err.contains("access log: Permission denied"),
        "{}",
        run.err
    );
    assert!(run.err.contains("see gateway.sandbox"), "{}", run.err);

    write("FOLDER/prepared");
    let run = reload();
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(prepared.join("access.log").exists());
}

fn of_this_process(field: &str) -> [String; 1] {
    let status = fs::read_to_string("/proc/self/status").expect("this runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    [line.expect("the kernel tells").trim().to_owned()]
}
