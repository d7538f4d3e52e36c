//! Finding what is different between two configurations, object by object.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde_json::Value;

use super::archive::{Archive, ArchiveError, absolute};
use super::changes::{Change, Changes, Kind, Place, ValueChange, What};
use super::compile::compile;
use super::load::{Loaded, load};
use super::secrets::mask;
use crate::observability::Metrics;
use crate::text::{
    self, Diagnostics, Fingerprint, Named, Section, SourceId, Sources, Span, Table, write_key,
};

/// Of more objects than this only the names are told: their values would take much memory, and nobody reads them.
const MOST_IN_DETAIL: usize = 1000;

const SECTIONS: [Kind; 4] = [Kind::Gateway, Kind::Admin, Kind::Identity, Kind::Cache];
const OBJECTS: [Kind; 6] = [
    Kind::Plan,
    Kind::Consumer,
    Kind::Store,
    Kind::Listener,
    Kind::Upstream,
    Kind::Route,
];
const TABLES: [&str; 6] = super::document::OBJECTS;

/// Compares two configurations as they are written: a value that is the default is not the same as none. Sources
/// with errors are compared as far as they can be read.
pub fn diff(old: &Sources, new: &Sources) -> Changes {
    let (before, after) = (outline(old), outline(new));
    let ids: BTreeSet<&Id> = before.keys().chain(after.keys()).collect();
    let different: Vec<&Id> = ids
        .into_iter()
        .filter(|id| {
            let said = |outline: &Outline| outline.get(*id).map(|object| object.fingerprint);
            said(&before) != said(&after)
        })
        .collect();
    let changed = different.iter().copied();
    let detailed: BTreeSet<&Id> = changed
        .filter(|id| before.contains_key(*id) && after.contains_key(*id))
        .take(MOST_IN_DETAIL)
        .collect();
    let (mut old_values, mut new_values) = (values(old, &detailed), values(new, &detailed));
    let mut changes = Vec::with_capacity(different.len());
    for id in different {
        let what = match (before.get(id), after.get(id)) {
            (None, _) => What::Added,
            (_, None) => What::Removed,
            (Some(_), Some(_)) => {
                let mut values = Vec::new();
                if let (Some(old), Some(new)) = (old_values.remove(id), new_values.remove(id)) {
                    compare(&mut values, &mut Vec::new(), Some(&old), Some(&new));
                }
                What::Changed { values }
            }
        };
        let now = after.get(id).map(|object| place(new, object.span));
        let place = now.or_else(|| before.get(id).map(|object| place(old, object.span)));
        let Some(place) = place else { continue };
        changes.push(Change {
            kind: id.0,
            name: id.1.to_string(),
            what,
            place,
        });
    }
    Changes { changes }
}

/// Why there is no telling what a reload would change.
#[derive(Debug)]
pub enum NoDiff {
    /// It would be refused: the files have errors.
    Files(Box<Loaded>),
    /// What serves now cannot be read again.
    Archive(ArchiveError),
}

/// What a reload of the files at `path` would change, where `archive` is what serves.
///
/// The files are compiled as well, and let go: only so it is known whether a reload would be refused.
pub fn diff_with_files(archive: &Archive, path: &Path) -> Result<Changes, NoDiff> {
    let mut loaded = load(path);
    if compile(&mut loaded, &Metrics::new()).is_none() {
        return Err(NoDiff::Files(Box::new(loaded)));
    }
    let serving = archive.sources().map_err(NoDiff::Archive)?;
    Ok(diff(&serving, &loaded.sources))
}

/// A kind, and a name; that of a section is empty.
type Id = (Kind, Box<str>);

/// An object as far as it can be told from others.
struct Object {
    span: Span,
    fingerprint: Fingerprint,
}

type Outline = BTreeMap<Id, Object>;

fn outline(sources: &Sources) -> Outline {
    let mut all = Outline::new();
    for source in sources.ids() {
        let folder = folder(sources, source);
        let take = |outline: &mut Outline, mut table: Table<'_, '_>| {
            let mut add = |kind, name: &str, span, fingerprint: Fingerprint| {
                let fingerprint = fingerprint.within(&folder);
                outline.insert((kind, name.into()), Object { span, fingerprint });
            };
            for kind in SECTIONS {
                let section: Option<Section<IgnoredAny>> = table.section(kind.table());
                if let Some(section) = section {
                    add(kind, "", section.config.span, section.fingerprint);
                }
            }
            for kind in OBJECTS {
                for Named {
                    name, fingerprint, ..
                } in table.objects::<IgnoredAny>(kind.table())
                {
                    add(kind, &name.value, name.span, fingerprint);
                }
            }
        };
        all.extend(read(sources, source, take));
    }
    all
}

/// What some of the objects say.
fn values(sources: &Sources, wanted: &BTreeSet<&Id>) -> BTreeMap<Id, Value> {
    let mut all = BTreeMap::new();
    if wanted.is_empty() {
        return all;
    }
    for source in sources.ids() {
        let take = |values: &mut BTreeMap<Id, Value>, mut table: Table<'_, '_>| {
            for kind in SECTIONS {
                let id = (kind, "".into());
                if wanted.contains(&id)
                    && let Some(section) = table.section::<Value>(kind.table())
                {
                    values.insert(id, section.config.value);
                }
            }
            for kind in OBJECTS {
                table.keep_objects(kind.table(), |name| wanted.contains(&(kind, name.into())));
                for object in table.objects::<Value>(kind.table()) {
                    let name: &str = &object.name;
                    values.insert((kind, name.into()), object.config.value);
                }
            }
        };
        all.extend(read(sources, source, take));
    }
    all
}

/// Problems are those of whoever loaded the sources; here they are none of anybody's concern.
fn read<S: Default>(
    sources: &Sources,
    source: SourceId,
    take: impl FnMut(&mut S, Table<'_, '_>),
) -> S {
    let mut unheard = Diagnostics::new();
    text::read(&mut unheard, source, sources.text(source), &TABLES, take).unwrap_or_default()
}

/// The folder of a source as seen from that of the first, so that a whole configuration may stand elsewhere.
fn folder(sources: &Sources, source: SourceId) -> PathBuf {
    let root = sources.ids().next().map(|first| sources.folder(first));
    let root = absolute(root.unwrap_or(Path::new("")));
    let folder = absolute(sources.folder(source));
    match folder.strip_prefix(&root) {
        Ok(below) => below.to_path_buf(),
        Err(_) => folder,
    }
}

fn place(sources: &Sources, span: Span) -> Place {
    let position = sources.position(span);
    Place {
        path: position.path.to_owned(),
        line: position.line,
        column: position.column,
    }
}

/// Tables are compared key by key, everything else as a whole. The trees are shallow: `text` bounds their depth.
fn compare<'v>(
    changes: &mut Vec<ValueChange>,
    path: &mut Vec<&'v str>,
    old: Option<&'v Value>,
    new: Option<&'v Value>,
) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (old, new) {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            path.push(key);
            compare(changes, path, old.get(key), new.get(key));
            path.pop();
        }
        return;
    }
    changes.push(ValueChange {
        key: key(path),
        before: old.map(|value| mask(path, value)),
        after: new.map(|value| mask(path, value)),
    });
}

fn key(path: &[&str]) -> String {
    let mut text = String::new();
    for (index, key) in path.iter().enumerate() {
        text.push_str(if index > 0 { "." } else { "" });
        // Writing to a String cannot fail.
        let _ = write_key(&mut text, key);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Sources {
        let mut sources = Sources::new();
        sources.add("conf/a.toml", text);
        sources
    }

    fn check(old: &str, new: &str, expected: &str) {
        let changes = diff(&sources(old), &sources(new)).to_string();
        assert_eq!(changes, expected, "{old} | {new}");
    }

    const OLD: &str = r#"
[gateway]
workers = 2
[listeners.a]
bind = "127.0.0.1:1"
[upstreams.u]
endpoints = ["127.0.0.1:1", "127.0.0.1:2"]
[routes.r]
match = { path = "/r", headers = { "x-a" = "1" } }
upstream = "u"
"#;

    #[test]
    fn what_means_the_same_is_no_change() {
        check(OLD, OLD, "nothing changes\n");
        let new = r#"
# Another order, another spelling.
[routes.r]
upstream = 'u' # the same
match.path = "/\u0072"
match.headers.x-a = "1"
[upstreams.u]
endpoints = [
    "127.0.0.1:1", # one
    "127.0.0.1:2",
]
[listeners.a]
bind = "127.0.0.1:1"
[gateway]
workers = 0x2
"#;
        check(OLD, new, "nothing changes\n");
    }

    #[test]
    fn changes_are_told_by_object_and_key() {
        let new = r#"
[admin]
bind = "127.0.0.1:9"
[listeners.a]
bind = "127.0.0.1:2"
tls = {}
[upstreams.u]
endpoints = ["127.0.0.1:2"]
[routes.r]
match = { path = "/r", methods = ["GET"] }
upstream = "u"
[routes.s]
match = {}
"#;
        check(
            OLD,
            new,
            r#"- gateway  conf/a.toml:2:1
+ admin  conf/a.toml:2:1
~ listeners.a  conf/a.toml:4:12
    ~ bind: "127.0.0.1:1" → "127.0.0.1:2"
    + tls = {}
~ upstreams.u  conf/a.toml:7:12
    ~ endpoints: ["127.0.0.1:1", "127.0.0.1:2"] → ["127.0.0.1:2"]
~ routes.r  conf/a.toml:9:9
    - match.headers = { x-a = "1" }
    + match.methods = ["GET"]
+ routes.s  conf/a.toml:12:9
2 added, 1 removed, 3 changed
"#,
        );
    }

    #[test]
    fn secrets_stay_secret() {
        let with = |secret: &str| {
            format!(
                "[routes.r]\npolicies.request_headers.set = {{ authorization = \"{secret}\", vary = \"{secret}\", x-a = \"{secret}\" }}\n"
            )
        };
        check(
            &with("one"),
            &with("two"),
            r#"~ routes.r  conf/a.toml:1:9
    ~ policies.request_headers.set.authorization: "***" → "***"
    ~ policies.request_headers.set.vary: "one" → "two"
    ~ policies.request_headers.set.x-a: "***" → "***"
0 added, 0 removed, 1 changed
"#,
        );
    }

    #[test]
    fn a_whole_configuration_may_move_and_a_part_of_it_not() {
        let at = |paths: [&str; 2]| {
            let mut sources = Sources::new();
            sources.add(paths[0], "[gateway]\n");
            sources.add(paths[1], "[upstreams.u]\ntls.ca = \"ca.pem\"\n");
            sources
        };
        let old = at(["old/a.toml", "old/more/b.toml"]);
        let moved = at(["/new/x.toml", "/new/more/y.toml"]);
        assert_eq!(diff(&old, &moved), Changes::default());
        let apart = at(["old/a.toml", "old/less/b.toml"]);
        assert_eq!(
            diff(&old, &apart).to_string(),
            "~ upstreams.u  old/less/b.toml:1:12\n0 added, 0 removed, 1 changed\n"
        );
    }

    #[test]
    fn what_serves_is_compared_with_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&OLD.replace("workers = 2", "workers = 3"));
        let archive = Archive::of(&load(&path).sources).unwrap();
        write(OLD);
        let changes = diff_with_files(&archive, &path).unwrap().changes;
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].kind, Kind::Gateway);
        write(&OLD.replace("upstream = \"u\"", "upstream = \"v\""));
        let refused = diff_with_files(&archive, &path);
        assert!(matches!(refused, Err(NoDiff::Files(loaded)) if loaded.diagnostics.has_errors()));
        let damaged = Archive::from_bytes(Vec::new());
        write(OLD);
        assert!(matches!(
            diff_with_files(&damaged, &path),
            Err(NoDiff::Archive(_))
        ));
    }

    #[test]
    fn of_very_many_only_names_are_told() {
        let text = |timeout: &str| {
            let route = |n| format!("[routes.r{n}]\ntimeout = \"{timeout}\"\n");
            (0..MOST_IN_DETAIL + 5).map(route).collect::<String>()
        };
        let changes = diff(&sources(&text("1s")), &sources(&text("2s"))).changes;
        let is_told = |change: &&Change| matches!(&change.what, What::Changed { values } if values.len() == 1);
        assert_eq!(changes.len(), MOST_IN_DETAIL + 5);
        assert_eq!(changes.iter().filter(is_told).count(), MOST_IN_DETAIL);
    }
}
