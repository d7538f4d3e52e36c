//! The trie of path segments: every host's in one arena.

use std::collections::HashMap;
use std::hash::BuildHasher;

use smallvec::SmallVec;

use super::path::{PathTemplate, Segment};

/// A node's place in the arena.
pub(super) type NodeId = u32;

/// A route's place in the table.
pub(super) type RouteId = u32;

/// The routes of one host and one path shape, once built the most specific first.
pub(super) type Leaf = SmallVec<[RouteId; 2]>;

/// ahash with fixed keys, and no bytes per map for them. Keys come from the configuration and a lookup never
/// inserts, so a client that knows the hash gains nothing by colliding.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FixedState;

impl BuildHasher for FixedState {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> ahash::AHasher {
        ahash::RandomState::with_seeds(0x6e6f, 0x7274, 0x6867, 0x6174).build_hasher()
    }
}

#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

/// A place between two segments.
#[derive(Debug, Default)]
pub(super) struct Node {
    literals: Literals,
    param: Option<NodeId>,
    /// Routes whose template ends here.
    pub(super) end: Leaf,
    /// Routes whose template has its `{*rest}` here.
    pub(super) rest: Leaf,
}

/// Children by literal segment. Most nodes have none or one, for which a map would be waste.
#[derive(Debug, Default)]
enum Literals {
    #[default]
    None,
    One(Box<str>, NodeId),
    Few(Vec<(Box<str>, NodeId)>),
    #[expect(
        clippy::box_collection,
        reason = "few nodes are so wide; all others would carry its size"
    )]
    Many(Box<HashMap<Box<str>, NodeId, FixedState>>),
}

/// Up to here comparing is faster than hashing; a segment of another length costs one comparison of lengths.
const FEW: usize = 6;

impl Trie {
    pub(super) fn add_node(&mut self) -> NodeId {
        let id =
            NodeId::try_from(self.nodes.len()).expect("fewer than 2^32 segments fit in memory");
        self.nodes.push(Node::default());
        id
    }

    /// Node ids are made here only, so they are always in the arena.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    pub(super) fn insert(&mut self, root: NodeId, path: &PathTemplate, route: RouteId) {
        let mut at = root;
        for segment in path.segments() {
            at = match segment {
                Segment::Literal(text) => self.literal_child(at, text),
                Segment::Param => self.param_child(at),
                Segment::Rest => return self.nodes[at as usize].rest.push(route),
            };
        }
        self.nodes[at as usize].end.push(route);
    }

    fn literal_child(&mut self, parent: NodeId, text: &str) -> NodeId {
        if let Some(child) = self.node(parent).literal(text) {
            return child;
        }
        let child = self.add_node();
        self.nodes[parent as usize]
            .literals
            .insert(text.into(), child);
        child
    }

    fn param_child(&mut self, parent: NodeId) -> NodeId {
        if let Some(child) = self.node(parent).param {
            return child;
        }
        let child = self.add_node();
        self.nodes[parent as usize].param = Some(child);
        child
    }

    pub(super) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.nodes.iter().flat_map(|node| [&node.end, &node.rest])
    }

    pub(super) fn leaves_mut(&mut self) -> impl Iterator<Item = &mut Leaf> {
        self.nodes
            .iter_mut()
            .flat_map(|node| [&mut node.end, &mut node.rest])
    }

    /// Gives back what growing left over.
    pub(super) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
    }
}

impl Node {
    pub(super) fn literal(&self, text: &str) -> Option<NodeId> {
        match &self.literals {
            Literals::None => None,
            Literals::One(only, child) => (**only == *text).then_some(*child),
            Literals::Few(few) => few
                .iter()
                .find(|(other, _)| **other == *text)
                .map(|(_, child)| *child),
            Literals::Many(many) => many.get(text).copied(),
        }
    }

    pub(super) fn param(&self) -> Option<NodeId> {
        self.param
    }
}

impl Literals {
    /// Adds a segment that is not there yet.
    fn insert(&mut self, text: Box<str>, child: NodeId) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(text, child),
            Self::One(other, sibling) => Self::Few(vec![(other, sibling), (text, child)]),
            Self::Few(mut few) => {
                few.push((text, child));
                if few.len() > FEW {
                    Self::Many(Box::new(few.into_iter().collect()))
                } else {
                    Self::Few(few)
                }
            }
            Self::Many(mut many) => {
                many.insert(text, child);
                Self::Many(many)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_of_any_number_of_children() {
        for count in 0..20 {
            let mut trie = Trie::default();
            let root = trie.add_node();
            let name = |index: u32| format!("/s{index}");
            for index in 0..count {
                trie.insert(
                    root,
                    &PathTemplate::parse(&name(index)).expect("a template"),
                    index,
                );
            }
            let check = |text: &str, expected: Option<u32>| {
                let child = trie.node(root).literal(text.trim_start_matches('/'));
                let route = child.and_then(|child| trie.node(child).end.first().copied());
                assert_eq!(route, expected, "{text} of {count}");
            };
            for index in 0..count {
                check(&name(index), Some(index));
            }
            check("/s99", None);
            check("", None);
        }
    }

    #[test]
    fn parameters_share_a_node_whatever_their_names() {
        let mut trie = Trie::default();
        let root = trie.add_node();
        for (route, text) in (0..).zip(["/u/{id}", "/u/{name}", "/u/{*rest}", "/u"]) {
            trie.insert(root, &PathTemplate::parse(text).expect(text), route);
        }
        let users = trie.node(trie.node(root).literal("u").expect("a child"));
        assert_eq!((&users.end[..], &users.rest[..]), (&[3][..], &[2][..]));
        let user = trie.node(users.param().expect("a parameter"));
        assert_eq!(user.end[..], [0, 1]);
    }
}
