//! How two parts become one: `merge`.

use std::collections::HashMap;

use super::config::Merge;
use super::json::{self, Kind, Node};

/// Merges `value` with what is at `at` in `base`; `base` is `None` where nobody has anything there. `None` where the types do
/// not fit: then `base` is as it was but for how it is written.
pub(super) fn merge<'t>(
    base: &mut Option<Node<'t>>,
    at: &[Box<str>],
    value: Node<'t>,
    how: &Merge,
) -> Option<()> {
    let is_absent = match base {
        None => true,
        Some(base) => is_absent(base, at)?,
    };
    if is_absent {
        let fits = match how {
            Merge::Concat | Merge::Union(_) => value.kind() == Kind::Array,
            Merge::Fields => value.kind() == Kind::Object,
            // There is nothing to add to, and that is not this part's fault.
            Merge::By(_) => return Some(()),
        };
        return fits.then(|| put(base, at, value))?;
    }
    let mut place = base.as_mut()?;
    for name in at {
        place = place.member(name)?;
    }
    match how {
        Merge::Concat => concat(place, value),
        Merge::Fields => add_fields(place, value),
        Merge::By(key) => by(place, value, key).map(drop),
        Merge::Union(key) => {
            let rest = by(place, value, key)?;
            place.elements()?.extend(rest);
            Some(())
        }
    }
}

/// Whether there is nothing at a place, or null. `None` where something on the way to it is no object.
fn is_absent(base: &mut Node<'_>, at: &[Box<str>]) -> Option<bool> {
    match at.split_first() {
        None => Some(base.kind() == Kind::Null),
        Some(_) if base.kind() == Kind::Null => Some(true),
        Some((name, deeper)) => {
            base.members()?;
            match base.member(name) {
                None => Some(true),
                Some(inner) => is_absent(inner, deeper),
            }
        }
    }
}

fn put<'t>(base: &mut Option<Node<'t>>, at: &[Box<str>], value: Node<'t>) -> Option<()> {
    let place = match base {
        Some(base) if base.kind() != Kind::Null => base,
        base => base.insert(Node::Object(Vec::new())),
    };
    match at.split_first() {
        None => *place = value,
        Some((name, deeper)) => {
            let mut inner = place.remove(name);
            put(&mut inner, deeper, value)?;
            place.insert(name, inner?)?;
        }
    }
    Some(())
}

fn concat<'t>(base: &mut Node<'t>, mut value: Node<'t>) -> Option<()> {
    let more = std::mem::take(value.elements()?);
    base.elements()?.extend(more);
    Some(())
}

/// Fields that are there already stay as they are.
fn add_fields<'t>(base: &mut Node<'t>, mut value: Node<'t>) -> Option<()> {
    let more = std::mem::take(value.members()?);
    let own = base.members()?;
    let names: Vec<String> = own
        .iter()
        .map(|(name, _)| json::name_of(name).into_owned())
        .collect();
    let is_new = |name: &str| !names.iter().any(|own| *own == json::name_of(name));
    own.extend(more.into_iter().filter(|(name, _)| is_new(name)));
    Some(())
}

/// Adds the fields of elements to those of their counterparts, and gives those that have none.
fn by<'t>(base: &mut Node<'t>, mut value: Node<'t>, key: &str) -> Option<Vec<Node<'t>>> {
    let more = std::mem::take(value.elements()?);
    let mut places: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
    let own = base.elements()?;
    for (place, element) in own.iter_mut().enumerate() {
        if let Some(found) = identity(element, key) {
            places.entry(found).or_default().push(place);
        }
    }
    let mut rest = Vec::new();
    for mut element in more {
        let found = identity(&mut element, key);
        match found.and_then(|found| places.get(&found)) {
            None => rest.push(element),
            Some(places) => {
                for place in places {
                    add_fields(own.get_mut(*place)?, element.clone())?;
                }
            }
        }
    }
    Some(rest)
}

/// What an element is known by: a scalar, in a form in which what is the same is the same. `None` where it has none, or null.
fn identity(element: &mut Node<'_>, key: &str) -> Option<Box<[u8]>> {
    let Node::Text(json) = element.member(key)? else {
        return None;
    };
    match json::kind(json) {
        Kind::Text => {
            let text = json::text_of(json)?;
            Some([b"\"", text.as_bytes()].concat().into())
        }
        Kind::Number | Kind::Bool => Some(json.as_bytes().into()),
        Kind::Null | Kind::Array | Kind::Object => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: Option<&str>, at: &str, value: &str, how: &Merge, expected: Option<&str>) {
        let names = at.split('.').filter(|name| !name.is_empty());
        let at: Vec<Box<str>> = names.map(Into::into).collect();
        let mut node = base.map(Node::new);
        let merged = merge(&mut node, &at, Node::new(value), how);
        let json = node.map(|node| node.to_json());
        assert_eq!(
            merged.and(json).as_deref(),
            expected,
            "{base:?} {at:?} {value} {how:?}"
        );
    }

    #[test]
    fn arrays_follow_each_other() {
        let how = &Merge::Concat;
        check(Some("[1]"), "", "[2,[3]]", how, Some("[1,2,[3]]"));
        check(
            Some(r#"{"a":{"b":[1]}}"#),
            "a.b",
            "[2]",
            how,
            Some(r#"{"a":{"b":[1,2]}}"#),
        );
        check(
            Some(r#"{"a":{}}"#),
            "a.b",
            "[2]",
            how,
            Some(r#"{"a":{"b":[2]}}"#),
        );
        check(
            Some(r#"{"a":null}"#),
            "a.b",
            "[2]",
            how,
            Some(r#"{"a":{"b":[2]}}"#),
        );
        check(None, "", "[2]", how, Some("[2]"));
        check(None, "a.b", "[2]", how, Some(r#"{"a":{"b":[2]}}"#));
        check(Some("null"), "", "[2]", how, Some("[2]"));
        check(Some("{}"), "", "[2]", how, None);
        check(Some("[1]"), "", "{}", how, None);
        check(Some("[1]"), "a", "[1]", how, None);
        check(None, "", "{}", how, None);
    }

    #[test]
    fn fields_are_added() {
        let how = &Merge::Fields;
        check(
            Some(r#"{"a":1}"#),
            "",
            r#"{"b":2,"a":3}"#,
            how,
            Some(r#"{"a":1,"b":2}"#),
        );
        check(
            Some(r#"{"\u0061":1}"#),
            "",
            r#"{"a":3}"#,
            how,
            Some(r#"{"\u0061":1}"#),
        );
        check(
            Some(r#"{"u":{"a":1}}"#),
            "u",
            r#"{"b":2}"#,
            how,
            Some(r#"{"u":{"a":1,"b":2}}"#),
        );
        check(None, "", r#"{"b":2}"#, how, Some(r#"{"b":2}"#));
        check(Some("[]"), "", r#"{"b":2}"#, how, None);
        check(Some("{}"), "", "[]", how, None);
    }

    #[test]
    fn elements_find_their_counterparts() {
        let base =
            Some(r#"[{"id":1,"n":"a"},{"id":"1","n":"b"},{"id":2},5,{"n":"c"},{"id":2,"p":0}]"#);
        let value = r#"[{"id":2,"p":9},{"id":"\u0031","p":8},{"id":7,"p":7},{"p":6},4]"#;
        let merged = r#"{"id":1,"n":"a"},{"id":"1","n":"b","p":8},{"id":2,"p":9},5,{"n":"c"},{"id":2,"p":0}"#;
        let id = || "id".to_owned();
        check(
            base,
            "",
            value,
            &Merge::By(id()),
            Some(&format!("[{merged}]")),
        );
        let union = format!(r#"[{merged},{{"id":7,"p":7}},{{"p":6}},4]"#);
        check(base, "", value, &Merge::Union(id()), Some(&union));
        check(Some("{}"), "", value, &Merge::By(id()), None);
        check(Some("[]"), "", "{}", &Merge::By(id()), None);
        check(
            Some(r#"{"x":1}"#),
            "items",
            value,
            &Merge::By(id()),
            Some(r#"{"x":1}"#),
        );
        check(None, "", "[1]", &Merge::Union(id()), Some("[1]"));
    }
}
