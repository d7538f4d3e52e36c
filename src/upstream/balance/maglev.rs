//! Consistent hashing: the same key goes to the same endpoint, and few keys move when the endpoints change.

/// Prime, so that every step walks through all slots. The number that the paper measures for up to a thousand
/// endpoints, and Envoy's.
const SLOTS: usize = 65_537;
/// Places that are looked at for one that will do, before any that will is taken.
const MOST_PROBES: usize = 256;

/// Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4. Each
/// endpoint has an order of preference of its own over the slots, and they take slots in turns, as often as their
/// weights say.
///
/// Ketama's ring would be the other choice. It moves exactly the keys of who leaves, but its shares differ by a tenth
/// with a hundred points per endpoint, and for a thousand endpoints each look-up is a search through a hundred
/// thousand points. Here a look-up is one load and shares are even to one slot; when the list changes, a few keys more
/// than need be move. When an endpoint is only unhealthy the table stays, and only its own keys go elsewhere.
#[derive(Debug)]
pub(super) struct Maglev {
    /// What it was made of, in order: the hash of each endpoint's name and its weight.
    of: Box<[(u64, u32)]>,
    slots: Box<[u16]>,
}

impl Maglev {
    /// `members` are in the order that the table's places are in. That order matters to the table, so it must be the
    /// same on every gateway.
    pub(super) fn new(members: &[(u64, u32)]) -> Maglev {
        let most = members.iter().map(|(_, weight)| *weight).max().unwrap_or(1);
        let mut takers: Vec<Taker> = members
            .iter()
            .map(|(hash, weight)| Taker::new(*hash, *weight, most))
            .collect();
        const FREE: u16 = u16::MAX;
        let mut slots = vec![FREE; if members.is_empty() { 0 } else { SLOTS }];
        let mut free = slots.len();
        while free > 0 {
            for (place, taker) in takers.iter_mut().enumerate() {
                if free == 0 || !taker.has_turn(most) {
                    continue;
                }
                while slots[taker.next] != FREE {
                    taker.step();
                }
                slots[taker.next] = place as u16;
                free -= 1;
            }
        }
        Maglev {
            of: members.into(),
            slots: slots.into(),
        }
    }

    pub(super) fn is_of(&self, members: &[(u64, u32)]) -> bool {
        *self.of == *members
    }

    /// The place for a key: the first that will do, from the key's slot on. The walk is the same each time, so the keys of one
    /// that will not do are spread over all others and come back when it does again.
    pub(super) fn find<T>(&self, key: u64, will_do: impl Fn(usize) -> Option<T>) -> Option<T> {
        let start = (key % SLOTS as u64) as usize;
        let later = self.slots.get(start..).unwrap_or_default().iter();
        let walk = later.chain(&self.slots).take(MOST_PROBES);
        let found = walk.map(|place| usize::from(*place)).find_map(&will_do);
        found.or_else(|| {
            // Few are left of many.
            let count = self.of.len();
            let start = (key % count.max(1) as u64) as usize;
            let mut all = (0..count).map(|step| (start + step) % count);
            all.find_map(will_do)
        })
    }
}

/// An endpoint while slots are taken.
struct Taker {
    next: usize,
    skip: usize,
    weight: u64,
    /// It takes a slot when this has come to the largest weight.
    credit: u64,
}

impl Taker {
    fn new(hash: u64, weight: u32, most: u32) -> Taker {
        let weight = u64::from(weight);
        Taker {
            next: (hash % SLOTS as u64) as usize,
            skip: (hash / SLOTS as u64 % (SLOTS as u64 - 1)) as usize + 1,
            weight,
            // So that even the lightest has a slot.
            credit: u64::from(most).saturating_sub(weight),
        }
    }

    fn has_turn(&mut self, most: u32) -> bool {
        self.credit += self.weight;
        let has_turn = self.credit >= u64::from(most);
        if has_turn {
            self.credit -= u64::from(most);
        }
        has_turn
    }

    fn step(&mut self) {
        self.next = (self.next + self.skip) % SLOTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{StableHash, mix};

    fn members(count: u32, weight: impl Fn(u32) -> u32) -> Vec<(u64, u32)> {
        let hash = |n: u32| {
            let mut hash = StableHash::new();
            hash.part(format!("10.0.{}.{}:8080", n / 250, n % 250).as_bytes());
            hash.finish()
        };
        (0..count).map(|n| (hash(n), weight(n))).collect()
    }

    fn place(table: &Maglev, key: u64) -> usize {
        table.find(mix(key), Some).unwrap()
    }

    const KEYS: u64 = 100_000;

    #[test]
    fn shares_are_as_the_weights_say() {
        type Weight = fn(u32) -> u32;
        let (even, uneven): (Weight, Weight) = (|_| 1, |n| 1 + n % 3);
        for (count, weight) in [(3, even), (100, even), (1000, even), (10, uneven)] {
            let members = members(count, weight);
            let table = Maglev::new(&members);
            let mut seen = vec![0u32; members.len()];
            (0..KEYS).for_each(|key| seen[place(&table, key)] += 1);
            let total: u32 = members.iter().map(|(_, weight)| weight).sum();
            for (seen, (_, weight)) in seen.into_iter().zip(&members) {
                let wanted = KEYS as f64 * f64::from(*weight) / f64::from(total);
                let off = (f64::from(seen) - wanted).abs();
                let tolerance = wanted * 0.03 + 5.0 * wanted.sqrt();
                assert!(off <= tolerance, "{seen} for {wanted} of {count}");
            }
        }
    }

    #[test]
    fn few_keys_move_when_one_leaves() {
        for count in [2, 3, 4, 7, 10, 30, 100, 300, 1000] {
            let before = members(count, |_| 1);
            let table = Maglev::new(&before);
            let last = count as usize - 1;
            for gone in [0, last / 2, last] {
                let mut after = before.clone();
                after.remove(gone);
                let left = Maglev::new(&after);
                let moved = (0..KEYS)
                    .filter(|&key| before[place(&table, key)].0 != after[place(&left, key)].0);
                let share = moved.count() as f64 / KEYS as f64;
                let most = 1.0 / f64::from(count) + 0.05;
                assert!(share <= most, "{share} of the keys moved with {count}");
            }
        }
    }

    #[test]
    fn only_its_own_keys_leave_one_that_will_not_do() {
        let table = Maglev::new(&members(10, |_| 1));
        let without = |key, ill: usize| table.find(mix(key), |it| (it != ill).then_some(it));
        let mut heirs = std::collections::BTreeSet::new();
        for key in 0..10_000 {
            let (home, elsewhere) = (place(&table, key), without(key, 4).unwrap());
            assert_eq!(home != 4, home == elsewhere);
            if home == 4 {
                heirs.insert(elsewhere);
            }
        }
        assert_eq!(heirs.len(), 9, "its keys are spread over all others");
    }

    #[test]
    fn the_one_that_is_left_is_found() {
        let table = Maglev::new(&members(1000, |_| 1));
        let only = |key, one: usize| table.find(mix(key), |it| (it == one).then_some(it));
        assert!((0..1000).all(|key| only(key, 7) == Some(7)));
        assert_eq!(table.find(1, |_| None::<usize>), None);
        assert_eq!(Maglev::new(&[]).find(1, Some), None);
    }
}
