//! One server: a connection for everybody, and whether it answers.
//!
//! Who finds the connection broken has another one made; who finds the server silent has everybody refused at once,
//! until a task beside the requests has reached it again. So a server that is down costs a request one deadline, and
//! only those that were under way when it went down. One whose connections break again and again is left alone as well.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::StoreError;
use super::dial::{Dialer, Link};
use super::health::Health;
use super::sentinel::Sentinels;
use crate::observability::StoreMetrics;
use crate::text::EndpointAddress;

/// Between two attempts to reach it, the first and the longest. Each is twice the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection is steady that was good for so many times as long as the server was left alone before it, and for no less
/// than this. Where it is not the server is left alone for longer.
const STEADY: u32 = 4;
const SHORTEST_STEADY: Duration = Duration::from_millis(200);
/// After so many breaks in a row whoever comes is refused. Until then there is less to wait than a pause.
const PATIENT_BREAKS: u32 = 2;

/// Where a server is found.
pub(super) enum Target {
    At(EndpointAddress),
    Master(Sentinels),
}

/// One server, whichever that is at the time.
pub(super) struct Node {
    target: Target,
    dialer: Dialer,
    health: Health,
    state: watch::Sender<State>,
    pace: Mutex<Pace>,
}

enum State {
    /// Nobody has needed it so far.
    Idle,
    /// Whoever comes waits, within his deadline.
    Connecting,
    Up {
        link: Link,
        number: u64,
    },
    /// Whoever comes is refused.
    Down(Arc<str>),
}

#[derive(Default)]
struct Pace {
    /// How often it has failed in a row.
    failures: u32,
    /// For how long it was left alone the last time.
    pause: Duration,
    up_since: Option<Instant>,
    /// Of the last connection.
    number: u64,
}

/// A command that has to be done.
pub(super) struct Request<'a> {
    pub(super) command: &'a Cmd,
    /// Whether it may be done twice.
    pub(super) is_repeatable: bool,
    pub(super) deadline: Instant,
}

/// Whether a command is for the server whatever it says of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    None,
    Asking,
}

/// Why a connection is given up.
enum Loss {
    /// It is no more.
    Broken(Arc<str>),
    /// The server says nothing, or that it does not serve.
    Unfit(Arc<str>),
}

impl Node {
    pub(super) fn new(target: Target, dialer: Dialer, metrics: Arc<StoreMetrics>) -> Arc<Node> {
        Arc::new(Node {
            health: Health::new(metrics, target.to_string()),
            target,
            dialer,
            state: watch::Sender::new(State::Idle),
            pace: Mutex::default(),
        })
    }

    /// Whether commands are refused.
    pub(super) fn is_down(&self) -> bool {
        matches!(&*self.state.borrow(), State::Down(_))
    }

    /// Has a command done. Where the connection breaks that it was sent over it is sent again, once, so that it may be done
    /// twice; unless it must not be. Only what was never sent ends with [`StoreError::Down`].
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: &Request<'_>,
        prefix: Prefix,
    ) -> Result<Value, StoreError> {
        let broken = match self.ask_once(request, prefix).await {
            Err(StoreError::Redis(error)) if request.is_repeatable && is_broken(&error) => error,
            answer => return answer,
        };
        match self.ask_once(request, prefix).await {
            Err(StoreError::Down(_)) => Err(broken.into()),
            answer => answer,
        }
    }

    async fn ask_once(
        self: &Arc<Self>,
        request: &Request<'_>,
        prefix: Prefix,
    ) -> Result<Value, StoreError> {
        let deadline = request.deadline;
        let (mut link, mut number) = self.link(deadline).await?;
        if link.has_ended() {
            // As of a server that was started anew while nobody asked.
            self.lose(number, Loss::Broken("the connection has ended".into()));
            (link, number) = self.link(deadline).await?;
        }
        let mut waiting = Waiting {
            node: self,
            link: &link,
            number,
            since: Instant::now(),
            is_answered: false,
        };
        let sent = async {
            match prefix {
                Prefix::None => link.send(request.command).await,
                Prefix::Asking => link.send_asking(request.command).await,
            }
        };
        let Ok(answer) = timeout_at(deadline, sent).await else {
            return Err(self.late());
        };
        waiting.is_answered = true;
        if let Err(error) = &answer {
            let cause = || error.to_string().into();
            if is_broken(error) {
                self.lose(number, Loss::Broken(cause()));
            } else if is_unfit(error) {
                self.lose(number, Loss::Unfit(cause()));
            }
        }
        Ok(answer?)
    }

    async fn link(self: &Arc<Self>, deadline: Instant) -> Result<(Link, u64), StoreError> {
        match &*self.state.borrow() {
            State::Up { link, number } => return Ok((link.clone(), *number)),
            State::Down(cause) => return Err(StoreError::Down(cause.clone())),
            State::Idle | State::Connecting => {}
        }
        self.begin();
        let since = Instant::now();
        let mut changes = self.state.subscribe();
        let is_settled = |state: &State| matches!(state, State::Up { .. } | State::Down(_));
        match timeout_at(deadline, changes.wait_for(is_settled)).await {
            Ok(Ok(state)) => match &*state {
                State::Up { link, number } => Ok((link.clone(), *number)),
                State::Down(cause) => Err(StoreError::Down(cause.clone())),
                State::Idle | State::Connecting => Err(self.late()),
            },
            _ => {
                // A master may have to be looked for first. Only the first wait for that.
                if since.elapsed() * 2 >= self.dialer.timeout() {
                    self.refuse_while_connecting();
                }
                Err(self.late())
            }
        }
    }

    fn late(&self) -> StoreError {
        StoreError::Deadline(self.dialer.timeout())
    }

    /// The first who needs it has it connected to.
    fn begin(self: &Arc<Self>) {
        let is_first = self.state.send_if_modified(|state| {
            let is_first = matches!(state, State::Idle);
            if is_first {
                *state = State::Connecting;
            }
            is_first
        });
        if is_first {
            tokio::spawn(reach(Arc::downgrade(self), Duration::ZERO));
        }
    }

    /// Gives up the connection of this number, if nobody has yet, and has another one made: at once where one breaks
    /// that was steady, so that nobody is refused whose server was only started anew.
    fn lose(self: &Arc<Self>, number: u64, loss: Loss) {
        // One that was too slow for a command was there for at least as long as that.
        let (cause, taken) = match &loss {
            Loss::Broken(cause) => (cause, Duration::ZERO),
            Loss::Unfit(cause) => (cause, self.dialer.timeout()),
        };
        let mut pace = self.pace();
        if !pace.loses(number, taken) {
            return;
        }
        let breaks = pace.failures;
        let pause = pace.next(&loss);
        drop(pace);
        match loss {
            Loss::Broken(_) if breaks < PATIENT_BREAKS => {
                self.state.send_replace(State::Connecting);
            }
            _ => self.refuse(cause.clone()),
        }
        tokio::spawn(reach(Arc::downgrade(self), pause));
    }

    fn rise(&self, link: Link) {
        let number = {
            let mut pace = self.pace();
            pace.up_since = Some(Instant::now());
            pace.number += 1;
            pace.number
        };
        let before = self.state.send_replace(State::Up { link, number });
        if let State::Down(_) = before {
            self.health.answers();
        }
    }

    fn fall(&self, error: &StoreError) -> Duration {
        self.refuse(error.to_string().into());
        self.pace().lengthen()
    }

    fn refuse(&self, cause: Arc<str>) {
        let before = self.state.send_replace(State::Down(cause.clone()));
        if !matches!(before, State::Down(_)) {
            self.health.fails(&cause);
        }
    }

    fn refuse_while_connecting(&self) {
        let cause: Arc<str> = self.late().to_string().into();
        let is_new = self.state.send_if_modified(|state| {
            let is_connecting = matches!(state, State::Connecting);
            if is_connecting {
                *state = State::Down(cause.clone());
            }
            is_connecting
        });
        if is_new {
            self.health.fails(&cause);
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection beside the one for everybody.
    pub(super) async fn dial(&self) -> Result<Link, StoreError> {
        match &self.target {
            Target::At(address) => self.dialer.dial(address).await,
            Target::Master(sentinels) => sentinels.dial_master(&self.dialer).await,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.is_down() {
            self.health.is_gone();
        }
    }
}

/// A command that is under way. Who leaves without an answer, at his deadline or called off before it, gives up the
/// connection where he has waited for half of what a command may take. Who had less time says nothing about the server;
/// so that it is noticed where nobody ever has more, it is asked whether it is there.
struct Waiting<'a> {
    node: &'a Arc<Node>,
    link: &'a Link,
    number: u64,
    since: Instant,
    is_answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Where the process ends there is nobody to reach the server again.
        if self.is_answered || Handle::try_current().is_err() {
            return;
        }
        let (waited, patience) = (self.since.elapsed(), self.node.dialer.timeout());
        if waited * 2 >= patience {
            return self.node.lose(self.number, Loss::silent(waited));
        }
        let (node, link, number) = (self.node.clone(), self.link.clone(), self.number);
        tokio::spawn(async move {
            if !link.is_alive(patience).await {
                node.lose(number, Loss::silent(patience));
            }
        });
    }
}

impl Loss {
    fn silent(waited: Duration) -> Loss {
        Loss::Unfit(format!("there is no answer after {waited:?}").into())
    }
}

impl Pace {
    /// Whether the connection of this number was still the one in use. It begins anew after one that was steady, beside
    /// the time that it has `taken` to notice.
    fn loses(&mut self, number: u64, taken: Duration) -> bool {
        let Some(since) = self.up_since.filter(|_| self.number == number) else {
            return false;
        };
        self.up_since = None;
        let steady = (self.pause * STEADY).max(SHORTEST_STEADY);
        if since.elapsed() > taken + steady {
            self.failures = 0;
        }
        true
    }

    fn next(&mut self, loss: &Loss) -> Duration {
        match loss {
            Loss::Broken(_) if self.failures == 0 => {
                self.failures = 1;
                self.pause = Duration::ZERO;
                self.pause
            }
            _ => self.lengthen(),
        }
    }

    fn lengthen(&mut self) -> Duration {
        let failures = self.failures.max(1);
        self.failures = failures.saturating_add(1);
        self.pause = pause(failures - 1);
        self.pause
    }
}

/// How long to leave a server alone that nothing has come of so many times before. Gateways that lost it together do not
/// come back together.
pub(crate) fn pause(times: u32) -> Duration {
    let pause = SHORTEST_PAUSE * (1 << times.min(10));
    pause
        .min(LONGEST_PAUSE)
        .mul_f64(rand::random_range(0.5..1.0))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::At(address) => address.fmt(f),
            Target::Master(sentinels) => write!(f, "the master {:?}", sentinels.master),
        }
    }
}

/// Tries until there is a connection, as long as anybody has the server.
async fn reach(server: Weak<Node>, mut pause: Duration) {
    loop {
        sleep(pause).await;
        let Some(server) = server.upgrade() else {
            return;
        };
        match server.dial().await {
            Ok(link) => return server.rise(link),
            Err(error) => pause = server.fall(&error),
        }
    }
}

/// The connection is no more.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

/// The server says that it does not serve, or that it is not the one that was looked for. `CLUSTERDOWN` is not among
/// them: a server says it of a slot that nobody has, and serves the others.
fn is_unfit(error: &RedisError) -> bool {
    match error.code() {
        Some("LOADING" | "MASTERDOWN" | "READONLY") => true,
        // What a script came upon, as servers before 7.0 say it.
        Some("ERR") => error.detail().is_some_and(|it| it.contains("-READONLY")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_and_again_is_left_alone_for_longer() {
        let mut pace = Pace::default();
        let broken = Loss::Broken("".into());
        assert_eq!(pace.next(&broken), Duration::ZERO);
        for expected in [100, 200, 400, 800, 1000, 1000] {
            let (most, pause) = (Duration::from_millis(expected), pace.next(&broken));
            assert!(pause <= most && pause * 2 >= most, "{pause:?} {most:?}");
        }
        assert!((0..100).all(|times| pause(times) <= LONGEST_PAUSE));
        let mut pace = Pace::default();
        assert!(pace.next(&Loss::Unfit("".into())) >= SHORTEST_PAUSE / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_lost_once_and_who_was_steady_begins_anew() {
        let up = |pause| Pace {
            failures: 3,
            pause,
            up_since: Some(Instant::now()),
            number: 7,
        };
        let (none, some) = (Duration::ZERO, Duration::from_millis(500));
        let mut pace = up(none);
        assert!(!pace.loses(6, none), "it is another one");
        assert!(pace.loses(7, none));
        assert!(!pace.loses(7, none), "somebody has noticed before");
        for (pause, taken, lasted, failures) in [
            (none, none, SHORTEST_STEADY / 2, 3),
            (none, none, SHORTEST_STEADY * 2, 0),
            (none, some, SHORTEST_STEADY * 2, 3),
            (none, some, SHORTEST_STEADY * 2 + some, 0),
            (some, none, some * (STEADY - 1), 3),
            (some, none, some * (STEADY + 1), 0),
        ] {
            let mut pace = up(pause);
            tokio::time::advance(lasted).await;
            assert!(pace.loses(7, taken));
            assert_eq!(pace.failures, failures, "{pause:?} {taken:?} {lasted:?}");
        }
    }
}
