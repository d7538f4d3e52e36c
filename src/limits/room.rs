//! Where counts are that outlive a configuration.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::table::Table;
use super::{NamedRule, Shape};

/// The tables of all limiters by name. Configurations come and go; a table goes with the last limiter that has it.
#[derive(Default)]
pub struct Room {
    tables: Mutex<HashMap<Box<str>, Kept>>,
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
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}
