//! `northgate run`, from its start to its end.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::program::{golden, northgate};
use super::running::{DEADLINE, Running, get};

const PING: &str = r#"
[listeners.public]
bind = "127.0.0.1:0"

[routes.ping]
match = { path = "/ping" }
respond = { body = "pong" }
"#;

#[test]
fn refuses_a_bad_file() {
    let run = northgate(&["run", "-c", "tests/config/reject/route-unknown-key.toml"]);
    assert_eq!(run.code, 1);
    assert_eq!(run.out, "");
    assert_eq!(run.err, golden("tests/config/reject/route-unknown-key.out"));
}

#[test]
fn serves_and_ends_on_sigterm() {
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
fn lets_requests_in_flight_end() {
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
fn ends_with_its_grace() {
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
fn says_when_an_address_is_taken() {
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
