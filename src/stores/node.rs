//! One server: a connection for everybody, and whether it answers.
//!
//! Who finds the connection broken has another one made; who finds the server silent has everybody refused at once,
//! until a task beside the requests has reached it again. So a server that is down costs a request one deadline, and
//! only those that were under way when it went down.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::StoreError;
use super::dial::{Dialer, Link};
use super::health::Health;
use super::sentinel::Sentinels;
use crate::text::EndpointAddress;

/// Between two attempts to reach it, the first and the longest. Each is twice the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A server that fails again within this time is left alone for longer.
const STEADY: Duration = Duration::from_secs(10);

/// Where a server is found.
pub(super) enum Target {
    At(EndpointAddress),
    Master(Sentinels),
}

/// One server, whichever that is at the time.
pub(super) struct Node {
    target: Target,
    dialer: Dialer,
    health: Arc<Health>,
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

struct Pace {
    /// Before the next attempt after a failure.
    pause: Duration,
    up_since: Option<Instant>,
    /// Of the last connection.
    number: u64,
}

/// What may be sent before the command, so that it counts for this one alone.
#[derive(Clone, Copy)]
pub(super) enum Prefix<'a> {
    None,
    Command(&'a Cmd),
}

impl Node {
    pub(super) fn new(target: Target, dialer: Dialer, health: Arc<Health>) -> Arc<Node> {
        let pace = Pace {
            pause: SHORTEST_PAUSE,
            up_since: None,
            number: 0,
        };
        Arc::new(Node {
            target,
            dialer,
            health,
            state: watch::Sender::new(State::Idle),
            pace: Mutex::new(pace),
        })
    }

    /// Whether commands are refused.
    pub(super) fn is_down(&self) -> bool {
        matches!(&*self.state.borrow(), State::Down(_))
    }

    /// Has a command done. It is sent again, once, where the connection turns out to be broken, so that it may be
    /// done twice.
    pub(super) async fn ask(
        self: &Arc<Self>,
        command: &Cmd,
        prefix: Prefix<'_>,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        match self.ask_once(command, prefix, deadline).await {
            Err(StoreError::Redis(error)) if is_broken(&error) => {
                self.ask_once(command, prefix, deadline).await
            }
            answer => answer,
        }
    }

    async fn ask_once(
        self: &Arc<Self>,
        command: &Cmd,
        prefix: Prefix<'_>,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        let (link, number) = self.link(deadline).await?;
        let sent = async {
            match prefix {
                Prefix::None => link.send(command).await,
                Prefix::Command(first) => link.send_both(first, command).await,
            }
        };
        match timeout_at(deadline, sent).await {
            Ok(Err(error)) if is_broken(&error) => {
                self.lose(number, State::Connecting);
                Err(error.into())
            }
            Ok(Err(error)) if is_unfit(&error) => {
                self.lose(number, State::Down(error.to_string().into()));
                Err(error.into())
            }
            Ok(answer) => Ok(answer?),
            Err(_) => {
                let error = StoreError::Deadline(self.dialer.timeout());
                self.lose(number, State::Down(error.to_string().into()));
                Err(error)
            }
        }
    }

    async fn link(self: &Arc<Self>, deadline: Instant) -> Result<(Link, u64), StoreError> {
        match &*self.state.borrow() {
            State::Up { link, number } => return Ok((link.clone(), *number)),
            State::Down(cause) => return Err(StoreError::Down(cause.clone())),
            State::Idle | State::Connecting => {}
        }
        self.begin();
        let mut changes = self.state.subscribe();
        let is_settled = |state: &State| matches!(state, State::Up { .. } | State::Down(_));
        match timeout_at(deadline, changes.wait_for(is_settled)).await {
            Ok(Ok(state)) => match &*state {
                State::Up { link, number } => Ok((link.clone(), *number)),
                State::Down(cause) => Err(StoreError::Down(cause.clone())),
                State::Idle | State::Connecting => Err(self.late()),
            },
            _ => Err(self.late()),
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

    /// Gives up the connection of this number, if nobody has yet, and has another one made.
    fn lose(self: &Arc<Self>, number: u64, becomes: State) {
        let is_silent = matches!(becomes, State::Down(_));
        let mut becomes = Some(becomes);
        let is_lost = self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up { number: it, .. } if *it == number);
            if let Some(becomes) = becomes.take().filter(|_| is_it) {
                *state = becomes;
            }
            is_it
        });
        if !is_lost {
            return;
        }
        let pause = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            let since = pace.up_since.take();
            if since.is_some_and(|since| since.elapsed() > STEADY) {
                pace.pause = SHORTEST_PAUSE;
            }
            match is_silent {
                true => pace.lengthen(),
                false => Duration::ZERO,
            }
        };
        if let State::Down(cause) = &*self.state.borrow() {
            self.health.fails(cause);
        }
        tokio::spawn(reach(Arc::downgrade(self), pause));
    }

    fn rise(&self, link: Link) {
        let number = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
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
        let cause: Arc<str> = error.to_string().into();
        let before = self.state.send_replace(State::Down(cause.clone()));
        if !matches!(before, State::Down(_)) {
            self.health.fails(&cause);
        }
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.lengthen()
    }

    async fn dial(&self) -> Result<Link, StoreError> {
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

impl Pace {
    fn lengthen(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        // Nodes that lost it together do not come back together.
        pause.mul_f64(rand::random_range(0.5..1.0))
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

/// The server says that it does not serve, or that it is not the one that was looked for.
fn is_unfit(error: &RedisError) -> bool {
    match error.code() {
        Some("LOADING" | "MASTERDOWN" | "READONLY" | "CLUSTERDOWN") => true,
        // What a script came upon, as servers before 7.0 say it.
        Some("ERR") => error.detail().is_some_and(|it| it.contains("-READONLY")),
        _ => false,
    }
}
