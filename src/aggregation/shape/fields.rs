//! `pick` and `drop`: which fields are kept.

use super::super::json::Node;
use super::path::{Path, Step};

/// Fields, and fields in them. One pass over what is looked into does for all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    /// Whether the whole of it is meant.
    is_whole: bool,
    inner: Vec<(Box<str>, Fields)>,
}

impl Fields {
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Fields {
        let mut all = Fields::default();
        for path in paths {
            all.add(path.steps());
        }
        all
    }

    fn add(&mut self, steps: &[Step]) {
        match steps {
            [] => self.is_whole = true,
            // What is said of an array holds for its elements.
            [Step::Each, rest @ ..] => self.add(rest),
            [Step::Field(name), rest @ ..] => {
                let place = self.inner.iter().position(|(own, _)| own == name);
                let place = place.unwrap_or_else(|| {
                    self.inner.push((name.clone(), Fields::default()));
                    self.inner.len() - 1
                });
                if let Some((_, inner)) = self.inner.get_mut(place) {
                    inner.add(rest);
                }
            }
        }
    }

    /// The fields of the outermost object.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.inner.iter().map(|(name, _)| &**name)
    }

    fn of(&self, written: &str) -> Option<&Fields> {
        let name = super::super::json::name_of(written);
        let found = self.inner.iter().find(|(own, _)| **own == *name);
        found.map(|(_, inner)| inner)
    }

    /// Leaves only these. What has no fields at all is left out where it is in something; null stays. Whether there is
    /// anything that could have had them.
    pub fn pick(&self, node: &mut Node<'_>) -> bool {
        if self.is_whole {
            return true;
        }
        if let Some(elements) = node.elements() {
            elements.retain_mut(|element| self.pick(element));
            return true;
        }
        if let Some(members) = node.members() {
            members.retain_mut(|(name, value)| match self.of(name) {
                Some(inner) => inner.pick(value),
                None => false,
            });
            return true;
        }
        node.kind() == super::super::json::Kind::Null
    }

    /// Leaves these out.
    pub fn drop(&self, node: &mut Node<'_>) {
        if self.inner.is_empty() {
            return;
        }
        if let Some(elements) = node.elements() {
            elements.iter_mut().for_each(|element| self.drop(element));
        } else if let Some(members) = node.members() {
            members.retain_mut(|(name, value)| match self.of(name) {
                Some(inner) if inner.is_whole => false,
                Some(inner) => {
                    inner.drop(value);
                    true
                }
                None => true,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#"{"id":1,"a":{"b":2,"c":[{"d":3,"e":4},{"e":5},6,null]},"n":null,"big":1e999}"#;

    fn fields(paths: &[&str]) -> Fields {
        let paths: Vec<_> = paths
            .iter()
            .map(|path| Path::parse(path).unwrap())
            .collect();
        Fields::new(&paths)
    }

    #[test]
    fn what_is_picked_stays() {
        let check = |json: &str, paths: &[&str], expected: Option<&str>| {
            let mut node = Node::new(json);
            let has_fields = fields(paths).pick(&mut node);
            let left = has_fields.then(|| node.to_json());
            assert_eq!(left.as_deref(), expected, "{paths:?}");
        };
        check(JSON, &["id", "big"], Some(r#"{"id":1,"big":1e999}"#));
        check(JSON, &["a.b"], Some(r#"{"a":{"b":2}}"#));
        for path in ["a.c.d", "a.c[].d"] {
            check(JSON, &[path], Some(r#"{"a":{"c":[{"d":3},{},null]}}"#));
        }
        check(
            JSON,
            &["a.c[].d", "a.c"],
            Some(r#"{"a":{"c":[{"d":3,"e":4},{"e":5},6,null]}}"#),
        );
        check(
            JSON,
            &["a.c[]"],
            Some(r#"{"a":{"c":[{"d":3,"e":4},{"e":5},6,null]}}"#),
        );
        // What is no object has no such field, and nothing says anything else of null.
        check(JSON, &["id.x", "n.x", "x"], Some(r#"{"n":null}"#));
        check(JSON, &["."], Some(JSON));
        check(
            r#"[{"id":1,"x":2},[{"id":3,"x":4}]]"#,
            &["id"],
            Some(r#"[{"id":1},[{"id":3}]]"#),
        );
        check("null", &["id"], Some("null"));
        check("5", &["id"], None);
        check("\"x\"", &["id"], None);
    }

    #[test]
    fn what_is_dropped_goes() {
        let check = |json: &str, paths: &[&str], expected: &str| {
            let mut node = Node::new(json);
            fields(paths).drop(&mut node);
            assert_eq!(node.to_json(), expected, "{paths:?}");
        };
        check(JSON, &["a", "big", "x"], r#"{"id":1,"n":null}"#);
        check(
            JSON,
            &["a.c[].e", "a.b", "id.x"],
            r#"{"id":1,"a":{"c":[{"d":3},{},6,null]},"n":null,"big":1e999}"#,
        );
        check(r#"[{"id":1,"x":2}]"#, &["x"], r#"[{"id":1}]"#);
        check("5", &["x"], "5");
    }
}
