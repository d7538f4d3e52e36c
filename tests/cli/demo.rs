//! `northgate demo`: every line that it prints for trying it works as it is printed.
//!
//! The demo has ports of its own, so it runs in a network namespace where nobody else has them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::thread;

use super::program::program;
use super::running::Running;

/// What of each line in order: something that it has, and something of its answer.
const LINES: [(&str, &str); 22] = [
    ("/ping ", "HTTP/1.1 200"),
    ("/products?per_page=3", "\"id\":3"),
    ("-s  http://127.0.0.1:8080/products/7", "\"id\":7"),
    ("8080/users/7", "\"id\":7"),
    ("https://127.0.0.1:8443/users/7", "\"id\":7"),
    ("/echo/hello", "x-forwarded-for"),
    ("/orders/events", "data:"),
    ("/order/7", "HTTP/1.1 308"),
    ("-X DELETE", "HTTP/1.1 405"),
    ("/nowhere", "\"code\":\"route_not_found\""),
    ("/orders/7", "\"code\":\"unauthenticated\""),
    ("/orders/7 -H", "x-api-version: v1"),
    ("/payments", "HTTP/1.1 201"),
    ("/support/payments/7", "\"code\":\"access_denied\""),
    ("--role support", "\"id\":7"),
    ("-s  http://127.0.0.1:8080/api/home", "\"promotions\":[{"),
    ("/_demo/fail", ""),
    ("-i  http://127.0.0.1:8080/products/7", "HTTP/1.1 503"),
    ("-i  http://127.0.0.1:8080/api/home", "\"degraded\":true"),
    ("9900/upstreams", "products"),
    ("9900/metrics", "northgate_"),
    (" explain ", "get-order"),
];

/// What the demo does not print, since it does not work; or works all the same.
const OTHERS: [(&str, &str); 4] = [
    (
        "curl -si -X POST http://127.0.0.1:8080/payments -d '{}'",
        "HTTP/1.1 401",
    ),
    (
        "curl -si -X POST http://127.0.0.1:8080/payments -d '{}' -H 'x-api-key: ng_nobody_0000'",
        "\"code\":\"credential_refused\"",
    ),
    (
        "curl -si http://127.0.0.1:8080/orders/7 -H 'authorization: Bearer x.y.z'",
        "\"code\":\"credential_refused\"",
    ),
    (
        "curl -si http://127.0.0.1:8080/products/7 -H 'authorization: Bearer x.y.z'",
        "\"id\":7",
    ),
];

#[test]
fn every_line_that_it_prints_works() {
    let home = tempfile::tempdir().expect("a folder");
    let mut demo = program();
    in_a_network(&mut demo, home.path());
    let (demo, out) = Running::spawn_with_output(demo);
    let lines = lines(out);
    assert_eq!(lines.len(), LINES.len(), "{lines:#?}");
    for (line, answer) in OTHERS {
        let said = run(line, demo.id(), home.path());
        assert!(said.contains(answer), "{line}\n{said}");
    }
    for (line, (part, answer)) in lines.iter().zip(LINES) {
        assert!(line.contains(part), "{line}");
        let said = run(line, demo.id(), home.path());
        assert!(said.contains(answer), "{line}\n{said}");
    }
    demo.terminate();
}

/// As `northgate demo` in a network that has nothing but itself.
fn in_a_network(command: &mut Command, home: &Path) {
    let name = command.get_program().to_owned();
    *command = Command::new("unshare");
    command
        .args(["--net", "--map-root-user", "sh", "-c"])
        .args(["ip link set lo up && exec \"$0\" demo"])
        .arg(name)
        .env_remove("XDG_STATE_HOME")
        .env("HOME", home);
}

/// The commands that the demo prints. What it prints after that is read away.
fn lines(out: ChildStdout) -> Vec<String> {
    let mut out = BufReader::new(out);
    let mut found: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        assert!(
            out.read_line(&mut line).expect("text") > 0,
            "it has ended: {found:?}"
        );
        if line.contains("Ctrl-C ends it") {
            thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
            return found;
        }
        let Some(command) = line.strip_prefix("    ") else {
            continue;
        };
        match found.last_mut().filter(|last| last.ends_with("\\\n")) {
            Some(last) => last.push_str(command),
            None => found.push(command.to_owned()),
        }
    }
}

/// What a line says, beside the demo. A stream goes on, so no more of it is waited for than there is at once.
fn run(line: &str, demo: u32, home: &Path) -> String {
    let mut child = Command::new("nsenter")
        .args([
            "--net",
            "--user",
            "--preserve-credentials",
            "--target",
            &demo.to_string(),
        ])
        .args(["sh", "-c", &line.replace("curl ", "curl --max-time 60 ")])
        .env_remove("XDG_STATE_HOME")
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = child.stdout.take().expect("it is a pipe");
    let mut said = Vec::new();
    let is_stream = line.contains("curl -sN");
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = out.read(&mut part) {
        said.extend_from_slice(&part[..length]);
        if is_stream {
            let _ = child.kill();
            break;
        }
    }
    let status = child.wait().expect("it was started");
    assert!(status.success() || is_stream, "{line}: {status}");
    String::from_utf8_lossy(&said).into_owned()
}
