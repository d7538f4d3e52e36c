//! Connections that are kept for the next exchange.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::lent::Wire;

/// How often unused connections are looked through for those that have waited too long, and for those that the
/// other side has closed.
const SWEEP: Duration = Duration::from_secs(1);

/// How many unused connections may be kept, over all upstreams. One for which there is no room is closed.
#[derive(Debug)]
pub struct Room {
    left: AtomicUsize,
}

impl Room {
    pub fn new(connections: usize) -> Arc<Room> {
        Arc::new(Room {
            left: AtomicUsize::new(connections),
        })
    }

    fn place(self: &Arc<Self>) -> Option<Place> {
        let one_less = |left: usize| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        taken.is_ok().then(|| Place(self.clone()))
    }
}

/// The room that one connection takes up.
#[derive(Debug)]
struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// The unused connections of one endpoint.
#[derive(Debug)]
pub(super) struct Spares {
    room: Arc<Room>,
    keepalive: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The last one in is the first one out, so that those that are not needed grow old.
    spares: Vec<Spare>,
    is_swept: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Spare {
    wire: Wire,
    since: Instant,
    _place: Place,
}

impl Spares {
    pub(super) fn new(room: Arc<Room>, keepalive: Duration) -> Arc<Spares> {
        Arc::new(Spares {
            room,
            keepalive,
            kept: Mutex::default(),
        })
    }

    /// A connection that nothing has happened on since it was put here.
    pub(super) fn take(&self, now: Instant) -> Option<Wire> {
        loop {
            let mut spare = self.kept().spares.pop()?;
            if self.is_good(&mut spare, now) {
                return Some(spare.wire);
            }
        }
    }

    /// Keeps a connection that has been unused since then, where there is room.
    pub(super) fn put(self: &Arc<Self>, wire: Wire, since: Instant) {
        let Some(place) = self.room.place() else {
            return;
        };
        let spare = Spare {
            wire,
            since,
            _place: place,
        };
        let mut kept = self.kept();
        if kept.is_closed {
            return;
        }
        kept.spares.push(spare);
        // Where there is no runtime any more, everything is about to be closed anyway.
        if !kept.is_swept
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            kept.is_swept = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes all, and keeps none any more.
    pub(super) fn close(&self) {
        let mut kept = self.kept();
        kept.is_closed = true;
        let spares = std::mem::take(&mut kept.spares);
        // Not under the lock.
        drop(kept);
        drop(spares);
    }

    fn is_good(&self, spare: &mut Spare, now: Instant) -> bool {
        now.saturating_duration_since(spare.since) < self.keepalive && spare.wire.is_quiet()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes what is of no use any more. False where nothing is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut kept = self.kept();
        kept.spares.retain_mut(|spare| self.is_good(spare, now));
        kept.is_swept = !kept.spares.is_empty();
        kept.is_swept
    }
}

/// Runs while there are spares.
async fn sweep(spares: Weak<Spares>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let goes_on = spares.upgrade().is_some_and(|spares| spares.sweep());
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora::protocols::l4::socket::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::upstream::connect::open;

    const LONG: Duration = Duration::from_secs(600);

    async fn wire() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = SocketAddr::Inet(listener.local_addr().unwrap());
        let (opened, accepted) = tokio::join!(open(&address, None, LONG), listener.accept());
        let (transport, watch) = opened.unwrap();
        (Wire::new(transport, watch), accepted.unwrap().0)
    }

    async fn until(mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_spare_is_taken_once() {
        let spares = Spares::new(Room::new(10), LONG);
        assert!(spares.take(Instant::now()).is_none());
        let (wire, _peer) = wire().await;
        spares.put(wire, Instant::now());
        assert!(spares.take(Instant::now()).is_some());
        assert!(spares.take(Instant::now()).is_none());
    }

    #[tokio::test]
    async fn no_more_are_kept_than_there_is_room_for() {
        let room = Room::new(1);
        let spares = Spares::new(room.clone(), LONG);
        let ((one, _one), (two, _two)) = (wire().await, wire().await);
        spares.put(one, Instant::now());
        spares.put(two, Instant::now());
        assert!(spares.take(Instant::now()).is_some());
        assert!(spares.take(Instant::now()).is_none());
        drop(spares);
        assert_eq!(room.left.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_is_closed_keeps_nothing() {
        let room = Room::new(10);
        let spares = Spares::new(room.clone(), LONG);
        let ((one, mut peer), (two, _two)) = (wire().await, wire().await);
        spares.put(one, Instant::now());
        spares.close();
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
        spares.put(two, Instant::now());
        assert!(spares.take(Instant::now()).is_none());
        assert_eq!(room.left.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn what_was_closed_or_has_spoken_is_not_taken() {
        let spares = Spares::new(Room::new(10), LONG);
        let ((closed, peer), (speaking, mut other)) = (wire().await, wire().await);
        spares.put(closed, Instant::now());
        spares.put(speaking, Instant::now());
        assert!(spares.sweep(), "so far they are good");
        drop(peer);
        other.write_all(b"x").await.unwrap();
        until(|| !spares.sweep()).await;
        assert!(spares.take(Instant::now()).is_none());
    }

    #[tokio::test]
    async fn what_has_waited_too_long_is_closed() {
        let room = Room::new(10);
        let spares = Spares::new(room.clone(), Duration::from_millis(10));
        let (wire, _peer) = wire().await;
        spares.put(wire, Instant::now());
        until(|| room.left.load(Ordering::Relaxed) == 10).await;
        assert!(spares.take(Instant::now()).is_none());
    }
}
