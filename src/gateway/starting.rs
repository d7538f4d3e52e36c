//! The way from a configuration to a gateway that accepts, and back from one that has handed over.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::upgrade::{Description, Unproven, prove};
use super::{Doors, Gateway};
use crate::config::{Archive, Origin, Quarantined};
use crate::listener::{OpenConnections, Socket};
use crate::text::BindAddress;

/// What the socket of the admin listener is called in an upgrade; no listener can be called so.
pub(super) const ADMIN: &str = "[admin]";

/// A gateway that could serve and accepts nothing yet.
pub(super) struct Prepared {
    pub(super) gateway: Gateway,
    pub(super) doors: Doors,
    pub(super) archive: Option<Archive>,
    pub(super) origin: Origin,
    pub(super) quarantined: Vec<Quarantined>,
}

impl Prepared {
    /// Sends a request through each listener.
    pub(super) async fn prove(&self) -> Result<(), Unproven> {
        for (listener, _) in &self.doors.listeners {
            prove(listener, self.gateway.listeners.server()).await?;
        }
        Ok(())
    }

    /// Accepts from now on.
    pub(super) fn begin(self) -> Gateway {
        let Prepared {
            mut gateway,
            doors,
            archive,
            origin,
            quarantined,
        } = self;
        gateway.open(doors);
        gateway.is_ready.store(true, Ordering::Relaxed);
        gateway.serves(archive, origin, quarantined);
        gateway
    }
}

/// What was open when another process took over.
pub(super) struct HandedOver(Doors);

impl Gateway {
    /// Copies of all sockets on which it accepts, with what the next process has to know of each.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<(Description, OwnedFd)>> {
        let Doors { listeners, admin } = self.doors_now();
        let copy = |name: &str, bind: &BindAddress, socket: Arc<Socket>| {
            Ok((Description::new(name, bind), socket.try_clone_to_owned()?))
        };
        let listeners = listeners.into_iter();
        let listeners = listeners.map(|(it, socket)| copy(&it.name, &it.bind, socket));
        let admin = admin.map(|(admin, socket)| copy(ADMIN, &admin.bind, socket));
        listeners.chain(admin).collect()
    }

    /// Another process accepts from now on. What is in flight here goes on, and the sockets stay open.
    pub(super) fn hand_over(&mut self) -> HandedOver {
        let doors = self.doors_now();
        self.is_ready.store(false, Ordering::Relaxed);
        // It is for the other process from now on.
        self.snapshot.load().cache.release_disk();
        self.admin.serve(None);
        self.listeners.drain(self.settings.shutdown_grace);
        HandedOver(doors)
    }

    /// The other process is gone: accepts again.
    pub(super) fn take_back(&mut self, HandedOver(doors): HandedOver) {
        let (open, all_closed) = OpenConnections::new();
        self.closing.push(all_closed);
        self.keep_on();
        self.listeners.reopen(open);
        self.open(doors);
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// Has the cache keep responses again, which it did not any more.
    pub(super) fn keep_on(&self) {
        let snapshot = self.snapshot.load();
        snapshot.cache.go_on();
        snapshot.cache.apply(&snapshot.cache_settings);
    }

    fn doors_now(&self) -> Doors {
        Doors {
            listeners: self.listeners.doors(),
            admin: self.admin.door(),
        }
    }
}
