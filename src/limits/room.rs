//! Where counts are that outlive a configuration.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::table::Table;
use super::{NamedRule, Permits, Shape};

/// The tables of all limiters by name, and the places of all bulkheads. Configurations come and go; a table goes with the
/// last limiter that has it, and places with the last request that has one.
#[derive(Default)]
pub struct Room {
    tables: Mutex<HashMap<Box<str>, Kept>>,
    permits: Mutex<HashMap<Box<str>, Weak<Permits>>>,
}

struct Kept {
    shape: Box<[Shape]>,
    keys: usize,
    table: Weak<Table>,
}

impl Room {
    /// The table that the limiter of this name has, or has had until now, if it means the same to these rules; otherwise
    /// a new one.
    pub(super) fn table(&self, name: &str, rules: &[NamedRule], keys: usize) -> Arc<Table> {
        let shape: Box<[Shape]> = rules.iter().map(|it| it.rule.shape()).collect();
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = tables
            .get(name)
            .filter(|kept| kept.shape == shape && kept.keys == keys);
        if let Some(table) = kept.and_then(|kept| kept.table.upgrade()) {
            return table;
        }
        tables.retain(|_, kept| kept.table.strong_count() > 0);
        let table = Arc::new(Table::new(
            rules.iter().map(|it| it.rule.words()).sum(),
            keys,
        ));
        let kept = Kept {
            shape,
            keys,
            table: Arc::downgrade(&table),
        };
        tables.insert(name.into(), kept);
        table
    }

    /// The places that are or were called so; otherwise new ones.
    pub(super) fn permits(&self, name: &str, new: impl FnOnce() -> Arc<Permits>) -> Arc<Permits> {
        let mut known = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permits) = known.get(name).and_then(Weak::upgrade) {
            return permits;
        }
        // Looked through each time that there are twice as many, so that a large configuration does not take long.
        if known.len() == known.capacity() {
            known.retain(|_, permits| permits.strong_count() > 0);
        }
        let permits = new();
        known.insert(name.into(), Arc::downgrade(&permits));
        permits
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}
