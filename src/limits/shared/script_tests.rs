//! The script against the rules here: what one admits the other admits, and the words are the same.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use smallvec::smallvec;
use tokio::runtime::{Builder, Runtime};

use super::script::{Act, Decider, Mark, Told};
use super::{Asked, Mode, OnStoreDown, SYNC, Sharing, Verdict};
use crate::limits::{
    Calendar, Gcra, Key, KeyName, KeyParts as _, Limiter, NamedRule, Now, Period, Room, Rule,
    Sliding,
};
use crate::observability::Metrics;
use crate::stores::{Redis, RedisConfig};
use crate::text::{Diagnostics, Sources, Span, Spanned, Subject};

/// A real server, which ends with the test.
struct Server {
    child: Child,
    store: Arc<Redis>,
}

impl Server {
    fn start() -> Server {
        // An address of this process alone: nobody takes the port before the server does.
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 128 | (high & 63), middle, low);
        let free = TcpListener::bind((ip, 0)).unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", &ip.to_string(), "--save", ""]);
        // What another server has left in the folder of the tests is none of its.
        command.args([
            "--dbfilename",
            &format!("{}-{port}.rdb", std::process::id()),
        ]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command
            .spawn()
            .expect("redis-server; .ci/install installs it");
        let span = Span::start_of(Sources::new().add("a.toml", ""));
        let config = RedisConfig {
            url: Some(Spanned::new(format!("redis://{ip}:{port}"), span)),
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
        let store = Arc::new(store);
        Server { child, store }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A cost, how long nobody comes before it in microseconds, and what is done with it.
type Arrival = (u64, u64, Act);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let cost = prop_oneof![8 => Just(1_u64), 3 => 0..4_u64, 1 => 1..40_u64];
    let pause = prop_oneof![6 => Just(0_u64), 3 => 0..800_u64, 1 => 0..9_000_u64];
    let act =
        prop_oneof![8 => Just(Act::Take), 1 => Just(Act::Charge), 1 => Just(Act::Add(mark(1, 0)))];
    let arrival = (cost, pause, act);
    prop::collection::vec(arrival, 1..60)
}

fn mark(gateway: u64, number: u64) -> Mark {
    Mark { gateway, number }
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

fn start() -> (Runtime, Server) {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let server = Server::start();
    runtime.block_on(async {
        let ping = redis::cmd("PING");
        while server.store.command::<String>(&ping).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    (runtime, server)
}

fn key(name: &str) -> Key {
    let mut key = Key::hasher();
    key.part(name.as_bytes());
    key.finish()
}

/// Until words say nothing any more: a window counts a slot longer than it is, one of the calendar is kept for a minute.
fn life(rules: &[NamedRule], mut words: &[u64], now: Now) -> Duration {
    let life = rules.iter().map(|it| {
        let (own, rest) = words.split_at(it.rule.words());
        words = rest;
        match &it.rule {
            Rule::Gcra(_) => Duration::from_nanos(own[0].saturating_sub(now.nanos)),
            Rule::Sliding(sliding) => Duration::from_micros(sliding.slot_micros() * 16),
            Rule::Calendar(calendar) => {
                let (_, end) = calendar.window(now.unix);
                Duration::from_secs(end + 60 - now.unix)
            }
        }
    });
    life.max().unwrap_or_default()
}

#[test]
fn the_store_admits_what_one_gateway_would() {
    let (runtime, server) = start();
    let number = Cell::new(0);
    let runs = Runs::with_cases(100);
    let mut runner = TestRunner::new(runs);
    let admitted = [const { Cell::new(0_u32) }; 2];
    let lives = RefCell::new(HashMap::new());
    let ran = runner.run(&(rules(), arrivals()), |(rules, arrivals)| {
        number.set(number.get() + 1);
        let decider = Decider::new(&rules);
        let limiter = Limiter::new("here", rules, 64, &Room::default());
        let key = key("somebody");
        let (mut last, mut marks) = (None, 0);
        let there = format!("key{}", number.get());
        for (cost, pause, act) in arrivals {
            std::thread::sleep(Duration::from_micros(pause));
            marks += 1;
            let (act, costs) = match act {
                Act::Add(_) => (Act::Add(mark(marks % 2, marks)), limiter.worth(key, cost)),
                act => (act, smallvec![cost; limiter.rules().len()]),
            };
            let rules = (limiter.rules(), &*costs);
            let call = decider.call(&there, act, rules, Now::read().unix);
            let told: Told = runtime.block_on(server.store.script(&call)).unwrap();
            // The same moment here, which is why there is nothing to wait for.
            let is_within = match act {
                Act::Take | Act::Look => limiter.take(key, cost, told.now).is_within(),
                Act::Charge => limiter.charge(key, cost, told.now).is_within(),
                Act::Add(_) => {
                    let words = last.take().unwrap_or(vec![0; limiter.words()]);
                    limiter.put(key, &words, &costs, told.now);
                    true
                }
            };
            prop_assert_eq!(told.is_charged, is_within, "{:?}", limiter);
            let count = &admitted[usize::from(is_within)];
            count.set(count.get() + 1);
            let words = told.words(limiter.rules()).expect("they are its words");
            let theirs = Limiter::stand(limiter.rules(), &words, 0, told.now);
            prop_assert_eq!(theirs, limiter.look(key, 0, told.now), "{:?}", limiter);
            if is_within && cost > 0 {
                let life = life(limiter.rules(), &words, told.now);
                lives
                    .borrow_mut()
                    .insert(there.clone(), (Instant::now(), life));
            }
            last = Some(words);
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
        let (since, most) = lives.borrow()[&key];
        let least = most.saturating_sub(since.elapsed() + Duration::from_secs(1));
        let range = least.as_millis() as i64..=most.as_millis() as i64 + 1;
        // It may have gone meanwhile.
        let is_gone = life == -2 && least.is_zero();
        assert!(is_gone || range.contains(&life), "{key}: {life}, {range:?}");
    }
}

#[test]
fn what_is_told_counts_once_however_often_it_comes() {
    let (runtime, server) = start();
    let gcra = Gcra::new(
        NonZero::new(1).unwrap(),
        Duration::from_secs(3600),
        NonZero::new(9).unwrap(),
    );
    let day = Calendar::new(NonZero::new(9).unwrap(), Period::Month, TimeZone::UTC);
    let rules = vec![Rule::Gcra(gcra).named("a"), Rule::Calendar(day).named("b")];
    let decider = Decider::new(&rules);
    let tell = |act, taken: u64| {
        let worth = match act {
            Act::Add(_) => [gcra.worth(taken), taken],
            _ => [taken; 2],
        };
        let call = decider.call("key", act, (&rules, &worth), Now::read().unix);
        let told: Told = runtime.block_on(server.store.script(&call)).unwrap();
        let words = told.words(&rules).expect("they are its words");
        let count = Gcra::owed(&words[..1], told.now.nanos).div_ceil(gcra.interval());
        assert_eq!(words[2], count);
        (told.is_charged, count)
    };
    let add = |gateway, number| Act::Add(mark(gateway, number));
    assert_eq!(tell(add(0xabc, 5), 3), (true, 3));
    // Also where less of it counts by now, or it was on its way while something later arrived.
    assert_eq!(tell(add(0xabc, 5), 2), (false, 3));
    assert_eq!(tell(add(0xabc, 4), 1), (false, 3));
    assert_eq!(tell(add(0xdef, 4), 1), (true, 4));
    assert_eq!(tell(add(0xabc, 10), 1), (true, 5));
    // What others do with the key leaves it so.
    assert_eq!(tell(Act::Take, 1), (true, 6));
    assert_eq!(tell(add(0xdef, 4), 1), (false, 6));
    for gateway in 1..=62 {
        assert!(tell(add(gateway, 1), 0).0);
        assert_eq!(tell(add(gateway, 2), 1), (true, 6 + gateway));
    }
    assert_eq!(tell(add(0xabc, 10), 1), (false, 68));
    // There is room for so many and no more.
    assert_eq!(tell(add(63, 1), 1), (true, 69));
    assert_eq!(tell(add(0xdef, 4), 1), (true, 70));
}

#[test]
fn what_could_not_be_noted_is_told_later() {
    let (runtime, server) = start();
    let _entered = runtime.enter();
    let sharing = Sharing {
        store: server.store.clone(),
        mode: Mode::Fast,
        // It is told when the test has it told.
        sync: Duration::from_secs(600),
        on_store_down: OnStoreDown::Local,
    };
    let (one, three) = (NonZero::new(1).unwrap(), NonZero::new(3).unwrap());
    let gcra = Gcra::new(one, Duration::from_secs(3600), three);
    let room = Room::default();
    let rules = vec![Rule::Gcra(gcra).named("a")];
    let limiter = Arc::new(Limiter::sharing("a", rules, 1 << 20, &room, sharing));
    let named = |name: &str| {
        let mut hasher = KeyName::hasher();
        hasher.part(name.as_bytes());
        hasher.finish()
    };
    let ask = |name: &str| match limiter.decide(key(name), || named(name), 1, Now::read()) {
        Asked::Now(Verdict::Counted(standing)) => standing.is_within(),
        _ => panic!("it is decided here"),
    };
    let there = || {
        let name = named("somebody");
        let looked = limiter.look_shared(key("somebody"), &name, 0, Now::read());
        runtime.block_on(looked).unwrap().unwrap().rules[0].remaining
    };
    for number in 0..40_000 {
        ask(&format!("key{number}"));
    }
    assert_eq!([(); 4].map(|()| ask("somebody")), [true, true, true, false]);
    // The second time what was told makes room.
    for _ in 0..2 {
        runtime.block_on(room.tell_stores());
        assert_eq!(there(), 3);
        ask("another");
    }
    for remaining in [3, 0, 0] {
        assert!(!ask("somebody"));
        runtime.block_on(room.tell_stores());
        assert!(!ask("somebody"));
        assert_eq!(there(), remaining);
    }
}

#[test]
fn windows_are_those_of_the_store_whatever_clock_a_gateway_has() {
    const HOURS: i64 = 5 * 3_600_000_000_000;
    let (runtime, server) = start();
    let ten = NonZero::new(10).unwrap();
    let calendar = Calendar::new(ten, Period::Hour, TimeZone::UTC);
    let gateway = |ahead| {
        let sharing = Sharing {
            store: server.store.clone(),
            mode: Mode::Exact,
            sync: SYNC,
            on_store_down: OnStoreDown::Deny,
        };
        let rules = vec![Rule::Calendar(calendar.clone()).named("a")];
        let limiter = Limiter::sharing("a", rules, 64, &Room::default(), sharing);
        let (clock, now) = (limiter.shared().unwrap().clock(), Now::read());
        let nanos = clock.at(now).nanos.saturating_add_signed(ahead);
        let wrong = Now { nanos, unix: 0 };
        clock.set(wrong, now, Duration::ZERO);
        Arc::new(limiter)
    };
    let ask = |limiter: &Arc<Limiter>| {
        let name = || KeyName::hasher().finish();
        let Asked::Later(asked) = limiter.decide(key("somebody"), name, 1, Now::read()) else {
            panic!("it is the store that decides");
        };
        match runtime.block_on(asked) {
            Verdict::Counted(standing) => standing,
            other => panic!("{other:?}"),
        }
    };
    let window = || calendar.window(Now::read().unix);
    let command = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command
    };
    // Once more where the hour strikes meanwhile.
    let (standings, (start, end)) = loop {
        let before = window();
        let gateways = [0, HOURS, -HOURS].map(gateway);
        let standings: Vec<_> = (0..15).map(|round| ask(&gateways[round % 3])).collect();
        if window() == before {
            break (standings, before);
        }
        let flush = command(&["FLUSHALL"]);
        let _: String = runtime.block_on(server.store.command(&flush)).unwrap();
    };
    for (round, standing) in standings.iter().enumerate() {
        assert_eq!(standing.is_within(), round < 10, "{round}: {standing:?}");
        let reset = standing.rules[0].reset.as_secs();
        assert!((1..=end - start).contains(&reset), "{round}: {standing:?}");
    }
    let keys = command(&["KEYS", "*"]);
    let keys: Vec<String> = runtime.block_on(server.store.command(&keys)).unwrap();
    let words = command(&["GET", &keys[0]]);
    let words: String = runtime.block_on(server.store.command(&words)).unwrap();
    assert_eq!((keys.len(), words), (1, format!("{start} 10")));
}
