//! How often a name may be guessed for.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ahash::RandomState;

/// Counts failures by name and client, so that nobody locks out anybody else, and far more of them by name alone, so that
/// many clients cannot guess without end.
pub(super) struct Attempts {
    of_clients: Arc<Buckets>,
    of_names: Arc<Buckets>,
}

/// How many times what one client has all clients together have for a name.
const LOOSER: u32 = 50;

/// An attempt that counts as a failure for as long as this is there, and afterwards only if it was one.
pub(super) struct Attempt([Charge; 2]);

impl Attempts {
    /// So many failures in a row of a client for a name, and so many more in each minute after that.
    pub(super) fn new(per_minute: u16) -> Attempts {
        let per_minute = u32::from(per_minute.max(1));
        let buckets = |per_minute| Arc::new(Buckets::new(per_minute));
        Attempts {
            of_clients: buckets(per_minute),
            of_names: buckets(per_minute * LOOSER),
        }
    }

    /// Counts a failure before it is known to be one, so that guesses at the same time are counted, too. `Err` says when
    /// to come back.
    pub(super) fn begin(&self, name: &str, client: IpAddr) -> Result<Attempt, Duration> {
        let of_client = Buckets::charge(&self.of_clients, (name, site(client)))?;
        let of_name = Buckets::charge(&self.of_names, name)?;
        Ok(Attempt([of_client, of_name]))
    }
}

impl Attempt {
    /// It was a failure, and is not forgotten but by time.
    pub(super) fn fail(self) {
        self.0.into_iter().for_each(Charge::keep);
    }
}

/// What belongs to one client: who has one address of IPv6 has all of its /64.
fn site(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        address => address,
    }
}

/// Counts in little memory that never grows: keys share a slot where their hashes do, which nobody outside can find out,
/// and which costs them no more than that they share their failures.
///
/// Each slot is a bucket that empties steadily (GCRA): it holds the time at which it will be empty.
struct Buckets {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
    start: Instant,
    /// Microseconds that one failure takes to be forgotten.
    each: u64,
}

const SLOTS: usize = 4096;
const MINUTE: u64 = 60_000_000;

/// A failure that is counted; dropping it takes it back.
struct Charge {
    buckets: Arc<Buckets>,
    slot: usize,
    is_kept: bool,
}

impl Charge {
    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if !self.is_kept {
            self.buckets.refund(self.slot);
        }
    }
}

impl Buckets {
    fn new(per_minute: u32) -> Buckets {
        Buckets {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            start: Instant::now(),
            each: MINUTE / u64::from(per_minute),
        }
    }

    fn charge(buckets: &Arc<Buckets>, key: impl Hash) -> Result<Charge, Duration> {
        let now = u64::try_from(buckets.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let slot = buckets.slot_of(key);
        buckets.charge_at(slot, now)?;
        Ok(Charge {
            buckets: buckets.clone(),
            slot,
            is_kept: false,
        })
    }

    fn charge_at(&self, slot: usize, now: u64) -> Result<(), Duration> {
        let charged = self
            .slot(slot)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty| {
                let empty = empty.max(now) + self.each;
                (empty - now <= MINUTE).then_some(empty)
            });
        match charged {
            Ok(_) => Ok(()),
            Err(empty) => Err(Duration::from_micros(
                (empty + self.each).saturating_sub(now + MINUTE),
            )),
        }
    }

    fn refund(&self, slot: usize) {
        let back = |empty: u64| Some(empty.saturating_sub(self.each));
        // With an answer for every value it cannot fail.
        let _ = self
            .slot(slot)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    fn slot_of(&self, key: impl Hash) -> usize {
        self.hasher.hash_one(key) as usize % SLOTS
    }

    fn slot(&self, slot: usize) -> &AtomicU64 {
        self.slots.get(slot).unwrap_or(&NOWHERE)
    }
}

/// For an index that cannot be.
static NOWHERE: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_bounded_and_forgotten() {
        let buckets = Buckets::new(10);
        let check = |now: u64, expected: Result<(), u64>| {
            let charged = buckets.charge_at(7, now * 1000);
            assert_eq!(charged, expected.map_err(Duration::from_millis), "{now}");
        };
        for _ in 0..10 {
            check(1000, Ok(()));
        }
        check(1000, Err(6000));
        check(6999, Err(1));
        check(7000, Ok(()));
        check(7000, Err(6000));
        buckets.refund(7);
        check(7000, Ok(()));
        // All are forgotten after a minute, and no credit is saved up.
        for _ in 0..10 {
            check(1_000_000, Ok(()));
        }
        check(1_000_000, Err(6000));
    }

    #[test]
    fn keys_do_not_pay_for_each_other() {
        let buckets = Arc::new(Buckets::new(1));
        let is_free = |number: u32| Buckets::charge(&buckets, number).map(Charge::keep).is_ok();
        assert!(is_free(0) && !is_free(0));
        let free = (1..101).filter(|&number| is_free(number));
        // Some share a slot with each other.
        assert!(free.count() > 90);
    }

    #[test]
    fn clients_are_told_apart_and_names_are_bounded_all_the_same() {
        let attempts = Attempts::new(2);
        let fail = |name: &str, client: &str| {
            let client = client.parse().unwrap();
            attempts.begin(name, client).map(Attempt::fail).is_ok()
        };
        for (client, expected) in [
            ("192.0.2.1", true),
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::2", true),
            ("2001:db8::ffff:0:0:3", false),
            ("2001:db8:0:1::3", true),
        ] {
            assert_eq!(fail("ann", client), expected, "{client}");
        }
        assert!(fail("ben", "192.0.2.1"));
        // Six of a hundred are used up; a few clients share a slot, and one failure is forgotten in 600 ms.
        let clients = (0..400).map(|number| format!("198.51.{}.{}", number / 200, number % 200));
        let count = clients.filter(|client| fail("ann", client)).count();
        assert!((94..200).contains(&count), "{count}");
        // What was refused for the name is not the client's failure.
        let attempts = Attempts::new(1);
        let client = |number: u8| IpAddr::from([198, 51, 100, number]);
        for number in 0..200 {
            let _ = attempts.begin("ann", client(number)).map(Attempt::fail);
        }
        let late = client(250);
        assert!(attempts.begin("ann", late).is_err());
        assert!(Buckets::charge(&attempts.of_clients, ("ann", late)).is_ok());
    }

    #[test]
    fn what_was_no_failure_is_taken_back() {
        let attempts = Attempts::new(1);
        let client = IpAddr::from([192, 0, 2, 1]);
        let begin = || attempts.begin("ann", client);
        let first = begin();
        assert!(
            first.is_ok() && begin().is_err(),
            "it counts while it goes on"
        );
        drop(first);
        begin().expect("it was no failure").fail();
        assert!(begin().is_err());
    }
}
