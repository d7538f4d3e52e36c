//! What is different in two JSON documents.

use serde_json::Value;

/// The most that are told.
pub(super) const MOST: usize = 10;
/// The longest pointer that is told whole.
const LONGEST: usize = 120;

/// The JSON pointers (RFC 6901) at which two documents differ, [`MOST`] at most. What stands at one of the ignored
/// pointers, or below, is not compared. Only keys are told, no values: these may be anybody's.
pub(super) fn differences(one: &Value, other: &Value, ignored: &[Box<str>]) -> Vec<String> {
    let mut search = Search {
        ignored,
        at: String::new(),
        found: Vec::new(),
    };
    search.compare(Some(one), Some(other));
    search.found
}

struct Search<'i> {
    ignored: &'i [Box<str>],
    at: String,
    found: Vec<String>,
}

impl Search<'_> {
    fn compare(&mut self, one: Option<&Value>, other: Option<&Value>) {
        let is_ignored = self.ignored.iter().any(|pointer| **pointer == *self.at);
        if is_ignored || one == other || self.found.len() >= MOST {
            return;
        }
        match (one, other) {
            (Some(Value::Object(one)), Some(Value::Object(other))) => {
                for (key, value) in one {
                    self.below(key, Some(value), other.get(key));
                }
                for (key, value) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
                    self.below(key, None, Some(value));
                }
            }
            (Some(Value::Array(one)), Some(Value::Array(other))) => {
                for index in 0..one.len().max(other.len()) {
                    self.below(&index.to_string(), one.get(index), other.get(index));
                }
            }
            _ => self.found.push(self.at.chars().take(LONGEST).collect()),
        }
    }

    fn below(&mut self, key: &str, one: Option<&Value>, other: Option<&Value>) {
        if self.found.len() >= MOST {
            return;
        }
        let length = self.at.len();
        self.at.push('/');
        self.at.push_str(&key.replace('~', "~0").replace('/', "~1"));
        self.compare(one, other);
        self.at.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_told_and_values_are_not() {
        let check = |one: Value, other: Value, ignored: &[&str], expected: &[&str]| {
            let ignored: Vec<Box<str>> = ignored.iter().map(|&it| it.into()).collect();
            assert_eq!(
                differences(&one, &other, &ignored),
                expected,
                "{one} {other}"
            );
        };
        check(json!({ "a": 1 }), json!({ "a": 1 }), &[], &[]);
        check(json!({ "a": 1 }), json!({ "a": 2 }), &[], &["/a"]);
        check(json!({ "a": 1 }), json!({ "a": 2 }), &["/a"], &[]);
        check(json!({ "a": 1 }), json!({ "b": 1 }), &[], &["/a", "/b"]);
        check(json!([1, 2]), json!([1, 3, 4]), &[], &["/1", "/2"]);
        check(
            json!({ "a": [{ "b/c": 1 }] }),
            json!({ "a": [{ "b/c": 2 }] }),
            &[],
            &["/a/0/b~1c"],
        );
        check(
            json!({ "a": { "t": 1 } }),
            json!({ "a": { "t": 2 } }),
            &["/a"],
            &[],
        );
        check(json!(1), json!({}), &[], &[""]);
        check(json!(1), json!(2), &[""], &[]);
        let many: Vec<u32> = (0..50).collect();
        let others: Vec<u32> = (50..100).collect();
        assert_eq!(differences(&json!(many), &json!(others), &[]).len(), MOST);
    }
}
