//! Where a source tells what it hears.

use std::sync::Arc;

use tokio::sync::watch;

use super::standing::Standing;
use super::{Failure, Member};

/// More endpoints of one upstream are taken for a mistake of the registry, and the set for none.
const MOST_MEMBERS: usize = 10_000;
/// Weights above are taken for it.
const HEAVIEST: u32 = 65_535;

/// A set as it was published: in the order of the addresses, each of them once.
pub(super) type Published = Option<Arc<[Member]>>;

/// Where a source tells what it hears. A clone tells the same.
#[derive(Clone, Debug)]
pub struct Sink {
    standing: Arc<Standing>,
    published: watch::Sender<Published>,
    last: Last,
}

/// What an upstream has had last.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) in_force: watch::Receiver<Published>,
    /// For as long as nothing is in force.
    pub(super) kept: Published,
}

impl Sink {
    pub(super) fn new(
        standing: Arc<Standing>,
        published: watch::Sender<Published>,
        last: Last,
    ) -> Sink {
        Sink {
            standing,
            published,
            last,
        }
    }

    /// The set that is in force, or that was when what is kept was written: for parts of a new one that cannot be had
    /// just now.
    pub(super) fn last(&self) -> Arc<[Member]> {
        let in_force = self.last.in_force.borrow().clone();
        let last = in_force.or_else(|| self.last.kept.clone());
        last.unwrap_or_default()
    }

    /// These are all endpoints that there are now, whether that is news or not. Their order says nothing. Of several
    /// at the same address the first counts. It does not wait, and may be called as often as there are changes: of
    /// several that come quickly one after the other, not all are taken over, but the last one always is.
    pub(super) fn publish(&self, members: Vec<Member>) {
        self.standing.heard();
        self.put(members);
    }

    /// As [`publish`](Sink::publish), and no word of the registry: so it is by what was heard of it before. False where
    /// they are none that could be in force.
    pub(super) fn put(&self, mut members: Vec<Member>) -> bool {
        if members.len() > MOST_MEMBERS {
            let count = members.len();
            let what = format!("{count} endpoints are more than {MOST_MEMBERS}");
            self.failed(&Failure::Malformed(what.into()));
            return false;
        }
        for member in &mut members {
            member.weight = member.weight.clamp(1, HEAVIEST);
        }
        members.sort_by(|a, b| (&a.socket, &a.host).cmp(&(&b.socket, &b.host)));
        members.dedup_by(|later, first| first.is_same_place(later));
        self.published.send_replace(Some(members.into()));
        true
    }

    /// The registry has been heard of, and nothing has changed. What is said at least every minute or so makes the
    /// age of a set mean something.
    pub(super) fn alive(&self) {
        self.standing.heard();
    }

    /// Something is wrong that the source goes on after by itself. The next [`Sink::publish`] or [`Sink::alive`] says
    /// that it is over.
    pub(super) fn failed(&self, failure: &Failure) {
        self.standing.failed(failure);
    }

    /// What was looked up of names among the endpoints has come to this: `None` where all of them are known. It says
    /// nothing of the registry.
    pub(super) fn unresolved(&self, failure: Option<&Failure>) {
        self.standing.unresolved(failure);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::observability::Metrics;

    /// A sink, and what is published there.
    pub(in crate::discovery) fn sink() -> (Sink, watch::Receiver<Published>) {
        sink_after(Vec::new())
    }

    /// As [`sink`], where this was kept.
    pub(in crate::discovery) fn sink_after(
        kept: Vec<Member>,
    ) -> (Sink, watch::Receiver<Published>) {
        let metrics = Metrics::new().discovery("u", "test");
        let standing = Arc::new(Standing::new("u", "a test".to_owned(), metrics));
        let (published, sets) = watch::channel(None);
        let last = Last {
            in_force: watch::channel(None).1,
            kept: Some(kept.into()),
        };
        (Sink::new(standing, published, last), sets)
    }

    impl Sink {
        pub(in crate::discovery) fn standing(&self) -> &Standing {
            &self.standing
        }
    }

    fn member(address: &str, weight: u32) -> Member {
        Member::at(address.parse().unwrap(), weight)
    }

    #[test]
    fn sets_are_put_in_order() {
        let (sink, sets) = sink();
        let check = |members: &[(&str, u32)], expected: &[(&str, u32)]| {
            let members = members
                .iter()
                .map(|(address, weight)| member(address, *weight));
            sink.publish(members.collect());
            let expected = expected
                .iter()
                .map(|(address, weight)| member(address, *weight));
            let expected: Vec<Member> = expected.collect();
            assert_eq!(sets.borrow().as_deref(), Some(&expected[..]));
        };
        check(&[], &[]);
        check(
            &[("[::1]:2", 0), ("10.0.0.1:2", 70_000)],
            &[("10.0.0.1:2", 65_535), ("[::1]:2", 1)],
        );
        check(
            &[("10.0.0.2:1", 1), ("10.0.0.1:1", 5), ("10.0.0.2:1", 2)],
            &[("10.0.0.1:1", 5), ("10.0.0.2:1", 1)],
        );
    }

    #[test]
    fn too_many_are_none() {
        let (sink, sets) = sink();
        let many = |count: u32| {
            let at = |number: u32| Member::at((std::net::Ipv4Addr::from(number), 80).into(), 1);
            (1..=count).map(at).collect::<Vec<_>>()
        };
        sink.publish(many(10_000));
        sink.publish(many(10_001));
        assert_eq!(sets.borrow().as_ref().unwrap().len(), 10_000);
        assert!(sink.standing.shown().trouble.is_some());
    }
}
