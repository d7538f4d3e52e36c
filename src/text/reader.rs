//! The top of a configuration file, read by hand so that one bad object hides no other.

use serde::de::{DeserializeOwned, IgnoredAny};
use toml::Spanned as TomlSpanned;
use toml::de::{DeString, DeTable, DeValue};

use super::de::shown;
use super::object::object;
use super::span::Anchor;
use super::subject::sentence;
use super::wording::unknown_key;
use super::{Diagnostics, Fingerprint, Name, SourceId, Span, Spanned, nesting, syntax};

/// A table whose keys are taken one after the other; what nobody took is an unknown key.
///
/// Taking never fails: what is wrong goes to the diagnostics, and the taker gets nothing.
#[derive(Debug)]
pub struct Table<'d, 'i> {
    diagnostics: &'d mut Diagnostics,
    anchor: Anchor,
    /// `identity.jwt`; empty for the file itself.
    path: String,
    span: Span,
    entries: DeTable<'i>,
    known: Vec<&'static str>,
}

/// A table that is there once, `[gateway]`: its place, and what it says.
#[derive(Clone, Debug)]
pub struct Section<T> {
    pub config: Spanned<T>,
    pub fingerprint: Fingerprint,
}

/// An object with its name: their places, and what the object says.
#[derive(Clone, Debug)]
pub struct Named<T> {
    pub name: Spanned<Name>,
    /// Boxed, since configs are large, and what holds many of them has room to spare.
    pub config: Box<Spanned<T>>,
    pub fingerprint: Fingerprint,
}

/// An object that was read: good, known by its fingerprint without a further look, or with problems.
#[derive(Clone, Debug)]
pub enum Read<T, P> {
    Good(Named<T>),
    Known(Spanned<Name>),
    Broken(Broken<P>),
}

/// An object with problems, which were reported, as far as it can be read all the same.
#[derive(Clone, Debug)]
pub struct Broken<P> {
    pub name: Spanned<Name>,
    /// How many problems it has.
    pub errors: usize,
    /// `None` where even that is bad.
    pub partial: Option<P>,
}

type Entry<'i> = (TomlSpanned<DeString<'i>>, TomlSpanned<DeValue<'i>>);

impl<'d, 'i> Table<'d, 'i> {
    /// None when the text is no TOML, after all its errors were reported.
    ///
    /// Nothing is read from a file with errors of syntax: keys would land in the wrong table, and the user would
    /// be told of unknown and missing keys that are neither.
    pub fn parse(
        diagnostics: &'d mut Diagnostics,
        source: SourceId,
        text: &'i str,
    ) -> Option<Self> {
        if let Some(at) = nesting::overlong_key(text) {
            diagnostics.error(Span::new(source, at..at), "a key has too many parts");
            return None;
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            syntax::report(diagnostics, source, text, root.get_ref(), &errors);
            return None;
        }
        let entries = root.into_inner();
        if nesting::is_too_deep(&entries) {
            diagnostics.error(
                Span::start_of(source),
                "tables and arrays are nested too deeply",
            );
            return None;
        }
        let anchor = Anchor::start_of(source);
        Some(Table::top(diagnostics, anchor, entries))
    }

    /// A part of a file, with its beginning in the file. None, and no report, where [`Table::parse`] has one to make.
    pub(super) fn piece(
        diagnostics: &'d mut Diagnostics,
        anchor: Anchor,
        text: &'i str,
    ) -> Option<Self> {
        if nesting::overlong_key(text).is_some() {
            return None;
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        let entries = root.into_inner();
        let is_good = errors.is_empty() && !nesting::is_too_deep(&entries);
        is_good.then(|| Table::top(diagnostics, anchor, entries))
    }

    fn top(diagnostics: &'d mut Diagnostics, anchor: Anchor, entries: DeTable<'i>) -> Self {
        Table {
            diagnostics,
            anchor,
            path: String::new(),
            span: Span::start_of(anchor.source),
            entries,
            known: Vec::new(),
        }
    }

    /// Every key, and the keys of the table that it holds.
    pub(super) fn definitions(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.entries.iter().map(|(key, node)| {
            let inner = node.get_ref().as_table().into_iter();
            let names = inner.flat_map(|table| table.keys().map(|name| &**name.get_ref()));
            (&**key.get_ref(), names)
        })
    }

    /// The header of the table, or the beginning of the file.
    pub fn span(&self) -> Span {
        self.span
    }

    /// For problems that only the taker can see.
    pub fn diagnostics(&mut self) -> &mut Diagnostics {
        self.diagnostics
    }

    /// One value. None when it is absent, or bad and reported; `Spanned<T>` tells its place.
    pub fn take<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let (_, node) = self.entry(key)?;
        let name = self.name_of(key);
        object(self.diagnostics, self.anchor, &name, &node)
    }

    /// One table, with its fingerprint. None when it is absent, or bad and reported.
    pub fn section<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<Section<T>> {
        let (_, node) = self.entry(key)?;
        let name = self.name_of(key);
        Some(Section {
            config: object(self.diagnostics, self.anchor, &name, &node)?,
            fingerprint: Fingerprint::of(node.get_ref()),
        })
    }

    /// One value that must be there.
    pub fn require<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        if !self.entries.contains_key(key) {
            let place = if self.path.is_empty() {
                String::new()
            } else {
                format!("{}: ", self.path)
            };
            self.diagnostics
                .error(self.span, format!("{place}missing key \"{key}\""));
        }
        self.take(key)
    }

    /// A table of named objects, `[routes.home]`: all good ones, in the order of the file.
    pub fn objects<T: DeserializeOwned>(&mut self, key: &'static str) -> Vec<Named<T>> {
        let all = self.all_objects::<T, IgnoredAny>(key, |_, _| false);
        all.into_iter()
            .filter_map(|read| match read {
                Read::Good(object) => Some(object),
                Read::Known(_) | Read::Broken(_) => None,
            })
            .collect()
    }

    /// As [`Table::objects`], with those that are known already, which are not read, and with bad ones that have a
    /// good name, of which `P` is read.
    pub fn all_objects<T: DeserializeOwned, P: DeserializeOwned>(
        &mut self,
        key: &'static str,
        is_known: impl Fn(&Name, Fingerprint) -> bool,
    ) -> Vec<Read<T, P>> {
        let Some((_, entries)) = self.inner_table(key) else {
            return Vec::new();
        };
        let path = self.name_of(key);
        entries
            .into_iter()
            .filter_map(|entry| self.named_object(&path, entry, &is_known))
            .collect()
    }

    /// Leaves out the objects of a table whose name is not wanted, without a look at them.
    pub fn keep_objects(&mut self, key: &'static str, mut wanted: impl FnMut(&str) -> bool) {
        if let Some(node) = self.entries.get_mut(key)
            && let DeValue::Table(entries) = node.get_mut()
        {
            let kept = std::mem::take(entries).into_iter();
            *entries = kept.filter(|(name, _)| wanted(name.get_ref())).collect();
        }
    }

    /// A table within this one, to be taken apart in the same way and finished.
    pub fn table(&mut self, key: &'static str) -> Option<Table<'_, 'i>> {
        let (span, entries) = self.inner_table(key)?;
        let path = self.name_of(key);
        Some(Table {
            diagnostics: self.diagnostics,
            anchor: self.anchor,
            path,
            span,
            entries,
            known: Vec::new(),
        })
    }

    /// Reports every key that was not taken.
    pub fn finish(self) {
        for (key, _) in &self.entries {
            let span = self.anchor.span(key.span());
            let (mut message, help) = unknown_key(key.get_ref(), &self.known);
            if !self.path.is_empty() {
                message = sentence(&self.path, &message);
            }
            self.diagnostics.error(span, message).help = help;
        }
    }

    fn entry(&mut self, key: &'static str) -> Option<Entry<'i>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.remove_entry(key)
    }

    fn name_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn inner_table(&mut self, key: &'static str) -> Option<(Span, DeTable<'i>)> {
        let (_, node) = self.entry(key)?;
        let span = self.anchor.span(node.span());
        let name = self.name_of(key);
        match node.into_inner() {
            DeValue::Table(entries) => Some((span, entries)),
            other => {
                let message = format!("{name} must be a table, got {}", shown(&other));
                let diagnostic = self.diagnostics.error(span, message);
                if matches!(other, DeValue::Array(_)) {
                    diagnostic.help(format!("objects have names: write [{name}.NAME]"));
                }
                None
            }
        }
    }

    /// A bad name does not keep the object from being looked at, nor the other way round.
    fn named_object<T: DeserializeOwned, P: DeserializeOwned>(
        &mut self,
        path: &str,
        entry: Entry<'i>,
        is_known: &impl Fn(&Name, Fingerprint) -> bool,
    ) -> Option<Read<T, P>> {
        let (key, node) = entry;
        let span = self.anchor.span(key.span());
        let mut name = match key.get_ref().parse::<Name>() {
            Ok(name) => Some(Spanned::new(name, span)),
            Err(error) => {
                self.diagnostics
                    .error(span, format!("the key in {path} {error}"));
                None
            }
        };
        let fingerprint = Fingerprint::of(node.get_ref());
        if let Some(name) = name.take_if(|name| is_known(&name.value, fingerprint)) {
            return Some(Read::Known(name));
        }
        let place = match &name {
            Some(name) => format!("{path}.{name}"),
            None => path.to_owned(),
        };
        let errors = self.diagnostics.error_count();
        let Some(read) = object(self.diagnostics, self.anchor, &place, &node) else {
            let errors = self.diagnostics.error_count() - errors;
            let mut told = Diagnostics::new();
            return Some(Read::Broken(Broken {
                name: name?,
                errors,
                partial: object(&mut told, self.anchor, &place, &node),
            }));
        };
        let span = self.anchor.span(node.span());
        Some(Read::Good(Named {
            name: name?,
            config: Box::new(Spanned::new(read, span)),
            fingerprint,
        }))
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
