//! The endpoints that are available now.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::dice::roll;
use super::group::{Candidate, Group, MOST, Rank, Side, is_untried};
use super::levels::{Level, capacity, shares};
use super::rules::{Rules, Subset, Zone};
use super::way::{Idle, Part, Way};
use super::{Tag, Wish};
use crate::text::mix;
use crate::upstream::endpoint::Endpoint;

/// What there is to choose from, ready to be chosen from. Immutable but for the turns and the loads.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Available {
    /// Those that have a share of the requests, in order of their priorities; then those that have none.
    groups: Box<[Group]>,
    /// What part of the requests each group gets.
    shares: Box<[f64]>,
    /// Up to where of 2^32 each group's share goes, for those that have one.
    ends: Box<[u64]>,
    /// Where sessions are sticky.
    tags: HashMap<Tag, Arc<Endpoint>>,
    /// Whether endpoints are used of which it is known that they are not healthy.
    is_in_panic: bool,
    /// Whether endpoints are used that do not have the labels of `subset`.
    is_beyond_subset: bool,
}

const WHOLE: f64 = (1u64 << 32) as f64;

impl Available {
    /// What there is to choose from among the `members`; hash tables of the set `before` that still hold are kept.
    pub(in crate::upstream) fn of(
        members: &[Arc<Endpoint>],
        rules: &Rules,
        before: &Available,
        now: Instant,
    ) -> Available {
        let (members, is_beyond_subset) = members_of(members, rules.subset.as_ref());
        let mut levels: BTreeMap<u8, Vec<Arc<Endpoint>>> = BTreeMap::new();
        for endpoint in members.into_iter().take(MOST) {
            levels
                .entry(endpoint.priority())
                .or_default()
                .push(endpoint);
        }
        let weights: Vec<Level> = levels.values().map(|all| level(all)).collect();
        let levels_share = shares(&weights, rules.panic_threshold);
        let mut groups = Vec::new();
        for ((priority, all), share) in levels.into_iter().zip(&levels_share) {
            let sides = match (&rules.zone, share.is_in_panic) {
                (Some(zone), false) => zones(all, zone),
                _ => vec![(Side::Both, all, 1.0)],
            };
            for (side, all, part) in sides {
                let rank = Rank { priority, side };
                let candidates = candidates(&all, share.is_in_panic, rules, now);
                if !candidates.is_empty() {
                    let algorithm = &rules.algorithm;
                    let group = Group::new(rank, candidates, &all, algorithm, &before.groups);
                    groups.push((share.of_requests * part, group));
                }
            }
        }
        // In their order, but those without a share last.
        groups.sort_by_key(|(share, _)| *share <= 0.0);
        let mut sum = 0.0;
        let with_share = groups.iter().filter(|(share, _)| *share > 0.0);
        let mut ends: Vec<u64> = with_share
            .map(|(share, _)| {
                sum += share;
                (sum * WHOLE) as u64
            })
            .collect();
        if let Some(last) = ends.last_mut() {
            // Whatever the sum has lost on the way.
            *last = u64::MAX;
        }
        let (shares, groups): (Vec<f64>, Vec<Group>) = groups.into_iter().unzip();
        let each = groups.iter().flat_map(Group::candidates);
        let tags = each.filter_map(|it| Some((it.endpoint.tag()?, it.endpoint.clone())));
        Available {
            tags: tags.collect(),
            ends: ends.into(),
            groups: groups.into(),
            shares: shares.into(),
            is_in_panic: levels_share.iter().any(|share| share.is_in_panic),
            is_beyond_subset,
        }
    }

    /// Chooses an endpoint that is not among the `tried`; `None` where there is none left.
    pub(in crate::upstream) fn pick(
        &self,
        wish: &Wish,
        tried: &[Arc<Endpoint>],
    ) -> Option<&Arc<Endpoint>> {
        if let Some(tag) = &wish.tag
            && let Some(endpoint) = self.tags.get(tag)
            && is_untried(endpoint, tried)
        {
            return Some(endpoint);
        }
        let first = match &*self.groups {
            [] => return None,
            [one] => return one.pick(wish, tried),
            _ => self.group_of(wish),
        };
        let chosen = self.groups.get(first)?.pick(wish, tried);
        chosen.or_else(|| self.groups.iter().find_map(|group| group.pick(wish, tried)))
    }

    /// Whether there is one that is not among the `tried`.
    pub(in crate::upstream) fn has_other(&self, tried: &[Arc<Endpoint>]) -> bool {
        self.others(tried).next().is_some()
    }

    /// All that are not among the `tried`, those that have a share of the requests first.
    pub(in crate::upstream) fn others<'a>(
        &'a self,
        tried: &'a [Arc<Endpoint>],
    ) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        let all = self.groups.iter().flat_map(Group::candidates);
        let all = all.map(|it| &it.endpoint);
        all.filter(|it| is_untried(it, tried))
    }

    pub(in crate::upstream) fn is_in_panic(&self) -> bool {
        self.is_in_panic
    }

    /// Which endpoints get requests.
    pub(in crate::upstream) fn way(&self) -> Way {
        let with_share = self.groups.iter().zip(&self.shares);
        let with_share = with_share.filter(|(_, share)| **share > 0.0);
        Way {
            ranks: with_share.map(|(group, _)| group.rank()).collect(),
            is_beyond_subset: self.is_beyond_subset,
        }
    }

    /// What each endpoint that can be chosen gets of the requests.
    pub(in crate::upstream) fn parts(&self) -> HashMap<*const Endpoint, Part> {
        let groups = self.groups.iter().zip(&self.shares);
        let parts = groups.flat_map(|(group, share)| {
            let level = self.groups.iter().zip(&self.shares);
            let level = level.filter(|(it, _)| it.rank().priority == group.rank().priority);
            let has_level = level.map(|(_, share)| share).sum::<f64>() > 0.0;
            let idle = match *share > 0.0 {
                true => None,
                false if has_level => Some(Idle::Zone),
                false => Some(Idle::Priority),
            };
            group.candidates().iter().map(move |it| {
                let of_group = f64::from(it.weight) / group.weight().max(1) as f64;
                let share = share * of_group;
                (Arc::as_ptr(&it.endpoint), Part { share, idle })
            })
        });
        parts.collect()
    }

    /// By its share: the same one each time for the same key.
    fn group_of(&self, wish: &Wish) -> usize {
        if self.ends.len() < 2 {
            return 0;
        }
        // Not the bits of the key that choose the endpoint in the group, or only some of them would ever be chosen.
        let random = wish.key.map_or_else(roll, |key| mix(!key)) >> 32;
        self.ends.partition_point(|end| *end <= random)
    }
}

/// Those that have the labels; all, and true, where none that is available has them and that is the fallback.
fn members_of(members: &[Arc<Endpoint>], subset: Option<&Subset>) -> (Vec<Arc<Endpoint>>, bool) {
    let Some(subset) = subset else {
        return (members.to_vec(), false);
    };
    let has = members.iter().filter(|it| subset.has(&it.member()));
    let chosen: Vec<Arc<Endpoint>> = has.cloned().collect();
    match subset.falls_back && !chosen.iter().any(|it| it.is_healthy()) {
        true => (members.to_vec(), true),
        false => (chosen, false),
    }
}

fn level(all: &[Arc<Endpoint>]) -> Level {
    let sum =
        |of: &mut dyn Iterator<Item = &Arc<Endpoint>>| of.map(|it| u64::from(it.weight())).sum();
    Level {
        available: sum(&mut all.iter().filter(|it| it.is_healthy())),
        all: sum(&mut all.iter()),
    }
}

/// The local ones and the others, each with its part of what the level gets.
fn zones(all: Vec<Arc<Endpoint>>, zone: &Zone) -> Vec<(Side, Vec<Arc<Endpoint>>, f64)> {
    let is_local = |it: &Arc<Endpoint>| it.member().zone.as_deref() == Some(&*zone.local);
    let local = all.iter().filter(|it| is_local(it) && it.is_healthy());
    if local.count() < zone.at_least {
        return vec![(Side::Both, all, 1.0)];
    }
    let (near, far): (Vec<_>, Vec<_>) = all.into_iter().partition(is_local);
    let part = match far.iter().any(|it| it.is_healthy()) {
        true => capacity(level(&near)),
        false => 1.0,
    };
    vec![
        (Side::Local, near, part),
        (Side::Elsewhere, far, 1.0 - part),
    ]
}

/// Those that are available, and in a panic all, with the weights that they have now.
fn candidates(
    all: &[Arc<Endpoint>],
    is_in_panic: bool,
    rules: &Rules,
    now: Instant,
) -> Vec<Candidate> {
    let used = all.iter().filter(|it| is_in_panic || it.is_healthy());
    let warmths: Vec<(&Arc<Endpoint>, u32)> = used
        .map(|it| (it, it.warmth().percent(rules.slow_start, now)))
        .collect();
    // Where all are as warm, which is nearly always, weights are as they are written: the order of turns is shorter.
    let is_even = warmths.windows(2).all(|two| two[0].1 == two[1].1);
    let weigh = |(endpoint, percent): (&Arc<Endpoint>, u32)| Candidate {
        weight: match is_even {
            true => endpoint.weight(),
            false => (endpoint.weight() * percent).max(1),
        },
        endpoint: endpoint.clone(),
    };
    warmths.into_iter().map(weigh).collect()
}
