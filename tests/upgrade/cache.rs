//! What one process purges of the cache is purged for the one beside it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
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
    let target = String::from_utf8_lossy(&read);
    let target = target.split(' ').nth(1).unwrap_or_default();
    let body = match target.starts_with("/noise") {
        true => "n".repeat(40_000),
        false => format!("version {}", version.load(Ordering::SeqCst)),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: max-age=600\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

fn service(shop: &Shop, disk: &str) -> Service {
    service_in(shop, disk, "$folder/state")
}

fn service_in(shop: &Shop, disk: &str, state: &str) -> Service {
    Service::start(&format!(
        r#"
[gateway]
sandbox = "off"
access_log = "off"
shutdown_grace = "60s"
state_dir = "{state}"

[cache]
memory = "1MiB"
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
match = {{ path = "/{{*rest}}" }}
upstream = "shop"
policies.cache = {{ purge = "true" }}
"#,
        shop.address
    ))
}

const DISKS: [&str; 2] = ["", "disk = { path = \"responses\", size = \"16MiB\" }"];

fn exchange(address: &str, head: &str) -> String {
    try_exchange(address, head).unwrap()
}

fn try_exchange(address: &str, head: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let ask = format!("{head}\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
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

/// One object, which is purged all the time, while processes take each other's place, end and are killed, with a memory that
/// is too small and a disk behind it: whoever asks after a purge was acknowledged gets nothing from before it.
#[test]
fn nothing_older_than_an_acknowledged_purge_is_served_while_processes_come_and_go() {
    const ROUNDS: usize = 6;
    let shop = Shop::open();
    let state = tempfile::tempdir().unwrap();
    let place = Arc::new(Mutex::new(String::new()));
    let (acknowledged, is_over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let begin = |work: fn(&Actor) -> usize| {
        let actor = Actor {
            place: place.clone(),
            version: shop.version.clone(),
            acknowledged: acknowledged.clone(),
            is_over: is_over.clone(),
        };
        thread::spawn(move || work(&actor))
    };
    let mut readers = vec![begin(Actor::read), begin(Actor::read)];
    let others = [begin(Actor::purge), begin(Actor::make_noise)];
    for round in 0..ROUNDS {
        let mut service = service_in(&shop, DISKS[1], &state.path().display().to_string());
        place.lock().unwrap().clone_from(&service.address);
        thread::sleep(Duration::from_millis(600));
        let pid = service.upgraded();
        thread::sleep(Duration::from_millis(600));
        match round % 3 {
            0 => signal(pid, "TERM"),
            1 => signal(pid, "KILL"),
            // With the test's end of it both are killed.
            _ => continue,
        }
        until(|| !lives(pid));
        thread::sleep(Duration::from_millis(300));
    }
    is_over.store(true, Ordering::SeqCst);
    let hits: usize = readers.drain(..).map(|it| it.join().unwrap()).sum();
    let [purges, _] = others.map(|it| it.join().unwrap());
    assert!(hits > 100 && purges > 50, "{hits} hits, {purges} purges");
}

/// Its process may have been killed in the middle of it.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| length.trim().parse() == Ok(body.len()))
}

struct Actor {
    place: Arc<Mutex<String>>,
    version: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Actor {
    /// Nobody may be there at the moment.
    fn ask(&self, head: &str) -> Option<String> {
        let place = self.place.lock().unwrap().clone();
        let answer = try_exchange(&place, head).ok();
        let answer = answer.filter(|answer| is_whole(answer));
        if answer.is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        answer
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// How many answers were kept ones.
    fn read(&self) -> usize {
        let mut hits = 0;
        while !self.is_over() {
            let least = self.acknowledged.load(Ordering::SeqCst);
            let Some(answer) = self.ask("GET /shop HTTP/1.1") else {
                continue;
            };
            let version = answer.rsplit_once("version ");
            let version = version.and_then(|it| it.1.parse::<usize>().ok());
            // One that ends may answer for itself.
            let Some(version) = version else { continue };
            assert!(version >= least, "{version} after {least}: {answer}");
            hits += usize::from(answer.contains("northgate; hit"));
        }
        hits
    }

    /// How many purges were acknowledged.
    fn purge(&self) -> usize {
        let mut purges = 0;
        while !self.is_over() {
            let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
            let answer = self.ask("PURGE /shop HTTP/1.1");
            if answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 204")) {
                self.acknowledged.fetch_max(version, Ordering::SeqCst);
                purges += 1;
            }
            thread::sleep(Duration::from_millis(8));
        }
        purges
    }

    fn make_noise(&self) -> usize {
        let mut asked = 0;
        while !self.is_over() {
            asked += 1;
            self.ask(&format!("GET /noise/{asked} HTTP/1.1"));
        }
        asked
    }
}
