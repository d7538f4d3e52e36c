//! Host names in lists, resolved by the system's resolver, off every request's path.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::listed::Listed;
use super::{Failure, Member, Socket};
use crate::text::EndpointAddress;

/// How often names are looked up: the system's resolver does not tell how long an answer is good for.
pub(super) const REFRESH: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(5);
/// Names that are looked up at the same time. Each of them holds a thread for as long as the resolver takes.
const AT_A_TIME: usize = 16;

/// No name waits longer for its turn.
const LONGEST_TURN: Duration = Duration::from_secs(60);

/// Of this process.
static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_A_TIME)));

/// A name, and the port that its endpoints have.
type Place = (Box<str>, u16);

/// The names of a list and what they were last.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<Place, Name>,
}

#[derive(Debug, Default)]
struct Name {
    /// `None` where it was never resolved: that is not one without addresses.
    sockets: Option<Vec<SocketAddr>>,
    failure: Option<Failure>,
    was_looked_up: bool,
}

impl Names {
    /// These names count from now on, and no others. Those that are new have the addresses that they had in the `last`
    /// set, until they are looked up.
    pub(super) fn enter(&mut self, list: &[Listed], last: &[Member]) {
        let mut before = std::mem::take(&mut self.known);
        let mut of_last = None;
        for (host, port) in list.iter().filter_map(name) {
            let place = (Box::from(host), port);
            if self.known.contains_key(&place) {
                continue;
            }
            let name = before.remove(&place).unwrap_or_else(|| Name {
                sockets: of_last
                    .get_or_insert_with(|| by_name(last))
                    .remove(&(host, port)),
                ..Name::default()
            });
            self.known.insert(place, name);
        }
    }

    /// Those that nobody has looked up yet.
    pub(super) fn new_ones(&self) -> impl Iterator<Item = &Place> {
        let names = self.known.iter();
        names.filter_map(|(place, name)| (!name.was_looked_up).then_some(place))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Place> {
        self.known.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What looking it up has come to. One that cannot be resolved now has the addresses that it had.
    pub(super) fn learn(&mut self, (place, found): Found) {
        // Nobody may want it any more.
        let Some(name) = self.known.get_mut(&place) else {
            return;
        };
        name.was_looked_up = true;
        name.failure = None;
        match found {
            Ok(sockets) => name.sockets = Some(sockets),
            Err(failure) => name.failure = Some(failure),
        }
    }

    /// The endpoints of a list, each address of a name being one, and whether all names of it are known.
    pub(super) fn members(&self, list: &[Listed]) -> (Vec<Member>, bool) {
        let (mut members, mut is_whole) = (Vec::with_capacity(list.len()), true);
        for listed in list {
            let Some((host, port)) = name(listed) else {
                members.extend(listed.member(None));
                continue;
            };
            let known = self.known.get(&(host.into(), port));
            match known.and_then(|name| name.sockets.as_ref()) {
                Some(at) => members.extend(at.iter().filter_map(|&at| listed.member(Some(at)))),
                None => is_whole = false,
            }
        }
        (members, is_whole)
    }

    /// Why the first of those that cannot be resolved cannot be.
    pub(super) fn failure(&self) -> Option<&Failure> {
        let names = self.known.iter();
        let failing = names.filter_map(|(place, name)| Some((place, name.failure.as_ref()?)));
        failing.min_by_key(|&(place, _)| place).map(|(_, why)| why)
    }
}

fn name(listed: &Listed) -> Option<(&str, u16)> {
    match &listed.address {
        EndpointAddress::Name { host, port } => Some((host, *port)),
        _ => None,
    }
}

fn by_name(members: &[Member]) -> HashMap<(&str, u16), Vec<SocketAddr>> {
    let mut by_name: HashMap<_, Vec<SocketAddr>> = HashMap::new();
    for member in members {
        if let Socket::Inet(at) = member.socket {
            let of = (&*member.host, at.port());
            by_name.entry(of).or_default().push(at);
        }
    }
    by_name
}

type Found = (Place, Result<Vec<SocketAddr>, Failure>);

/// Names that are being looked up, each of them once at a time.
pub(super) struct LookUps {
    asked: HashSet<Place>,
    running: FuturesUnordered<BoxFuture<'static, Found>>,
}

impl LookUps {
    pub(super) fn none() -> LookUps {
        LookUps {
            asked: HashSet::new(),
            running: FuturesUnordered::new(),
        }
    }

    pub(super) fn begin<'p>(&mut self, places: impl Iterator<Item = &'p Place>) {
        for place in places {
            if self.asked.insert(place.clone()) {
                let look_up = look_up(place.clone());
                self.running.push(Box::pin(look_up));
            }
        }
    }

    /// The next that has come to an end; `None` at once where there is none.
    pub(super) async fn next(&mut self) -> Option<Found> {
        let found = self.running.next().await?;
        self.asked.remove(&found.0);
        Some(found)
    }

    pub(super) fn are_over(&self) -> bool {
        self.running.is_empty()
    }
}

async fn look_up(place: Place) -> Found {
    let Ok(turn) = timeout(LONGEST_TURN, TURNS.clone().acquire_owned()).await else {
        let why = format!("{}: the resolver was busy for {LONGEST_TURN:?}", place.0);
        return (place, Err(Failure::unresolved(why)));
    };
    let asked = place.clone();
    let resolving = in_turn(turn, move || {
        let found = (&*asked.0, asked.1).to_socket_addrs();
        found.map(Iterator::collect)
    });
    let found = within(resolving, &place.0).await;
    (place, found)
}

/// Who no longer waits for the resolver leaves the thread with it, and the turn with that.
fn in_turn<T: Send + 'static>(
    turn: T,
    resolve: impl FnOnce() -> std::io::Result<Vec<SocketAddr>> + Send + 'static,
) -> JoinHandle<std::io::Result<Vec<SocketAddr>>> {
    spawn_blocking(move || {
        let _turn = turn;
        resolve()
    })
}

async fn within(
    resolving: JoinHandle<std::io::Result<Vec<SocketAddr>>>,
    host: &str,
) -> Result<Vec<SocketAddr>, Failure> {
    match timeout(DEADLINE, resolving).await {
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(error))) => Err(Failure::unresolved(format!("{host}: {error}"))),
        Ok(Err(error)) => Err(Failure::unresolved(format!("{host}: {error}"))),
        Err(_) => Err(Failure::unresolved(format!(
            "{host}: no answer within {DEADLINE:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::listed::of_toml;
    use super::*;

    fn list(text: &str) -> Vec<Listed> {
        of_toml("a list", &format!("endpoints = [{text}]")).unwrap()
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn place(host: &str, port: u16) -> Place {
        (host.into(), port)
    }

    #[test]
    fn a_name_that_fails_keeps_its_addresses() {
        let list = list("'10.0.0.1:1', { address = 'a.test:2', weight = 5 }");
        let mut names = Names::default();
        names.enter(&list, &[]);
        assert_eq!(names.new_ones().collect::<Vec<_>>(), [&place("a.test", 2)]);
        let fails = || (place("a.test", 2), Err(Failure::unresolved("a.test: no")));
        names.learn(fails());
        // One that was never known stays unknown.
        let plain = Member::at(at("10.0.0.1:1"), 1);
        assert_eq!(names.members(&list), (vec![plain.clone()], false));
        assert!(names.failure().is_some() && names.new_ones().next().is_none());
        names.learn((place("a.test", 2), Ok(vec![at("10.0.0.2:2")])));
        let named = Member::new(Socket::Inet(at("10.0.0.2:2")), "a.test".into(), 5);
        let both = (vec![plain, named], true);
        assert_eq!(
            (names.members(&list), names.failure()),
            (both.clone(), None)
        );
        names.learn(fails());
        names.enter(&list, &[]);
        assert_eq!(names.members(&list), both);
        assert_eq!(names.failure(), Some(&Failure::unresolved("a.test: no")));
    }

    #[test]
    fn a_new_name_has_the_addresses_of_the_set_before() {
        let before = [
            ("a.test", "10.0.0.2:2"),
            ("a.test", "10.0.0.3:2"),
            ("b.test", "10.0.0.4:2"),
        ];
        let before = before.map(|(host, to)| Member::new(Socket::Inet(at(to)), host.into(), 9));
        let list = list("'a.test:2', 'a.test:3', 'c.test:2'");
        let mut names = Names::default();
        names.enter(&list, &before);
        let (members, is_whole) = names.members(&list);
        let found: Vec<String> = members.iter().map(|it| it.socket.text()).collect();
        assert_eq!(found, ["10.0.0.2:2", "10.0.0.3:2"]);
        assert!(!is_whole && members.iter().all(|it| it.weight == 1));
        // All are looked up none the less.
        assert_eq!(names.new_ones().count(), 3);
        names.enter(&list[1..2], &before);
        assert_eq!(names.all().collect::<Vec<_>>(), [&place("a.test", 3)]);
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time() {
        let mut running = LookUps::none();
        let here = place("localhost", 80);
        running.begin([&here, &here].into_iter());
        running.begin([&here].into_iter());
        let (of, found) = running.next().await.unwrap();
        assert!(of == here && found.unwrap().iter().all(|at| at.ip().is_loopback()));
        assert!(running.are_over() && running.next().await.is_none());
    }

    /// Whatever lists they are of. No other test of this process waits for a turn for long.
    #[tokio::test]
    async fn all_look_ups_of_a_process_take_turns() {
        let all = TURNS.acquire_many(AT_A_TIME as u32).await.unwrap();
        let mut running = LookUps::none();
        running.begin([&place("localhost", 80)].into_iter());
        let at_once = futures_util::FutureExt::now_or_never(running.next());
        assert!(at_once.is_none() && TURNS.available_permits() == 0);
        drop(all);
        assert!(running.next().await.unwrap().1.is_ok());
    }

    /// The thread that resolves has the turn, whoever has given up waiting.
    #[tokio::test]
    async fn who_gives_up_leaves_the_turn_with_the_thread() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let turn = TURNS.clone().acquire_owned().await.unwrap();
        let resolving = in_turn(turn, move || {
            let _ = released.recv();
            Ok(Vec::new())
        });
        drop(resolving);
        assert!(TURNS.available_permits() < AT_A_TIME);
        release.send(()).unwrap();
        let _all = TURNS.acquire_many(AT_A_TIME as u32).await.unwrap();
    }
}
