//! What one process purges of the cache is purged for the one beside it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::running::{DEADLINE, until};
use crate::service::{Service, lives, post, signal};

/// An origin with one resource, whose version each POST makes another; what `/slow` is asked for takes its time.
struct Shop {
    address: String,
    version: Arc<AtomicUsize>,
    /// Requests to `/slow` that have come, and may be answered.
    slow: Arc<[AtomicUsize; 2]>,
}

impl Shop {
    fn open() -> Shop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shop = Shop {
            address: listener.local_addr().unwrap().to_string(),
            version: Arc::default(),
            slow: Arc::default(),
        };
        let (version, slow) = (shop.version.clone(), shop.slow.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (version, slow) = (version.clone(), slow.clone());
                thread::spawn(move || serve(stream, &version, &slow));
            }
        });
        shop
    }

    fn wait_for_slow(&self) {
        until(|| self.slow[0].load(Ordering::SeqCst) > 0);
    }

    fn let_slow_go(&self) {
        self.slow[1].store(1, Ordering::SeqCst);
    }
}

fn serve(mut stream: TcpStream, version: &AtomicUsize, slow: &[AtomicUsize; 2]) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => read.push(byte[0]),
            _ => return,
        }
    }
    let is_write = read.starts_with(b"POST");
    if is_write {
        version.fetch_add(1, Ordering::SeqCst);
    }
    if is_write && String::from_utf8_lossy(&read).contains("slow: ") {
        slow[0].fetch_add(1, Ordering::SeqCst);
        until(|| slow[1].load(Ordering::SeqCst) > 0);
    }
    let body = format!("version {}", version.load(Ordering::SeqCst));
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: max-age=600\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

fn service(shop: &Shop, disk: &str) -> Service {
    Service::start(&format!(
        r#"
[gateway]
sandbox = "off"
access_log = "off"
shutdown_grace = "60s"
state_dir = "$folder/state"

[cache]
memory = "16MiB"
{disk}

[admin]
bind = "127.0.0.1:0"

[listeners.public]
bind = "127.0.0.1:0"

[upstreams.shop]
endpoints = ["{}"]

[routes.ping]
match = {{ path = "/ping" }}
respond = {{ body = "pong" }}

[routes.shop]
match = {{ path = "/shop" }}
upstream = "shop"
policies.cache = {{ purge = "true" }}
"#,
        shop.address
    ))
}

const DISKS: [&str; 2] = ["", "disk = { path = \"responses\", size = \"16MiB\" }"];

fn exchange(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let ask = format!("{head}\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn assert_version(service: &Service, expected: usize) {
    let answer = exchange(&service.address, "GET /shop HTTP/1.1");
    assert!(
        answer.ends_with(&format!("version {expected}")),
        "{expected}: {answer}"
    );
}

#[test]
fn what_ends_while_the_old_one_drains_is_changed_for_the_new_one() {
    for disk in DISKS {
        let shop = Shop::open();
        let mut service = service(&shop, disk);
        let address = service.address.clone();
        let head = "POST /shop HTTP/1.1\r\nslow: yes\r\ncontent-length: 0";
        let writing = thread::spawn(move || exchange(&address, head));
        shop.wait_for_slow();
        // Its version counts from here on for whoever writes; the new process keeps what it gets meanwhile.
        shop.version.store(7, Ordering::SeqCst);
        service.upgraded();
        // The old one may take a connection in the first moment.
        thread::sleep(Duration::from_millis(500));
        assert_version(&service, 7);
        shop.version.store(8, Ordering::SeqCst);
        assert_version(&service, 7);
        shop.let_slow_go();
        assert!(writing.join().unwrap().starts_with("HTTP/1.1 200"));
        // It is told, which takes a moment.
        until(|| exchange(&service.address, "GET /shop HTTP/1.1").ends_with("version 8"));
    }
}

#[test]
fn what_the_new_one_has_purged_is_not_served_by_the_old_one_when_that_takes_over_again() {
    for disk in DISKS {
        let shop = Shop::open();
        let mut service = service(&shop, disk);
        assert_version(&service, 0);
        // What holds the old process: a request that does not end.
        let address = service.address.clone();
        let head = "POST /shop HTTP/1.1\r\nslow: yes\r\ncontent-length: 0";
        let writing = thread::spawn(move || exchange(&address, head));
        shop.wait_for_slow();
        let pid = service.upgraded();
        // The old one, which may still take a connection, says that the other is told (202). That one has the disk in a moment, and
        // says that it is purged only then.
        until(|| {
            let purged = exchange(&service.address, "PURGE /shop HTTP/1.1");
            let [is_old, is_new] =
                ["202", "204"].map(|it| purged.starts_with(&format!("HTTP/1.1 {it}")));
            assert!(is_old || is_new, "{disk}: {purged}");
            is_new
        });
        shop.version.store(9, Ordering::SeqCst);
        signal(pid, "KILL");
        until(|| !lives(pid));
        until(|| service.count("taken_back") == 1);
        assert_version(&service, 9);
        assert_version(&service, 9);
        shop.let_slow_go();
        writing.join().unwrap();
        thread::sleep(Duration::from_millis(100));
        drop(post(&service.admin, "/reload"));
    }
}
