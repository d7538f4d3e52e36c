//! The listeners that run: their sockets, and the loops that accept on them.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::StartError;
use super::passed::Passed;
use crate::listener::{self, Drain, Listener, OpenConnections, Serve, Socket};
use crate::text::BindAddress;

/// What accepts now.
pub(super) struct Listeners {
    server: Arc<dyn Serve>,
    /// `None` once nobody new is to come.
    open: Option<OpenConnections>,
    running: Vec<Running>,
    /// Of those that are gone while connections that came by them are not.
    leaving: Vec<Arc<Drain>>,
    loops: JoinSet<()>,
}

/// A listener and where it accepts. What drains are its loop and the connections that came by it.
struct Running {
    listener: Arc<Listener>,
    socket: Arc<Socket>,
    drain: Arc<Drain>,
}

impl Listeners {
    /// None yet. Each connection will hold an `open`.
    pub(super) fn new(server: Arc<dyn Serve>, open: OpenConnections) -> Listeners {
        Listeners {
            server,
            open: Some(open),
            running: Vec::new(),
            leaving: Vec::new(),
            loops: JoinSet::new(),
        }
    }

    /// A socket for each of these listeners: the one that accepts at its address already, one that was passed, or
    /// one that is bound now.
    /// Where one cannot be bound, none is.
    pub(super) fn sockets<'l>(
        &self,
        listeners: impl Iterator<Item = &'l Arc<Listener>>,
        others: &[Arc<Socket>],
        passed: &mut Passed,
    ) -> Result<Vec<Arc<Socket>>, StartError> {
        let running = self.running.iter().map(|it| it.socket.clone());
        let own: Vec<Arc<Socket>> = running.chain(others.iter().cloned()).collect();
        listeners
            .map(|listener| self.socket(listener, &own, passed))
            .collect()
    }

    /// What serves the connections of all of them.
    pub(super) fn server(&self) -> Arc<dyn Serve> {
        self.server.clone()
    }

    /// Each listener that runs with its socket.
    pub(super) fn doors(&self) -> Vec<(Arc<Listener>, Arc<Socket>)> {
        let running = self.running.iter();
        running
            .map(|it| (it.listener.clone(), it.socket.clone()))
            .collect()
    }

    /// Accepts for these, in place of those that have been accepted for. One that is the same goes on undisturbed.
    /// Others drain while what comes in anew is theirs who come after them, and what is in flight on them may take as
    /// long as it likes.
    pub(super) fn serve(&mut self, wanted: Vec<(Arc<Listener>, Arc<Socket>)>, grace: Duration) {
        let mut before = std::mem::take(&mut self.running);
        for (listener, socket) in wanted {
            let is_same = |it: &Running| Arc::ptr_eq(&it.listener, &listener);
            match before.iter().position(is_same) {
                Some(index) => self.running.push(before.swap_remove(index)),
                None => self.start(listener, socket),
            }
        }
        for gone in before {
            log::info!("listener {}: drains", gone.listener.name);
            // Who is the last to hold it is told by how many do.
            drop(gone.socket);
            gone.drain.begin(grace);
            self.leaving.push(gone.drain);
        }
        // Each connection holds one.
        self.leaving.retain(|drain| Arc::strong_count(drain) > 1);
        while self.loops.try_join_next().is_some() {}
    }

    /// Accepts no more; connections come to their end.
    pub(super) fn drain(&mut self, grace: Duration) {
        self.serve(Vec::new(), grace);
        self.open = None;
    }

    /// After [`Listeners::drain`]: there may be listeners again.
    pub(super) fn reopen(&mut self, open: OpenConnections) {
        self.open = Some(open);
    }

    /// What is still in flight ends now, with a word where the protocol has one.
    pub(super) fn end(&mut self) {
        for drain in &self.leaving {
            drain.end();
        }
    }

    /// Each listener's address; a port 0 has become a real one.
    pub(super) fn addresses(&self) -> Vec<(Box<str>, BindAddress)> {
        let running = self.running.iter();
        running
            .map(|it| (it.listener.name.clone(), address(&it.listener, &it.socket)))
            .collect()
    }

    fn start(&mut self, listener: Arc<Listener>, socket: Arc<Socket>) {
        let Some(open) = self.open.clone() else {
            return;
        };
        let address = address(&listener, &socket);
        log::info!("listener {}: serving {address}", listener.name);
        let drain = Drain::new();
        self.loops.spawn(listener::accept(
            socket.clone(),
            listener.clone(),
            self.server.clone(),
            open,
            drain.clone(),
        ));
        self.running.push(Running {
            listener,
            socket,
            drain,
        });
    }

    fn socket(
        &self,
        wanted: &Arc<Listener>,
        own: &[Arc<Socket>],
        passed: &mut Passed,
    ) -> Result<Arc<Socket>, StartError> {
        let at_its_address = || {
            let running = self.running.iter();
            running.filter(|it| it.listener.bind == wanted.bind)
        };
        // Several may ask for any port at all, so that the name comes first.
        let known = at_its_address()
            .find(|it| it.listener.name == wanted.name)
            .or_else(|| at_its_address().find(|_| !wanted.bind.is_any_port()));
        let bound = |socket: &&Arc<Socket>| {
            let bound = socket.local_address();
            !wanted.bind.is_any_port() && bound.is_ok_and(|bound| bound == wanted.bind)
        };
        // The admin listener may have given it up.
        let known = known.map(|it| &it.socket);
        match known.or_else(|| own.iter().find(bound)) {
            Some(known) => Ok(known.clone()),
            None => passed
                .take(&wanted.name, &wanted.bind)
                .unwrap_or_else(|| listener::bind(&wanted.bind, own))
                .map(Arc::new)
                .map_err(|cause| StartError::Bind {
                    name: wanted.name.clone(),
                    address: wanted.bind.clone(),
                    cause,
                }),
        }
    }
}

fn address(listener: &Listener, socket: &Socket) -> BindAddress {
    let bound = socket.local_address();
    bound.unwrap_or_else(|_| listener.bind.clone())
}
