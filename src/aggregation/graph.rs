//! Which parts wait for which.

use std::collections::BTreeSet;

/// Which parts wait for which, without a cycle. Parts go by their places in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// For each part those that it waits for, in order.
    needs: Box<[Box<[usize]>]>,
    /// For each part those that wait for it, in order.
    wakes: Box<[Box<[usize]>]>,
    /// For each part how many come one after the other before it.
    levels: Box<[usize]>,
}

/// Parts that wait for each other in a ring: each for the next, and the last for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<usize>);

impl Graph {
    /// `needs` has for each part those that it waits for, in any order.
    pub fn new(needs: Vec<BTreeSet<usize>>) -> Result<Graph, Cycle> {
        let count = needs.len();
        let mut wakes = vec![Vec::new(); count];
        for (part, needed) in needs.iter().enumerate() {
            for one in needed {
                if let Some(wakes) = wakes.get_mut(*one) {
                    wakes.push(part);
                }
            }
        }
        let mut levels: Vec<Option<usize>> = vec![None; count];
        loop {
            let before = levels.iter().flatten().count();
            for (part, needed) in needs.iter().enumerate() {
                let of_needed: Option<Vec<usize>> = needed
                    .iter()
                    .map(|one| levels.get(*one).copied().flatten())
                    .collect();
                if let (Some(level), Some(of_needed)) = (levels.get_mut(part), of_needed) {
                    *level = Some(of_needed.into_iter().max().map_or(0, |deepest| deepest + 1));
                }
            }
            match levels.iter().flatten().count() {
                all if all == count => break,
                stuck if stuck == before => return Err(Cycle::among(&needs, &levels)),
                _ => {}
            }
        }
        let boxed = |lists: Vec<Vec<usize>>| lists.into_iter().map(Into::into).collect();
        Ok(Graph {
            needs: boxed(
                needs
                    .into_iter()
                    .map(|it| it.into_iter().collect())
                    .collect(),
            ),
            wakes: boxed(wakes),
            levels: levels.into_iter().flatten().collect(),
        })
    }

    /// Those that this part waits for.
    pub fn needs(&self, part: usize) -> &[usize] {
        self.needs.get(part).map_or(&[], |needs| needs)
    }

    /// Those that wait for this part.
    pub fn wakes(&self, part: usize) -> &[usize] {
        self.wakes.get(part).map_or(&[], |wakes| wakes)
    }

    /// How many come one after the other before this part: 0 for those that start at once.
    pub fn level(&self, part: usize) -> usize {
        self.levels.get(part).copied().unwrap_or_default()
    }

    /// How many come one after the other.
    pub fn depth(&self) -> usize {
        let deepest = self.levels.iter().max();
        deepest.map_or(0, |level| level + 1)
    }
}

impl Cycle {
    /// Who has no level waits for somebody who has none: following that leads into a ring.
    fn among(needs: &[BTreeSet<usize>], levels: &[Option<usize>]) -> Cycle {
        let is_stuck = |part: &usize| levels.get(*part).is_some_and(Option::is_none);
        let mut way: Vec<usize> = Vec::new();
        let mut part = (0..needs.len()).find(is_stuck).unwrap_or_default();
        while !way.contains(&part) {
            way.push(part);
            let needed = needs.get(part).into_iter().flatten().copied();
            part = needed.into_iter().find(is_stuck).unwrap_or(part);
        }
        let begin = way.iter().position(|one| *one == part).unwrap_or_default();
        let mut ring = way.split_off(begin);
        // It begins with the first of its names, however it was come into.
        let least = ring.iter().enumerate().min_by_key(|(_, part)| **part);
        let least = least.map_or(0, |(place, _)| place);
        ring.rotate_left(least);
        Cycle(ring)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graph(needs: &[&[usize]]) -> Result<Graph, Cycle> {
        Graph::new(
            needs
                .iter()
                .map(|it| it.iter().copied().collect())
                .collect(),
        )
    }

    #[test]
    fn who_waits_for_whom() {
        let graph = graph(&[&[], &[0], &[], &[1, 2], &[0]]).unwrap();
        let levels: Vec<_> = (0..5).map(|part| graph.level(part)).collect();
        assert_eq!((levels, graph.depth()), (vec![0, 1, 0, 2, 1], 3));
        assert_eq!(graph.needs(3), [1, 2]);
        assert_eq!((graph.wakes(0), graph.wakes(3)), (&[1, 4][..], &[][..]));
        assert_eq!((graph.needs(9), graph.wakes(9)), (&[][..], &[][..]));
    }

    #[test]
    fn rings_are_named() {
        let check = |needs: &[&[usize]], expected: &[usize]| {
            assert_eq!(graph(needs), Err(Cycle(expected.into())), "{needs:?}");
        };
        check(&[&[0]], &[0]);
        check(&[&[1], &[0]], &[0, 1]);
        check(&[&[2], &[], &[3], &[2, 1]], &[2, 3]);
        check(&[&[1], &[2], &[0], &[0]], &[0, 1, 2]);
    }

    proptest! {
        /// There is a cycle or every part comes after all that it waits for; and what is said to be one is one.
        #[test]
        fn order_or_cycle(edges in prop::collection::vec((0..8_usize, 0..8_usize), 0..20)) {
            let mut needs = vec![BTreeSet::new(); 8];
            for (part, needed) in edges {
                needs[part].insert(needed);
            }
            match Graph::new(needs.clone()) {
                Ok(graph) => for (part, needed) in needs.iter().enumerate() {
                    for one in needed {
                        prop_assert!(graph.level(*one) < graph.level(part));
                        prop_assert!(graph.wakes(*one).contains(&part));
                    }
                },
                Err(Cycle(ring)) => {
                    prop_assert!(!ring.is_empty());
                    for (place, part) in ring.iter().enumerate() {
                        let next = ring[(place + 1) % ring.len()];
                        prop_assert!(needs[*part].contains(&next));
                    }
                }
            }
        }
    }
}
