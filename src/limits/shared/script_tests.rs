//! The script against the rules here: what one admits the other admits, and the words are the same.

use std::cell::Cell;
use std::net::TcpListener;
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

use super::script::{Act, Decider, Told};
use crate::limits::{Calendar, Gcra, Key, Limiter, NamedRule, Period, Room, Rule, Sliding};
use crate::observability::Metrics;
use crate::stores::{Redis, RedisConfig};
use crate::text::{Diagnostics, Sources, Span, Spanned, Subject};

/// A real server, which ends with the test.
struct Server {
    child: Child,
    store: Redis,
}

impl Server {
    fn start() -> Server {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command
            .spawn()
            .expect("redis-server; .ci/install installs it");
        let span = Span::start_of(Sources::new().add("a.toml", ""));
        let config = RedisConfig {
            url: Some(Spanned::new(format!("redis://127.0.0.1:{port}"), span)),
            sentinel: None,
            cluster: None,
            username: None,
            password: None,
            ca: None,
            client_certificate: None,
            timeout: Some(crate::text::Duration::from_secs(10)),
        };
        let mut diagnostics = Diagnostics::new();
        let subject = &mut Subject::new(&mut diagnostics, "redis");
        let config = Spanned::new(config, span);
        let metrics = Metrics::new().store("a");
        let store = Redis::build(&config, Path::new("."), metrics, subject).unwrap();
        Server { child, store }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cost, how long nobody comes before it in microseconds, and whether it is charged whatever is left.
type Arrival = (u64, u64, bool);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let cost = prop_oneof![8 => Just(1_u64), 3 => 0..4_u64, 1 => 1..40_u64];
    let pause = prop_oneof![6 => Just(0_u64), 3 => 0..800_u64, 1 => 0..9_000_u64];
    let arrival = (cost, pause, prop::bool::weighted(0.1));
    prop::collection::vec(arrival, 1..60)
}

fn rules() -> impl Strategy<Value = Vec<NamedRule>> {
    let gcra = (1..5_000_u64, 1..30_u64).prop_map(|(count, burst)| {
        let (count, burst) = (NonZero::new(count).unwrap(), NonZero::new(burst).unwrap());
        Rule::Gcra(Gcra::new(count, Duration::from_secs(1), burst)).named("a")
    });
    let sliding = (1..30_u32, 15..20_000_u64).prop_map(|(limit, micros)| {
        let window = Duration::from_micros(micros);
        Rule::Sliding(Sliding::new(NonZero::new(limit).unwrap(), window)).named("b")
    });
    let zones = prop_oneof![Just("UTC"), Just("Asia/Kolkata"), Just("America/New_York")];
    let calendar = (1..60_u64, zones).prop_map(|(limit, zone)| {
        let zone = TimeZone::get(zone).unwrap();
        let limit = NonZero::new(limit).unwrap();
        Rule::Calendar(Calendar::new(limit, Period::Day, zone)).named("c")
    });
    let one = prop_oneof![gcra, sliding, calendar];
    prop::collection::vec(one, 1..4)
}

#[test]
fn the_store_admits_what_one_gateway_would() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = Server::start();
    runtime.block_on(async {
        let ping = redis::cmd("PING");
        while server.store.command::<String>(&ping).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let number = Cell::new(0);
    let runs = Runs::with_cases(100);
    let mut runner = TestRunner::new(runs);
    let admitted = [const { Cell::new(0_u32) }; 2];
    let ran = runner.run(&(rules(), arrivals()), |(rules, arrivals)| {
        number.set(number.get() + 1);
        let decider = Decider::new(&rules);
        let limiter = Limiter::new("here", rules, 64, &Room::default());
        let key = {
            let mut key = Key::hasher();
            key.part(b"somebody");
            key.finish()
        };
        let there = format!("key{}", number.get());
        for (cost, pause, is_charged) in arrivals {
            std::thread::sleep(Duration::from_micros(pause));
            let act = if is_charged { Act::Charge } else { Act::Take };
            let unix = crate::limits::Now::read().unix;
            let call = decider.call(&there, act, cost, limiter.rules(), unix);
            let told: Told = runtime.block_on(server.store.script(&call)).unwrap();
            // The same moment here, which is why there is nothing to wait for.
            let is_within = match is_charged {
                true => {
                    limiter.charge(key, cost, told.now);
                    true
                }
                false => limiter.take(key, cost, told.now).is_within(),
            };
            prop_assert_eq!(told.is_charged, is_within, "{:?}", limiter);
            let count = &admitted[usize::from(is_within)];
            count.set(count.get() + 1);
            let words = told.words(limiter.rules()).expect("they are its words");
            let theirs = Limiter::stand(limiter.rules(), &words, 0, told.now);
            prop_assert_eq!(theirs, limiter.look(key, 0, told.now), "{:?}", limiter);
        }
        Ok(())
    });
    ran.unwrap();
    // It is a comparison of both outcomes.
    assert!(
        admitted.iter().all(|count| count.get() > 100),
        "{admitted:?}"
    );
    let keys = redis::cmd("KEYS").arg("*").clone();
    let left: Vec<String> = runtime.block_on(server.store.command(&keys)).unwrap();
    assert!(!left.is_empty());
    for key in left {
        let life = redis::cmd("PTTL").arg(&key).clone();
        let life: i64 = runtime.block_on(server.store.command(&life)).unwrap();
        // Gone meanwhile, or about to go.
        assert!(life != -1, "{key} stays for ever");
    }
}
