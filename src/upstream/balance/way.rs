//! Where requests go and where they do not, for operators.

use std::fmt;

use super::group::{Rank, Side};

/// Which endpoints get requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Way {
    /// Of the groups that have a share.
    pub(super) ranks: Vec<Rank>,
    pub(super) is_beyond_subset: bool,
}

impl Way {
    pub(in crate::upstream) fn leads_nowhere(&self) -> bool {
        self.ranks.is_empty()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranks.is_empty() {
            return f.write_str("no endpoint");
        }
        for (n, Rank { priority, side }) in self.ranks.iter().enumerate() {
            let and = if n == 0 { "" } else { " and " };
            let side = match side {
                Side::Both => "",
                Side::Local => " in the local zone",
                Side::Elsewhere => " in other zones",
            };
            write!(f, "{and}priority {priority}{side}")?;
        }
        match self.is_beyond_subset {
            true => f.write_str(", with or without the labels of subset"),
            false => Ok(()),
        }
    }
}

/// What an endpoint that can be chosen gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::upstream) struct Part {
    /// Of all requests, from 0 to 1, where nothing but the weights decides.
    pub share: f64,
    /// Why it gets none.
    pub idle: Option<Idle>,
}

/// Why an endpoint that can be chosen gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Those of another priority take all requests.
    Priority,
    /// Those of the local zone take all requests.
    Zone,
    /// It does not have the labels of `subset`.
    Subset,
    /// There are more than can be chosen among.
    TooMany,
}

impl Idle {
    pub fn as_str(self) -> &'static str {
        match self {
            Idle::Priority => "priority",
            Idle::Zone => "zone",
            Idle::Subset => "subset",
            Idle::TooMany => "too_many",
        }
    }
}
