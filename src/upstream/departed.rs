//! Endpoints that are gone, remembered for a while: one that comes back is as healthy as it was when it went.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;

/// Registries lose and find endpoints within seconds; what was known a minute ago says little.
const REMEMBERED: Duration = Duration::from_secs(60);
/// As many as a registry may have. Of more, the first to go are forgotten first.
const MOST: usize = 10_000;

/// What was known of endpoints that are gone. They have no connections any more.
#[derive(Debug, Default)]
pub(super) struct Departed {
    /// By their addresses, and since when they are gone.
    endpoints: HashMap<Box<str>, (Instant, Arc<Endpoint>)>,
    /// In which order they went; some of them may be back, or gone once more.
    order: VecDeque<(Instant, Box<str>)>,
}

impl Departed {
    /// What is known of these counts, however many they are.
    pub(super) fn inherit(&mut self, now: Instant, endpoints: Vec<Arc<Endpoint>>) {
        for endpoint in endpoints {
            self.add(now, endpoint);
        }
    }

    pub(super) fn remember(&mut self, now: Instant, endpoint: Arc<Endpoint>) {
        self.forget_old(now);
        if self.order.len() >= MOST {
            self.forget_first();
        }
        self.add(now, endpoint);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The one that was last at this address.
    pub(super) fn at(&self, now: Instant, address: &str) -> Option<&Arc<Endpoint>> {
        let (since, found) = self.endpoints.get(address)?;
        (now.saturating_duration_since(*since) < REMEMBERED).then_some(found)
    }

    /// Somebody is there again, who knows it all.
    pub(super) fn forget(&mut self, address: &str) {
        self.endpoints.remove(address);
    }

    fn add(&mut self, now: Instant, endpoint: Arc<Endpoint>) {
        let address: Box<str> = endpoint.address().into();
        self.order.push_back((now, address.clone()));
        self.endpoints.insert(address, (now, endpoint));
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old =
            |(since, _): &(Instant, _)| now.saturating_duration_since(*since) >= REMEMBERED;
        while self.order.front().is_some_and(is_old) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((since, address)) = self.order.pop_front() else {
            return;
        };
        let known = self.endpoints.get(&address);
        if known.is_some_and(|&(last, _)| last == since) {
            self.endpoints.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Member;
    use crate::observability::Metrics;
    use crate::upstream::peer::PeerTemplate;

    fn endpoint(port: u16) -> Arc<Endpoint> {
        let member = Member::at(([127, 0, 0, 1], port).into(), 1);
        let metrics = Metrics::new().upstream("u");
        Arc::new(Endpoint::new(member, &PeerTemplate::plain("u"), &metrics))
    }

    #[test]
    fn the_last_of_an_address_is_remembered_for_a_minute() {
        let mut departed = Departed::default();
        let now = Instant::now();
        let (first, second) = (endpoint(1), endpoint(1));
        departed.remember(now, first);
        departed.remember(now, second.clone());
        let at = |seconds, address| departed.at(now + Duration::from_secs(seconds), address);
        assert!(at(59, "127.0.0.1:1").is_some_and(|it| Arc::ptr_eq(it, &second)));
        assert!(at(60, "127.0.0.1:1").is_none());
        assert!(at(0, "127.0.0.1:2").is_none());
    }

    #[test]
    fn who_goes_again_is_remembered_from_then_on() {
        let mut departed = Departed::default();
        let (now, later) = (Instant::now(), Instant::now() + REMEMBERED / 2);
        departed.remember(now, endpoint(1));
        departed.forget("127.0.0.1:1");
        assert!(departed.at(now, "127.0.0.1:1").is_none() && departed.is_empty());
        departed.remember(later, endpoint(1));
        departed.remember(now + REMEMBERED, endpoint(2));
        assert!(departed.at(now + REMEMBERED, "127.0.0.1:1").is_some());
    }

    /// At a reload nobody is sick or well all of a sudden, however large the upstream is.
    #[test]
    fn what_is_inherited_has_no_bounds() {
        let metrics = Metrics::new().upstream("u");
        let template = PeerTemplate::plain("u");
        let at = |number: u32| {
            let member = Member::at((std::net::Ipv4Addr::from(number), 80).into(), 1);
            Arc::new(Endpoint::new(member, &template, &metrics))
        };
        let all: Vec<_> = (1..=MOST as u32 + 1).map(at).collect();
        let (mut departed, now) = (Departed::default(), Instant::now());
        departed.inherit(now, all.clone());
        assert!(
            all.iter()
                .all(|it| departed.at(now, it.address()).is_some())
        );
    }

    #[test]
    fn it_does_not_grow_beyond_its_bounds() {
        let mut departed = Departed::default();
        let (now, one) = (Instant::now(), endpoint(1));
        (0..2 * MOST).for_each(|_| departed.remember(now, one.clone()));
        assert_eq!((departed.order.len(), departed.endpoints.len()), (MOST, 1));
        departed.remember(now + REMEMBERED, one);
        assert_eq!(departed.order.len(), 1);
    }
}
