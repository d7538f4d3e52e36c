//! What the service manager is told. Its place is taken by a socket of the test.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use crate::running::DEADLINE;
use crate::service::{Service, lives};

const PING: &str = r#"
[gateway]
access_log = "off"
shutdown_grace = "$grace"

[admin]
bind = "127.0.0.1:0"

[listeners.public]
bind = "127.0.0.1:0"

[routes.ping]
match = { path = "/ping" }
respond = { body = "pong" }
"#;

struct Systemd {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Systemd {
    fn new() -> Systemd {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Systemd { socket, folder }
    }

    fn service(&self, grace: &str, watchdog: Option<&str>) -> Service {
        let path = self.folder.path().join("notify");
        Service::start_with(&PING.replace("$grace", grace), |command| {
            command.env("NOTIFY_SOCKET", path);
            if let Some(micros) = watchdog {
                command.env("WATCHDOG_USEC", micros);
            }
        })
    }

    /// The next message that has such a line, which is to come soon.
    fn hears(&self, line: &str) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut heard = Vec::new();
        while Instant::now() < deadline {
            let mut bytes = [0; 4096];
            // What is beside a message is closed with it.
            let count = self.socket.recv(&mut bytes).expect("a message");
            let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            if lines.iter().any(|it| it.starts_with(line)) {
                return lines;
            }
            heard.push(text);
        }
        panic!("no {line} in {heard:?}");
    }
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|it| it == line)
}

#[test]
fn it_is_told_what_the_gateway_does() {
    let systemd = Systemd::new();
    let mut service = systemd.service("20s", None);
    let ready = systemd.hears("READY=1");
    assert!(
        has(&ready, "STATUS=serving on 1 listener, 1 route"),
        "{ready:?}"
    );
    service.first.signal("HUP");
    let reloading = systemd.hears("RELOADING=1");
    let clock = reloading
        .iter()
        .find_map(|it| it.strip_prefix("MONOTONIC_USEC="));
    assert!(clock.unwrap().parse::<u64>().unwrap() > 0, "{reloading:?}");
    let ready = systemd.hears("READY=1");
    assert!(
        has(&ready, "STATUS=serving on 1 listener, 1 route"),
        "{ready:?}"
    );
    // One that holds it open.
    let idle = std::net::TcpStream::connect(&service.address).unwrap();
    service.first.terminate();
    let stopping = systemd.hears("STOPPING=1");
    assert!(
        has(&stopping, "EXTEND_TIMEOUT_USEC=10000000"),
        "{stopping:?}"
    );
    assert!(
        stopping
            .iter()
            .any(|it| it.starts_with("STATUS=draining, ")),
        "{stopping:?}"
    );
    assert_eq!(service.first.exit_code(), Some(0));
    drop(idle);
}

/// It would be ended in the middle of a drain that takes longer than the unit says.
#[test]
fn a_long_drain_asks_for_more_time() {
    let systemd = Systemd::new();
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let path = systemd.folder.path().join("notify");
    let upstream = format!(
        "[upstreams.slow]\nendpoints = [\"{}\"]\n[routes.slow]\nmatch = {{ path = \"/slow\" }}\nupstream = \"slow\"\n",
        origin.local_addr().unwrap()
    );
    let toml = PING.replace("$grace", "7s") + &upstream;
    let mut service = Service::start_with(&toml, |command| {
        command.env("NOTIFY_SOCKET", path);
    });
    let address = service.address.clone();
    let client = std::thread::spawn(move || crate::running::get(&address, "/slow"));
    let exchange = origin.accept().unwrap();
    service.first.terminate();
    systemd.hears("STOPPING=1");
    let more = [
        systemd.hears("EXTEND_TIMEOUT_USEC="),
        systemd.hears("EXTEND_TIMEOUT_USEC="),
    ];
    assert!(has(&more[1], "STATUS=draining, 1 connection"), "{more:?}");
    assert_eq!(service.first.exit_code(), Some(0));
    assert!(client.join().unwrap().starts_with("HTTP/1.1 503 "));
    drop(exchange);
}

#[test]
fn it_hears_that_the_gateway_is_alive() {
    let systemd = Systemd::new();
    let mut service = systemd.service("20s", Some("400000"));
    let begin = Instant::now();
    for _ in 0..5 {
        systemd.hears("WATCHDOG=1");
    }
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
    // A process that stands still says nothing.
    service.first.signal("STOP");
    let half = std::time::Duration::from_millis(800);
    systemd.socket.set_read_timeout(Some(half)).unwrap();
    let mut bytes = [0; 4096];
    while systemd.socket.recv(&mut bytes).is_ok() {
        assert!(begin.elapsed() < DEADLINE, "it goes on");
    }
    service.first.signal("CONT");
    systemd.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    systemd.hears("WATCHDOG=1");
    // Who takes its place is as alive.
    service.upgraded();
    assert_eq!(service.first.exit_code_of_itself(), Some(0));
    systemd.hears("WATCHDOG=1");
}

#[test]
fn it_follows_an_upgrade_to_the_process_that_serves() {
    let systemd = Systemd::new();
    let mut service = systemd.service("20s", None);
    systemd.hears("READY=1");
    let idle = std::net::TcpStream::connect(&service.address).unwrap();
    let pid = service.upgraded();
    systemd.hears(&format!("STATUS=process {pid} serves; this one drains"));
    let again = service.upgrade();
    assert_eq!(again.status, 422, "{again:?}");
    assert!(again.notes.contains("still drains"), "{again:?}");
    // Until there is nothing left to do for it, the old one is the one that is listened to.
    drop(idle);
    let main = systemd.hears("MAINPID=");
    assert!(has(&main, &format!("MAINPID={pid}")), "{main:?}");
    assert!(
        lives(service.first.id()),
        "it waits until that has been read"
    );
    systemd.hears("BARRIER=1");
    assert_eq!(service.first.exit_code_of_itself(), Some(0));
    let ready = systemd.hears("READY=1");
    assert!(
        has(&ready, "STATUS=serving on 1 listener, 1 route"),
        "{ready:?}"
    );
    service.assert_serves();
}

/// An upgrade that fails is no news for it.
#[test]
fn the_main_process_stays_where_an_upgrade_fails() {
    let systemd = Systemd::new();
    let mut service = systemd.service("20s", None);
    systemd.hears("READY=1");
    std::fs::remove_file(service.program()).unwrap();
    assert_eq!(service.upgrade().status, 422);
    service.first.terminate();
    let next = systemd.hears("");
    assert!(has(&next, "STOPPING=1"), "{next:?}");
}
