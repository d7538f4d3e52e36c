//! How many may be connected: in all, from one address, and in the middle of being set up.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::{AHashMap, RandomState};
use tokio::sync::mpsc;

use super::Listener;

/// Connections come and go on all workers, and what they share is a lock of a few nanoseconds; so many locks make
/// it unlikely that two meet.
const SHARDS: usize = 16;

/// Why a connection was closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `limits.connections`.
    Full,
    /// `limits.connections_per_ip`.
    Address,
    /// `limits.handshakes`.
    Handshakes,
    /// No PROXY header where there must be one, or a malformed one.
    ProxyProtocol,
    TlsHandshake,
    Timeout,
}

impl Listener {
    /// Counts a refusal.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let metrics = &self.metrics;
        match refusal {
            Refusal::Full => &metrics.refused_full,
            Refusal::Address => &metrics.refused_address,
            Refusal::Handshakes => &metrics.refused_handshakes,
            Refusal::ProxyProtocol => &metrics.refused_proxy_protocol,
            Refusal::TlsHandshake => &metrics.refused_handshake,
            Refusal::Timeout => &metrics.refused_timeout,
        }
        .inc();
    }
}

/// Held by every connection as long as it is open.
#[derive(Clone, Debug)]
pub struct OpenConnections {
    _held: mpsc::Sender<Infallible>,
}

/// Tells when no connection is open any more.
#[derive(Debug)]
pub struct AllClosed(mpsc::Receiver<Infallible>);

impl OpenConnections {
    /// One to give away with every listener, and the end that tells once all of them are dropped.
    pub fn new() -> (OpenConnections, AllClosed) {
        let (sender, receiver) = mpsc::channel(1);
        (OpenConnections { _held: sender }, AllClosed(receiver))
    }
}

impl AllClosed {
    pub async fn wait(&mut self) {
        // Nothing is ever sent, so what ends the wait is that the last sender is gone.
        let _: Option<Infallible> = self.0.recv().await;
    }
}

/// The counts of one listener. There is an entry only for what is open now, so that its size is bounded by
/// `limits.connections`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    open: AtomicU32,
    handshakes: AtomicU32,
    by_address: ByAddress,
}

impl Counts {
    pub(super) fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }
}

/// One open connection among those of its listener. Dropping it gives its places back.
#[derive(Debug)]
pub(super) struct Place {
    listener: Arc<Listener>,
    address: Option<IpAddr>,
    _open: OpenConnections,
}

impl Place {
    /// A place for a connection that was just accepted.
    pub(super) fn take(listener: &Arc<Listener>, open: &OpenConnections) -> Result<Place, Refusal> {
        // Only the accept loop adds to the gauge, so nobody can come in between.
        let now_open = u32::try_from(listener.metrics.connections.get()).unwrap_or_default();
        if now_open >= listener.limits.connections.get() {
            return Err(Refusal::Full);
        }
        listener.metrics.connections.inc();
        listener.counts.open.fetch_add(1, Ordering::Relaxed);
        Ok(Place {
            listener: listener.clone(),
            address: None,
            _open: open.clone(),
        })
    }

    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Counts it for its address. Trusted proxies bring many clients and are not counted; nor is whoever comes by
    /// a Unix socket, which has no address.
    pub(super) fn count_for(&mut self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(address) = address.filter(|&address| !self.listener.trusts(address)) else {
            return Ok(());
        };
        let address = network_of(address);
        let limit = self.listener.limits.connections_per_ip.get();
        if !self.listener.counts.by_address.add(address, limit) {
            return Err(Refusal::Address);
        }
        self.address = Some(address);
        Ok(())
    }

    /// A permit for setting the connection up.
    pub(super) fn begin_handshake(&self) -> Result<Handshake, Refusal> {
        let handshakes = &self.listener.counts.handshakes;
        let limit = self.listener.limits.handshakes.get();
        if handshakes.fetch_add(1, Ordering::Relaxed) >= limit {
            handshakes.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Handshakes);
        }
        Ok(Handshake(self.listener.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.listener.metrics.connections.dec();
        self.listener.counts.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            self.listener.counts.by_address.remove(address);
        }
    }
}

/// A handshake in flight; it ends with this.
#[derive(Debug)]
pub(super) struct Handshake(Arc<Listener>);

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.counts.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What counts as one address: of IPv6 the /64, which is what one customer is given at least.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// Open connections by address.
#[derive(Debug, Default)]
struct ByAddress {
    hasher: RandomState,
    shards: [Mutex<AHashMap<IpAddr, u32>>; SHARDS],
}

impl ByAddress {
    /// Adds one, unless there are as many as there may be.
    fn add(&self, address: IpAddr, limit: u32) -> bool {
        let mut shard = self.shard(address);
        let count = shard.entry(address).or_default();
        // An entry that was made just now is 0, and a limit is not: no entry stays that counts nothing.
        let is_allowed = *count < limit;
        if is_allowed {
            *count += 1;
        }
        is_allowed
    }

    fn remove(&self, address: IpAddr) {
        let mut shard = self.shard(address);
        if let Some(count) = shard.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&address);
            }
        }
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, AHashMap<IpAddr, u32>> {
        let index = self.hasher.hash_one(address) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(counts: &ByAddress) -> usize {
        let shards = counts.shards.iter();
        shards.map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn an_address_is_a_network_of_one_customer() {
        let check = |address: &str, expected: &str| {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(network_of(address).to_string(), expected, "{address}");
        };
        check("192.0.2.1", "192.0.2.1");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::");
        check("2001:db8:1:3::", "2001:db8:1:3::");
        check("::1", "::");
    }

    proptest! {
        /// Whatever comes and goes, the counts are those of a plain list, and nothing is left at the end.
        #[test]
        fn counts_are_kept(steps in proptest::collection::vec((any::<bool>(), 0u8..6), 0..200)) {
            let counts = ByAddress::default();
            let mut open: Vec<IpAddr> = Vec::new();
            for (comes, address) in steps {
                let address = IpAddr::from([10, 0, 0, address]);
                let before = open.iter().filter(|&&other| other == address).count();
                if comes {
                    let is_allowed = counts.add(address, 3);
                    prop_assert_eq!(is_allowed, before < 3);
                    if is_allowed {
                        open.push(address);
                    }
                } else if let Some(index) = open.iter().position(|&other| other == address) {
                    open.swap_remove(index);
                    counts.remove(address);
                }
                let mut distinct = open.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(entries(&counts), distinct.len());
            }
            for address in open {
                counts.remove(address);
            }
            prop_assert_eq!(entries(&counts), 0);
        }
    }
}
