//! `move`, `rename` and `flatten`: where fields are, and what they are called.

use std::borrow::Cow;

use super::super::json::{Node, name_of, written};
use super::path::{Path, Step};

/// A field that goes elsewhere. Neither end is in an array.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    pub from: Box<[Box<str>]>,
    pub to: Box<[Box<str>]>,
}

/// Takes all of them first and puts them then, so that two can change places. `None` where one goes into what is no object.
pub fn apply_moves(moves: &[Move], node: &mut Node<'_>) -> Option<()> {
    let taken: Vec<_> = moves.iter().map(|it| take(node, &it.from)).collect();
    for (it, value) in moves.iter().zip(taken) {
        if let Some(value) = value {
            put(node, &it.to, value)?;
        }
    }
    Some(())
}

fn take<'t>(node: &mut Node<'t>, path: &[Box<str>]) -> Option<Node<'t>> {
    let (last, way) = path.split_last()?;
    let mut at = node;
    for name in way {
        at = at.member(name)?;
    }
    at.remove(last)
}

/// Objects on the way that are not there are made.
fn put<'t>(node: &mut Node<'t>, path: &[Box<str>], value: Node<'t>) -> Option<()> {
    let (last, way) = path.split_last()?;
    let mut at = node;
    for name in way {
        if at.member(name).is_none() {
            at.insert(name, Node::Object(Vec::new()))?;
        }
        at = at.member(name)?;
    }
    at.insert(last, value)
}

/// Fields of one object, or of each of an array, that are called something else.
#[derive(Clone, Debug, PartialEq)]
pub struct Rename {
    /// Where the object is.
    pub at: Box<[Step]>,
    /// What each was called, and how it is called now, as JSON has it.
    pub names: Vec<(Box<str>, Box<str>)>,
}

impl Rename {
    /// Those of one object are one: all at once, so that two can change names.
    pub fn group<'p>(all: impl IntoIterator<Item = (&'p Path, &'p str)>) -> Vec<Rename> {
        let mut groups: Vec<Rename> = Vec::new();
        for (path, name) in all {
            let Some((Step::Field(own), at)) = path.steps().split_last() else {
                continue;
            };
            let names = (own.clone(), written(name).into());
            match groups.iter_mut().find(|group| *group.at == *at) {
                Some(group) => group.names.push(names),
                None => groups.push(Rename {
                    at: at.into(),
                    names: vec![names],
                }),
            }
        }
        // The inner ones first, while their way is called what it is written as.
        groups.sort_by_key(|group| std::cmp::Reverse(group.at.len()));
        groups
    }

    pub fn apply(&self, node: &mut Node<'_>) {
        each(node, &self.at, &mut |node| self.apply_here(node));
    }

    fn apply_here(&self, node: &mut Node<'_>) {
        if let Some(elements) = node.elements() {
            return elements.iter_mut().for_each(|one| self.apply_here(one));
        }
        let Some(members) = node.members() else {
            return;
        };
        let mut renamed = Vec::new();
        for (index, (name, _)) in members.iter_mut().enumerate() {
            let own = name_of(name);
            let Some((_, new)) = self.names.iter().find(|(from, _)| **from == *own) else {
                continue;
            };
            *name = Cow::Owned(new.to_string());
            renamed.push(index);
        }
        // What had the name before gives way.
        let taken = |name: &str| {
            let new = self.names.iter().map(|(_, new)| &**new);
            new.into_iter().any(|new| name_of(new) == name_of(name))
        };
        let mut index = 0;
        let present: Vec<String> = renamed
            .iter()
            .filter_map(|index| members.get(*index))
            .map(|(name, _)| name_of(name).into_owned())
            .collect();
        members.retain(|(name, _)| {
            let is_renamed = renamed.contains(&index);
            index += 1;
            is_renamed || !(taken(name) && present.iter().any(|it| *it == name_of(name)))
        });
    }
}

/// Makes one array of the arrays in the array that is there; what is in it beside them stays.
pub fn flatten(path: &Path, node: &mut Node<'_>) {
    each(node, path.steps(), &mut |node| {
        let Some(elements) = node.elements() else {
            return;
        };
        let mut flat = Vec::with_capacity(elements.len());
        for mut element in elements.drain(..) {
            match element.elements() {
                Some(inner) => flat.append(inner),
                None => flat.push(element),
            }
        }
        *elements = flat;
    });
}

/// Does something to all that is at a place.
fn each<'t>(node: &mut Node<'t>, steps: &[Step], change: &mut dyn FnMut(&mut Node<'t>)) {
    match steps {
        [] => change(node),
        [Step::Each, rest @ ..] => {
            if let Some(elements) = node.elements() {
                elements.iter_mut().for_each(|one| each(one, rest, change));
            }
        }
        [Step::Field(name), rest @ ..] => {
            if let Some(elements) = node.elements() {
                elements.iter_mut().for_each(|one| each(one, steps, change));
            } else if let Some(value) = node.member(name) {
                each(value, rest, change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_go_elsewhere() {
        let check = |json: &str, moves: &[(&str, &str)], expected: Option<&str>| {
            let names = |path: &str| path.split('.').map(Into::into).collect();
            let moves: Vec<_> = moves
                .iter()
                .map(|(from, to)| Move {
                    from: names(from),
                    to: names(to),
                })
                .collect();
            let mut node = Node::new(json);
            let done = apply_moves(&moves, &mut node).map(|()| node.to_json());
            assert_eq!(done.as_deref(), expected, "{json}");
        };
        let json = r#"{"user":{"name":"x","city":"y"},"n":1}"#;
        check(
            json,
            &[("user.city", "city")],
            Some(r#"{"user":{"name":"x"},"n":1,"city":"y"}"#),
        );
        check(
            json,
            &[("n", "user.deep.n")],
            Some(r#"{"user":{"name":"x","city":"y","deep":{"n":1}}}"#),
        );
        check(
            json,
            &[("n", "user"), ("user", "n")],
            Some(r#"{"user":1,"n":{"name":"x","city":"y"}}"#),
        );
        check(
            json,
            &[("user", "user.user")],
            Some(r#"{"n":1,"user":{"user":{"name":"x","city":"y"}}}"#),
        );
        check(json, &[("x", "y"), ("n.x", "y")], Some(json));
        check(json, &[("user.city", "n.x")], None);
        check("[1]", &[("a", "b")], Some("[1]"));
    }

    #[test]
    fn fields_get_other_names() {
        let check = |json: &str, renames: &[(&str, &str)], expected: &str| {
            let paths: Vec<_> = renames
                .iter()
                .map(|(path, name)| (Path::parse(path).unwrap(), *name))
                .collect();
            let mut node = Node::new(json);
            let groups = Rename::group(paths.iter().map(|(path, name)| (path, *name)));
            groups.iter().for_each(|group| group.apply(&mut node));
            assert_eq!(node.to_json(), expected, "{renames:?}");
        };
        let json = r#"{"a":1,"b":2,"c":[{"d":3,"x":0},{"d":4},5]}"#;
        check(
            json,
            &[("a", "z")],
            r#"{"z":1,"b":2,"c":[{"d":3,"x":0},{"d":4},5]}"#,
        );
        check(
            json,
            &[("a", "b"), ("b", "a")],
            r#"{"b":1,"a":2,"c":[{"d":3,"x":0},{"d":4},5]}"#,
        );
        check(
            json,
            &[("a", "b")],
            r#"{"b":1,"c":[{"d":3,"x":0},{"d":4},5]}"#,
        );
        check(json, &[("nothing", "b")], json.replace(" ", "").as_str());
        check(
            json,
            &[("c", "items"), ("c[].d", "x")],
            r#"{"a":1,"b":2,"items":[{"x":3},{"x":4},5]}"#,
        );
        check(
            r#"[{"a":1},{"a":2}]"#,
            &[("a", "q\"")],
            r#"[{"q\"":1},{"q\"":2}]"#,
        );
        check(
            r#"[{"a":1},{"a":2}]"#,
            &[("[].a", "b")],
            r#"[{"b":1},{"b":2}]"#,
        );
    }

    #[test]
    fn arrays_of_arrays_become_one() {
        let check = |json: &str, path: &str, expected: &str| {
            let mut node = Node::new(json);
            flatten(&Path::parse(path).unwrap(), &mut node);
            assert_eq!(node.to_json(), expected, "{json} {path}");
        };
        check("[[1,2],3,[[4]],[]]", ".", "[1,2,3,[4]]");
        check("[[[1],2],[3]]", "[]", "[[1,2],[3]]");
        check(
            r#"{"a":[{"b":[[1],[2]]},{"b":3}]}"#,
            "a[].b",
            r#"{"a":[{"b":[1,2]},{"b":3}]}"#,
        );
        check(
            r#"{"a":[{"b":[[1],[2]]}]}"#,
            "a.b",
            r#"{"a":[{"b":[1,2]}]}"#,
        );
        check(r#"{"a":1}"#, "a", r#"{"a":1}"#);
        check(r#"{"a":1}"#, "b", r#"{"a":1}"#);
    }
}
