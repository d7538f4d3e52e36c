//! Endpoints that are gone, remembered for a while: one that comes back is as healthy as it was when it went.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;

/// Registries lose and find endpoints within seconds; what was known a minute ago says little.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Of more, the first to go are forgotten first.
const MOST: usize = 1024;

/// What was known of endpoints that are gone. They have no connections any more.
#[derive(Debug, Default)]
pub(super) struct Departed {
    endpoints: VecDeque<(Instant, Arc<Endpoint>)>,
}

impl Departed {
    pub(super) fn remember(&mut self, now: Instant, endpoint: Arc<Endpoint>) {
        self.forget_old(now);
        if self.endpoints.len() >= MOST {
            self.endpoints.pop_front();
        }
        self.endpoints.push_back((now, endpoint));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The one that was last at this address.
    pub(super) fn at(&self, now: Instant, address: &str) -> Option<&Arc<Endpoint>> {
        let mut latest_first = self.endpoints.iter().rev();
        let (since, found) = latest_first.find(|(_, it)| it.address() == address)?;
        (now.saturating_duration_since(*since) < REMEMBERED).then_some(found)
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old =
            |&(since, _): &(Instant, _)| now.saturating_duration_since(since) >= REMEMBERED;
        while self.endpoints.front().is_some_and(is_old) {
            self.endpoints.pop_front();
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
    fn it_does_not_grow_beyond_its_bounds() {
        let mut departed = Departed::default();
        let (now, one) = (Instant::now(), endpoint(1));
        (0..2 * MOST).for_each(|_| departed.remember(now, one.clone()));
        assert_eq!(departed.endpoints.len(), MOST);
        departed.remember(now + REMEMBERED, one);
        assert_eq!(departed.endpoints.len(), 1);
    }
}
