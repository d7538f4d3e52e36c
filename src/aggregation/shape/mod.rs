//! What is made of a part's body before it lands.
//!
//! The steps come in this order, and each sees what those before have left: `jq`, or else `pick`, `drop`, `move`, `rename` and
//! `flatten`; then `as`. A part without any is not read into values at all: its bytes are those that the client gets.

mod build;
mod fields;
mod filter;
mod meter;
mod path;
mod places;
mod scalars;
mod tree;

use std::borrow::Cow;

use super::config::As;
use super::json::Node;
use super::reason::Reason;
use fields::Fields;
use places::{Move, Rename};

pub use filter::{Filter, FilterError};
pub use path::{InvalidPath, Path, Step};

/// What is made of a part's body, compiled.
#[derive(Debug, Default)]
pub struct Shape {
    filter: Option<Filter>,
    pick: Option<Fields>,
    drop: Option<Fields>,
    moves: Vec<Move>,
    renames: Vec<Rename>,
    flatten: Vec<Path>,
    r#as: As,
}

impl Shape {
    /// What the body is taken for.
    pub fn taken_for(&self) -> As {
        self.r#as
    }

    /// Whether nothing is made of it.
    pub fn is_whole(&self) -> bool {
        self.has_no_steps() && matches!(self.r#as, As::Json | As::Text | As::Base64)
    }

    fn has_no_steps(&self) -> bool {
        self.filter.is_none()
            && self.pick.is_none()
            && self.drop.is_none()
            && self.moves.is_empty()
            && self.renames.is_empty()
            && self.flatten.is_empty()
    }

    /// Whether making it can take some tenths of a second, without a pause.
    pub fn is_slow(&self) -> bool {
        self.filter.is_some()
    }

    /// The names that the outermost object has at most. `None` where it may have any.
    pub fn names(&self) -> Option<Vec<String>> {
        let picked = self.pick.as_ref()?;
        let mut names: Vec<String> = picked.names().map(str::to_owned).collect();
        if names.is_empty() {
            return None;
        }
        for it in &self.moves {
            if let [name] = &*it.from {
                names.retain(|own| **own != **name);
            }
        }
        names.extend(
            self.moves
                .iter()
                .filter_map(|it| Some(it.to.first()?.to_string())),
        );
        for rename in self.renames.iter().filter(|rename| rename.at.is_empty()) {
            let new = |own: &String| rename.names.iter().find(|(from, _)| **from == **own);
            for name in &mut names {
                if let Some((_, written)) = new(name) {
                    *name = super::json::name_of(written).into_owned();
                }
            }
        }
        names.sort();
        names.dedup();
        Some(names)
    }

    /// Makes of a body what lands. `json` has been checked.
    pub fn apply<'t>(&self, json: &'t str) -> Result<Cow<'t, str>, Reason> {
        if self.is_whole() {
            return Ok(Cow::Borrowed(json));
        }
        let mut node = match &self.filter {
            None => Node::new(json),
            Some(filter) => Node::Text(Cow::Owned(filter.apply(json).ok_or(Reason::Shape)?)),
        };
        if let Some(fields) = &self.pick
            && !fields.pick(&mut node)
        {
            return Err(Reason::Shape);
        }
        if let Some(fields) = &self.drop {
            fields.drop(&mut node);
        }
        places::apply_moves(&self.moves, &mut node).ok_or(Reason::Shape)?;
        self.renames
            .iter()
            .for_each(|rename| rename.apply(&mut node));
        self.flatten
            .iter()
            .for_each(|path| places::flatten(path, &mut node));
        let node = scalars::convert(self.r#as, node).ok_or(Reason::Shape)?;
        Ok(match node {
            Node::Text(json) => json,
            node => Cow::Owned(node.to_json()),
        })
    }
}
