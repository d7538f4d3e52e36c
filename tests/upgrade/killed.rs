//! `kill -9` of the new process at each step. The old one serves on, or serves again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::running::{DEADLINE, get, until};
use crate::service::{Service, lives, post, signal};

/// Scripts can be executed only outside of the sandbox.
fn service(origin: &TcpListener) -> Service {
    let origin = origin.local_addr().unwrap();
    Service::start(&format!(
        r#"
[gateway]
sandbox = "off"
access_log = "off"
shutdown_grace = "60s"

[admin]
bind = "127.0.0.1:0"

[listeners.public]
bind = "127.0.0.1:0"

[upstreams.live]
endpoints = ["{origin}"]

[routes.ping]
match = {{ path = "/ping" }}
respond = {{ body = "pong" }}

[routes.live]
match = {{ path = "/live" }}
upstream = "live"
"#
    ))
}

fn origin() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A response that goes on for as long as both ends are held.
fn stream(service: &Service, origin: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(&service.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
        .write_all(b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    let (mut source, _) = origin.accept().unwrap();
    source.set_read_timeout(Some(DEADLINE)).unwrap();
    read_until(&mut source, b"\r\n\r\n");
    let head =
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
    source.write_all(head).unwrap();
    read_until(&mut client, b"one\r\n");
    (client, source)
}

fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end) {
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
}

#[test]
fn killed_as_soon_as_it_has_started() {
    let origin = origin();
    let mut service = service(&origin);
    let admin = service.admin.clone();
    // It stops before it is a gateway at all.
    service.replace_program("kill -STOP $$");
    let upgrading = thread::spawn(move || post(&admin, "/upgrade"));
    let pid = service.await_start();
    service.assert_serves();
    signal(pid, "KILL");
    let outcome = upgrading.join().unwrap();
    assert_eq!(outcome.status, 422, "{outcome:?}");
    assert!(outcome.problems.contains("SIGKILL"), "{outcome:?}");
    service.assert_serves();
    service.restore_program();
    service.upgraded();
    service.assert_serves();
}

/// Whatever it is doing, and whether it serves already or not.
#[test]
fn killed_at_any_moment() {
    let origin = origin();
    let mut service = service(&origin);
    let (mut client, mut source) = stream(&service, &origin);
    let mut served = 0;
    for step in 0..12 {
        let admin = service.admin.clone();
        let upgrading = thread::spawn(move || post(&admin, "/upgrade"));
        let pid = service.await_start();
        thread::sleep(Duration::from_millis(30 * step));
        signal(pid, "KILL");
        let outcome = upgrading.join().unwrap();
        if outcome.status == 200 {
            service.first.await_line("taking over again");
            served += 1;
        } else {
            assert!(outcome.problems.contains("SIGKILL"), "{outcome:?}");
        }
        service.assert_serves();
    }
    eprintln!("{served} of 12 were killed after they had taken over");
    source.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    read_until(&mut client, b"two\r\n0\r\n\r\n");
}

#[test]
fn killed_when_it_is_ready() {
    let origin = origin();
    let mut service = service(&origin);
    let (mut client, mut source) = stream(&service, &origin);
    // Says that it is ready, and is gone before or after it is told to serve.
    service.replace_program("printf '\"ready\"' >&0; kill -KILL $$");
    let outcome = post(&service.admin, "/upgrade");
    match outcome.status {
        200 => drop(service.first.await_line("taking over again")),
        _ => {
            let said = ["cannot be told to serve", "SIGKILL"];
            let is_said = said.iter().any(|said| outcome.problems.contains(said));
            assert!(is_said, "{outcome:?}");
        }
    }
    service.assert_serves();
    source.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    read_until(&mut client, b"two\r\n0\r\n\r\n");
}

/// There is nobody else then.
#[test]
fn the_new_one_serves_when_the_old_one_is_killed() {
    let origin = origin();
    let mut service = service(&origin);
    std::fs::rename(service.program(), service.folder.path().join("real")).unwrap();
    service.replace_program(
        "cd $(dirname $0); while [ ! -e go ]; do sleep 0.01; done; exec ./real \"$@\"",
    );
    service.first.signal("USR2");
    let pid = service.await_start();
    service.first.await_line("sockets are passed");
    service.first.signal("KILL");
    assert_eq!(service.first.exit_code_of_itself(), None);
    std::fs::write(service.folder.path().join("go"), "").unwrap();
    service.assert_serves();
    assert!(lives(pid));
}

#[test]
fn killed_while_the_old_one_drains() {
    let origin = origin();
    let mut service = service(&origin);
    let (mut client, mut source) = stream(&service, &origin);
    let pid = service.upgraded();
    service.first.await_line("draining");
    service.assert_serves();
    signal(pid, "KILL");
    service.first.await_line("taking over again");
    service.assert_serves();
    until(|| get(&service.admin, "/readyz").ends_with("ready\n"));
    assert_eq!(service.count("taken_back"), 1);
    // The stream has noticed nothing of all this.
    source.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    read_until(&mut client, b"two\r\n0\r\n\r\n");
    // And what follows is an upgrade like any other.
    let (mut client, mut source) = stream(&service, &origin);
    service.upgraded();
    service.assert_serves();
    source.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    read_until(&mut client, b"two\r\n0\r\n\r\n");
    assert_eq!(service.first.exit_code_of_itself(), Some(0));
    service.assert_serves();
}
