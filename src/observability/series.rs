//! A set of metric handles that only grows and is read without locks.

use std::sync::OnceLock;

/// Handles found by a small key, made at the first sight of it.
///
/// A list of cells that are each written once: a route has one to three series in practice, so walking beats
/// hashing, and a reader never waits. The list is as long as the number of different keys seen, which is bounded
/// by what the key can be.
#[derive(Debug)]
pub(super) struct Series<K, V> {
    first: OnceLock<Box<Node<K, V>>>,
}

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    next: OnceLock<Box<Node<K, V>>>,
}

impl<K, V> Default for Series<K, V> {
    fn default() -> Self {
        Series {
            first: OnceLock::new(),
        }
    }
}

impl<K: PartialEq + Copy, V> Series<K, V> {
    pub(super) fn handle(&self, key: K, make: impl Fn() -> V) -> &V {
        let mut cell = &self.first;
        loop {
            let node = cell.get_or_init(|| {
                Box::new(Node {
                    key,
                    value: make(),
                    next: OnceLock::new(),
                })
            });
            if node.key == key {
                return &node.value;
            }
            cell = &node.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_handle() {
        let series = Series::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..20u16 {
                        assert_eq!(*series.handle(key, || key * 2), key * 2);
                    }
                });
            }
        });
        let mut length = 0;
        let mut cell = &series.first;
        while let Some(node) = cell.get() {
            length += 1;
            cell = &node.next;
        }
        assert_eq!(length, 20);
    }
}
