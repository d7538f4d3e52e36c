//! Getting a connection for one try: one that is kept, or a new one.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::Result;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::VirtualSocketStream;

use super::connect::{Turn, open};
use super::endpoint::Endpoint;
use super::handshake::Handshake;
use super::hedge::{Hedge, Plan, Won};
use super::lent::{Lent, Wire};
use super::spares::Spares;
use crate::http1::Refusal;

/// What the engine asks for a connection.
#[derive(Debug)]
pub(super) struct Dial {
    spares: Arc<Spares>,
    tls: Option<Arc<Handshake>>,
    asked: Instant,
    limit: Duration,
    call: Arc<Call>,
    /// Boxed, as `won` below: few tries have one.
    hedge: Option<Box<Plan>>,
}

/// What became of it, for whoever let the engine ask.
#[derive(Debug, Default)]
pub(super) struct Call {
    turn: OnceLock<Turn>,
    was_spare: AtomicBool,
    is_until_close: AtomicBool,
    refusal: OnceLock<Refusal>,
    /// Another endpoint that was asked as well, and what there is to know of it where it has answered.
    hedged: OnceLock<Arc<Endpoint>>,
    won: OnceLock<Box<Won>>,
    /// The most that is to be read of a response at a time.
    largest_part: Option<NonZeroU32>,
}

impl Dial {
    /// To be connected with `limit` from now on; `None` where the connections are the engine's to open.
    pub(super) fn to(
        endpoint: &Endpoint,
        now: Instant,
        limit: Duration,
        largest_part: Option<NonZeroU32>,
        hedge: Option<Box<Plan>>,
    ) -> Option<(Arc<Dial>, Arc<Call>)> {
        let spares = endpoint.spares()?.clone();
        let call = Arc::new(Call {
            largest_part,
            ..Call::default()
        });
        let dial = Dial {
            spares,
            tls: endpoint.handshake().cloned(),
            asked: now,
            limit,
            call: call.clone(),
            hedge,
        };
        Some((Arc::new(dial), call))
    }
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let wire = match self.spares.take(self.asked) {
            Some(wire) => {
                self.call.was_spare.store(true, Ordering::Relaxed);
                wire
            }
            None => {
                // Boxed: an exchange on a connection that was kept does not carry the size of this.
                let opening = Box::pin(open(address, self.tls.as_deref(), self.limit));
                let (transport, watch) = opening.await?;
                Wire::new(transport, watch)
            }
        };
        // The engine asks once in a try.
        let _ = self.call.turn.set(Turn::begin_on(wire.watch()));
        let hedge = self.hedge.as_ref();
        let hedge = hedge.map(|plan| Box::new(Hedge::new(Plan::clone(plan))));
        let lent = Lent::new(wire, self.spares.clone(), self.call.clone(), hedge);
        Ok(VirtualSocketStream::new(Box::new(lent)).into())
    }
}

impl Call {
    /// The watch of the connection, once there is one.
    pub(super) fn turn(&self) -> Option<&Turn> {
        match self.won.get() {
            None => self.turn.get(),
            Some(won) => Some(&won.turn),
        }
    }

    /// Whether the connection that the try began with was shut down because its deadline had passed.
    pub(super) fn has_first_fired(&self) -> bool {
        self.turn.get().is_some_and(Turn::has_fired)
    }

    /// Another endpoint is asked as well.
    pub(super) fn hedge(&self, endpoint: Arc<Endpoint>) {
        let _ = self.hedged.set(endpoint);
    }

    pub(super) fn hedged(&self) -> Option<&Arc<Endpoint>> {
        self.hedged.get()
    }

    /// It has answered.
    pub(super) fn won(&self, won: Won) {
        let _ = self.won.set(Box::new(won));
    }

    pub(super) fn winner(&self) -> Option<&Won> {
        self.won.get().map(|won| &**won)
    }

    /// The most that is to be read of the response at a time, where that is said.
    pub(super) fn largest_part(&self) -> Option<usize> {
        self.largest_part.map(|part| part.get() as usize)
    }

    /// Whether the connection had served others before.
    pub(super) fn was_spare(&self) -> bool {
        self.was_spare.load(Ordering::Relaxed)
    }

    /// The response ends with the connection.
    pub(super) fn ends_with_connection(&self) {
        self.is_until_close.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_until_close(&self) -> bool {
        self.is_until_close.load(Ordering::Relaxed)
    }

    /// Whether what the upstream sent was no response.
    pub(super) fn is_refused(&self) -> bool {
        self.refusal.get().is_some()
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        let _ = self.refusal.set(refusal);
    }
}
