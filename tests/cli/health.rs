//! `northgate health`

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::program::northgate;
use super::running::Running;

#[test]
fn it_tells_whether_the_gateway_is_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let admin = format!("unix:{}", folder.path().join("admin.sock").display());
    let config = format!(
        "[admin]\nbind = '{admin}'\n[listeners.public]\nbind = '127.0.0.1:0'\n[routes.a]\nmatch.path = '/'\nrespond.status = 204"
    );
    let path = folder.path().join("northgate.toml").display().to_string();
    std::fs::write(&path, &config).expect("the configuration is written");
    let ask = || northgate(&["health", "--admin", &admin, "-c", "/no/configuration"]);
    let absent = ask();
    assert_eq!(absent.code, 1);
    assert!(absent.err.contains("No such file"), "{absent:?}");

    let mut gateway = Running::start(&config);
    gateway.serving("public");
    let ready = ask();
    assert_eq!((ready.code, ready.err.as_str()), (0, ""));
    let found = northgate(&["health", "-c", &path]);
    assert_eq!((found.code, found.err.as_str()), (0, ""));
}

#[test]
fn what_is_not_ready_is_not() {
    let draining = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = draining.local_addr().expect("it is bound").to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = draining.accept().expect("it asks");
        let mut request = [0; 512];
        let length = stream.read(&mut request).expect("it asks");
        assert!(request[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
        stream
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
            .expect("it reads");
    });
    let run = northgate(&["health", "--admin", &address]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("503"), "{run:?}");
    answering.join().expect("it was asked");
}

#[test]
fn an_address_is_one_of_the_configuration() {
    assert_eq!(northgate(&["health", "--admin", "nonsense"]).code, 2);
}
