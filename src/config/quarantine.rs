//! Serving what is good of a configuration that has mistakes.
//!
//! Leaving an object out must never hand its traffic to another that was not meant for it. So a route with mistakes
//! stays in the table, where it answers 503, and so does every route to an upstream with mistakes. What cannot be
//! contained like that stops the configuration as a whole: mistakes of syntax, of `[gateway]` and `[admin]`, of what
//! a route matches or of the listeners that it is on, and objects that are defined twice. A listener with mistakes is
//! not opened; where it is open already, the configuration is refused.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::changes::Kind;
use super::document::Document;
use crate::routing::Snapshot;
use crate::text::{Diagnostics, Name};

/// What becomes of a configuration in which an object has mistakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It is refused as a whole.
    #[default]
    Refuse,
    /// Everything else is served. Routes with mistakes, and those to upstreams with mistakes, answer 503; listeners
    /// with mistakes are not opened. Mistakes that cannot be kept to one object still have it refused.
    Quarantine,
}

/// An object that is not served for its mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub kind: Kind,
    pub name: Name,
}

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// Tells the errors that are kept to one object from those that stop everything.
#[derive(Debug)]
pub(super) struct Quarantine {
    is_on: bool,
    contained: usize,
    objects: Vec<Quarantined>,
}

impl Quarantine {
    /// With the objects that could not even be read. `before` is what runs.
    pub(super) fn new(on_error: OnError, document: &Document, before: Option<&Snapshot>) -> Self {
        let mut quarantine = Quarantine {
            is_on: on_error == OnError::Quarantine,
            contained: 0,
            objects: Vec::new(),
        };
        let broken = &document.broken;
        // Of two definitions nobody knows which is meant.
        for listener in &broken.listeners {
            if document.listeners.contains_key(&listener.name.value) {
                continue;
            }
            quarantine.contain_listener(&listener.name, listener.errors, before);
        }
        for upstream in &broken.upstreams {
            if document.upstreams.contains_key(&upstream.name.value) {
                continue;
            }
            quarantine.contain(Kind::Upstream, &upstream.name, upstream.errors);
        }
        for route in &broken.routes {
            let name = &route.name.value;
            let is_twice = document.routes.contains_key(name) || document.kept.contains_key(name);
            if route.partial.is_some() && !is_twice {
                quarantine.contain(Kind::Route, &route.name, route.errors);
            }
        }
        quarantine
    }

    /// Keeps so many errors to one object. False where that is not wanted.
    pub(super) fn contain(&mut self, kind: Kind, name: &Name, errors: usize) -> bool {
        if self.is_on && !self.has(kind, name) {
            self.contained += errors;
            let name = name.clone();
            self.objects.push(Quarantined { kind, name });
        }
        self.is_on
    }

    /// As [`Quarantine::contain`]. Nobody may lose a listener that is open by a mistake.
    pub(super) fn contain_listener(
        &mut self,
        name: &Name,
        errors: usize,
        before: Option<&Snapshot>,
    ) -> bool {
        let is_open = before.is_some_and(|before| before.listener(name).is_some());
        !is_open && self.contain(Kind::Listener, name, errors)
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn has(&self, kind: Kind, name: &Name) -> bool {
        let mut objects = self.objects.iter();
        objects.any(|object| object.kind == kind && object.name == *name)
    }

    /// Whether there are errors beyond those that are kept to objects.
    pub(super) fn is_broken(&self, diagnostics: &Diagnostics) -> bool {
        diagnostics.error_count() > self.contained
    }

    pub(super) fn into_objects(self) -> Vec<Quarantined> {
        self.objects
    }
}
