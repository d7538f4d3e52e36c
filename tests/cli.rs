//! The program as its users meet it: the real binary, its exit codes and what it prints.
//!
//! What `explain` says is pinned in `tests/cli/explain/NAME.out`; `NORTHGATE_BLESS=1 cargo test --test cli` writes
//! these anew.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// For everything that must happen; far longer than it takes.
const DEADLINE: Duration = Duration::from_secs(20);

const PING: &str = r#"
[listeners.public]
bind = "127.0.0.1:0"

[routes.ping]
match = { path = "/ping" }
respond = { body = "pong" }
"#;

// --- check ---------------------------------------------------------------------------------------------------

#[test]
fn check_passes_a_good_file() {
    let run = northgate(&["check", "-c", "conf/shop.toml"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.out, "");
    assert!(run.err.starts_with("ok: 2 listeners, "), "{run:?}");
}

#[test]
fn check_prints_errors_and_fails() {
    let run = northgate(&["check", "-c", "tests/config/reject/route-unknown-key.toml"]);
    assert_eq!(run.code, 1);
    assert_eq!(run.err, golden("tests/config/reject/route-unknown-key.out"));
}

#[test]
fn check_fails_on_warnings_only_when_strict() {
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
fn check_speaks_json() {
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
fn check_of_a_file_that_is_not_there() {
    let run = northgate(&["check", "-c", "no/such/northgate.toml"]);
    assert_eq!(run.code, 1);
    assert!(
        run.err
            .starts_with("error: cannot read no/such/northgate.toml: "),
        "{run:?}"
    );
}

#[test]
fn check_reads_a_folder() {
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

// --- schema and errors ---------------------------------------------------------------------------------------

#[test]
fn the_schema_takes_what_the_program_takes() {
    let validator = schema();
    let mut count = 0;
    let mut refused = String::new();
    let folders = [
        "conf",
        "tests/config/accept",
        "tests/config/accept/include",
        "tests/config/accept/folder",
    ];
    for path in folders.into_iter().flat_map(toml_files) {
        let document = toml(&path);
        for error in validator.iter_errors(&document) {
            refused += &format!("{}: {}: {error}\n", path.display(), error.instance_path());
        }
        count += 1;
    }
    assert!(count > 30, "{count} files");
    assert!(refused.is_empty(), "\n{refused}");
}

/// What is wrong by its shape alone an editor can underline; names and files it cannot know.
#[test]
fn the_schema_refuses_what_has_a_wrong_shape() {
    let validator = schema();
    let mut taken = Vec::new();
    for name in [
        "admin-missing-bind",
        "gateway-access-log-format",
        "gateway-policy-unknown",
        "gateway-unknown-key",
        "gateway-workers-zero",
        "include-not-an-array",
        "listener-limits-unknown-key",
        "listener-protocol-unknown",
        "listener-timeouts-unit",
        "listener-tls-key-string",
        "listener-tls-min-version",
        "policy-on",
        "policy-unknown-key",
        "route-header-condition-unknown",
        "route-match-unknown-key",
        "route-method-lowercase",
        "route-missing-match",
        "section-array",
        "section-unknown",
        "upstream-balance-unknown",
        "upstream-endpoint-unknown-key",
        "upstream-endpoint-weight-zero",
        "upstream-missing-endpoints",
        "upstream-protocol-unknown",
    ] {
        let path = PathBuf::from(format!("tests/config/reject/{name}.toml"));
        if validator.is_valid(&toml(&path)) {
            taken.push(name);
        }
    }
    assert!(taken.is_empty(), "{taken:?}");
}

fn schema() -> jsonschema::Validator {
    let run = northgate(&["schema"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let schema = json(&run.out);
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).expect("it is a schema")
}

#[test]
fn errors_prints_the_index() {
    let run = northgate(&["errors"]);
    assert_eq!(run.code, 0);
    assert_eq!(run.out, golden("src/response/errors.md"));
}

// --- explain -------------------------------------------------------------------------------------------------

#[test]
fn explain_tells_captures_and_policies() {
    let shop = "conf/shop.toml";
    explain(
        "captures-and-policies",
        shop,
        0,
        &["GET", "http://127.0.0.1:8080/orders/7?x=1"],
    );
    explain(
        "more-specific-wins",
        shop,
        0,
        &["GET", "https://localhost:8443/orders/events"],
    );
    explain("rest", shop, 0, &["POST", "/echo/a/b"]);
    explain("redirect", shop, 0, &["GET", "/order/7"]);
    explain("respond", shop, 0, &["HEAD", "/ping"]);
}

#[test]
fn explain_tells_why_there_is_no_route() {
    let shop = "conf/shop.toml";
    explain(
        "method-not-allowed",
        shop,
        1,
        &["DELETE", "http://127.0.0.1:8080/products/7"],
    );
    explain("not-found", shop, 1, &["GET", "/nowhere"]);
}

#[test]
fn explain_tells_of_conditions() {
    let file = "tests/cli/explain.toml";
    explain(
        "header-is-there",
        file,
        0,
        &["GET", "/orders", "-H", "X-Version: 2"],
    );
    explain(
        "header-is-another",
        file,
        0,
        &["GET", "/orders", "-H", "x-version: 3"],
    );
    explain("header-is-absent", file, 0, &["GET", "/orders"]);
    explain("query-and-policies-off", file, 0, &["GET", "/orders?q=tea"]);
    explain(
        "host-from-url",
        file,
        0,
        &["GET", "http://acme.example.com/orders/7/lines/3"],
    );
    explain(
        "host-from-header",
        file,
        0,
        &["GET", "/orders/7/", "-H", "host: acme.example.com"],
    );
    explain("query-is-another", file, 1, &["GET", "/filter?v=2&v=a%20b"]);
    explain("method-is-another", file, 1, &["DELETE", "/orders"]);
    explain(
        "host-is-another",
        file,
        1,
        &["GET", "http://example.com/orders/7/lines"],
    );
}

#[test]
fn explain_chooses_the_listener() {
    let file = "tests/cli/explain.toml";
    explain(
        "listener-by-scheme",
        file,
        0,
        &["GET", "https://localhost/secret"],
    );
    explain(
        "listener-without-the-route",
        file,
        1,
        &["GET", "http://localhost/secret"],
    );
    explain(
        "listener-by-name",
        file,
        0,
        &["GET", "/secret", "--listener", "secure"],
    );
    let unknown = northgate(&["explain", "-c", file, "GET", "/", "--listener", "none"]);
    assert_eq!(unknown.code, 1);
    assert_eq!(unknown.err, "error: there is no listener \"none\"\n");
}

#[test]
fn explain_of_what_cannot_be_explained() {
    let bad = northgate(&[
        "explain",
        "-c",
        "tests/config/reject/no-listener.toml",
        "GET",
        "/",
    ]);
    assert_eq!(bad.code, 1);
    assert_eq!(bad.out, "");
    assert!(bad.err.contains("there is no listener"), "{bad:?}");
    let header = northgate(&[
        "explain",
        "-c",
        "conf/shop.toml",
        "GET",
        "/",
        "-H",
        "no colon",
    ]);
    assert_eq!(header.code, 2);
    assert!(
        header.err.contains("write it as `name: value`"),
        "{header:?}"
    );
}

fn explain(name: &str, config: &str, code: i32, request: &[&str]) {
    let run = northgate(&[&["explain", "-c", config], request].concat());
    assert_eq!(run.code, code, "{name}: {run:?}");
    let pinned = format!("tests/cli/explain/{name}.out");
    if std::env::var_os("NORTHGATE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&pinned, &run.out).expect("golden files can be written");
    }
    assert_eq!(run.out, golden(&pinned), "{pinned}");
}

// --- usage ---------------------------------------------------------------------------------------------------

#[test]
fn mistakes_of_usage_exit_with_2() {
    for arguments in [
        &["chekc"][..],
        &[],
        &["check", "--no-such-flag"],
        &["explain", "-c", "conf/shop.toml", "GET"],
    ] {
        let run = northgate(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(run.err.contains("Usage:"), "{arguments:?}: {run:?}");
    }
    let near = northgate(&["chekc"]);
    assert!(near.err.contains("'check'"), "{near:?}");
}

#[test]
fn help_and_version_exit_with_0() {
    let version = northgate(&["--version"]);
    assert_eq!(version.code, 0);
    assert_eq!(
        version.out,
        format!("northgate {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = northgate(&["--help"]);
    assert_eq!(help.code, 0);
    for command in ["run", "check", "explain", "schema", "errors", "demo"] {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{}",
            help.out
        );
    }
}

// --- run -----------------------------------------------------------------------------------------------------

#[test]
fn run_refuses_a_bad_file() {
    let run = northgate(&["run", "-c", "tests/config/reject/route-unknown-key.toml"]);
    assert_eq!(run.code, 1);
    assert_eq!(run.out, "");
    assert_eq!(run.err, golden("tests/config/reject/route-unknown-key.out"));
}

#[test]
fn run_serves_and_ends_on_sigterm() {
    let mut gateway = Running::start(PING);
    let address = gateway.serving("public");
    let response = get(&address, "/ping");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.ends_with("\r\n\r\npong"), "{response}");
    gateway.terminate();
    assert_eq!(gateway.exit_code(), Some(0));
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn run_lets_requests_in_flight_end() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut gateway = Running::start(&slow_shop(&origin, "20s"));
    let address = gateway.serving("public");
    let client = thread::spawn(move || get(&address, "/slow"));
    let mut exchange = accept_request(&origin);
    gateway.terminate();
    gateway.await_line("draining");
    exchange
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate")
        .expect("the gateway still reads");
    let response = client.join().expect("the client got an answer");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.ends_with("late"), "{response}");
    assert_eq!(gateway.exit_code(), Some(0));
}

#[test]
fn run_ends_with_its_grace() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut gateway = Running::start(&slow_shop(&origin, "50ms"));
    let address = gateway.serving("public");
    let client = thread::spawn(move || get(&address, "/slow"));
    let exchange = accept_request(&origin);
    gateway.terminate();
    gateway.await_line("the grace is over");
    assert_eq!(gateway.exit_code(), Some(0));
    client.join().expect("the connection was cut");
    drop(exchange);
}

/// A gateway whose one upstream is the given socket.
fn slow_shop(origin: &TcpListener, grace: &str) -> String {
    let port = origin.local_addr().expect("it is bound").port();
    format!(
        r#"
[gateway]
shutdown_grace = "{grace}"

[listeners.public]
bind = "127.0.0.1:0"

[upstreams.slow]
endpoints = ["127.0.0.1:{port}"]

[routes.slow]
match = {{ path = "/slow" }}
upstream = "slow"
"#
    )
}

/// The origin's side of the next request, once its header is there.
fn accept_request(origin: &TcpListener) -> TcpStream {
    let (stream, _) = origin.accept().expect("the gateway connects");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a deadline is set");
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    while !lines.next().expect("a header").expect("a line").is_empty() {}
    stream
}

#[test]
fn run_says_when_an_address_is_taken() {
    let mut first = Running::start(PING);
    let address = first.serving("public");
    let mut second = Running::start(&PING.replace("127.0.0.1:0", &address));
    let line = second.await_line("cannot bind");
    assert!(
        line.contains(&format!("listener public: cannot bind {address}: ")),
        "{line}"
    );
    assert_eq!(second.exit_code(), Some(1));
    assert!(
        get(&address, "/ping").ends_with("pong"),
        "the first goes on"
    );
}

/// A gateway in a process of its own; it ends with the test.
struct Running {
    child: Child,
    lines: Receiver<String>,
    _config: tempfile::TempDir,
}

impl Running {
    fn start(config: &str) -> Running {
        let folder = tempfile::tempdir().expect("a folder for the configuration");
        let path = folder.path().join("northgate.toml");
        std::fs::write(&path, config).expect("the configuration is written");
        let mut child = program()
            .args(["run", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = child.stderr.take().expect("it is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(log).lines().map_while(Result::ok);
            lines
                .take_while(|line| sender.send(line.clone()).is_ok())
                .count()
        });
        Running {
            child,
            lines,
            _config: folder,
        }
    }

    /// The address of a listener, once it serves.
    fn serving(&mut self, listener: &str) -> String {
        let words = format!("listener {listener}: serving ");
        let line = self.await_line(&words);
        let (_, address) = line.split_once(&words).expect("the line has these words");
        address.trim().to_owned()
    }

    /// The next line of the log that holds this text.
    fn await_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen += &format!("{line}\n"),
                Err(error) => panic!("no line with {text:?} ({error}) after:\n{seen}"),
            }
        }
    }

    fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// Waits for the end, which the end of its log tells. `None` where a signal ended it.
    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
        self.child.wait().expect("it was started").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a connection of its own says to a GET, as far as it says anything.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the gateway accepts");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a deadline is set");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the gateway reads");
    let mut response = Vec::new();
    // A connection that is cut may end in an error; what came until then is the answer.
    let _ = stream.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}

// --- running commands ----------------------------------------------------------------------------------------

#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

/// Runs a command that ends by itself, in the crate's root.
fn northgate(arguments: &[&str]) -> Run {
    let output = program()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    Run {
        code: output.status.code().expect("no signal ended it"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_northgate"));
    command.env_remove("NORTHGATE_LOG");
    command
}

fn golden(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn toml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the file can be read");
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("tests run in the crate's root");
    entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect()
}
