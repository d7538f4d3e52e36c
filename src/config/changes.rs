//! What is different between two configurations, as people and programs read it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text::write_key;

/// Longer values are cut where people read them; programs get all of them.
const LONGEST_VALUE: usize = 160;

/// Every object that is not what it was, in the order of kinds and then of names. Prints as a list for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    pub changes: Vec<Change>,
}

/// An object that is there, or gone, or different.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub kind: Kind,
    /// Empty for `[gateway]`, `[admin]`, `[identity]` and `[cache]`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(flatten)]
    pub what: What,
    /// Where it is defined now; where it was for one that is gone.
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Gateway,
    Admin,
    Identity,
    Cache,
    Plan,
    Consumer,
    Store,
    Listener,
    Upstream,
    Route,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum What {
    Added,
    Removed,
    Changed {
        /// By key, in their order. Empty where so many objects changed that only their names are told, and for an
        /// object that says what it said in another folder, which its paths are relative to.
        values: Vec<ValueChange>,
    },
}

/// A value under a key of an object. Absent before: it was added; absent after: it was removed. What may be a secret
/// is `"***"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueChange {
    /// `match.path`
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub path: String,
    pub line: usize,
    pub column: usize,
}

impl Kind {
    /// One of them.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Gateway => "gateway",
            Kind::Admin => "admin",
            Kind::Identity => "identity",
            Kind::Cache => "cache",
            Kind::Plan => "plan",
            Kind::Consumer => "consumer",
            Kind::Store => "store",
            Kind::Listener => "listener",
            Kind::Upstream => "upstream",
            Kind::Route => "route",
        }
    }

    /// The key of the table that such objects stand in.
    pub fn table(self) -> &'static str {
        match self {
            Kind::Gateway => "gateway",
            Kind::Admin => "admin",
            Kind::Identity => "identity",
            Kind::Cache => "cache",
            Kind::Plan => "plans",
            Kind::Consumer => "consumers",
            Kind::Store => "stores",
            Kind::Listener => "listeners",
            Kind::Upstream => "upstreams",
            Kind::Route => "routes",
        }
    }
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes\n");
        }
        let mut counts = [0; 3];
        for change in &self.changes {
            change.fmt(f)?;
            let [added, removed, changed] = &mut counts;
            *match change.what {
                What::Added => added,
                What::Removed => removed,
                What::Changed { .. } => changed,
            } += 1;
        }
        let [added, removed, changed] = counts;
        writeln!(f, "{added} added, {removed} removed, {changed} changed")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.what {
            What::Added => "+ ",
            What::Removed => "- ",
            What::Changed { .. } => "~ ",
        })?;
        f.write_str(self.kind.table())?;
        if !self.name.is_empty() {
            f.write_str(".")?;
            write_key(f, &self.name)?;
        }
        let Place { path, line, column } = &self.place;
        writeln!(f, "  {path}:{line}:{column}")?;
        if let What::Changed { values } = &self.what {
            values.iter().try_for_each(|value| value.fmt(f))?;
        }
        Ok(())
    }
}

impl fmt::Display for ValueChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                return writeln!(f, "    ~ {}: {} → {}", self.key, toml(before), toml(after));
            }
            (None, after) => ("+", after),
            (before, None) => ("-", before),
        };
        let value = value.as_ref().map(toml).unwrap_or_default();
        writeln!(f, "    {sign} {} = {value}", self.key)
    }
}

/// A value as TOML has it, in one line that is not too long.
fn toml(value: &Value) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_toml(&mut text, value);
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn write_toml(out: &mut dyn fmt::Write, value: &Value) -> fmt::Result {
    match value {
        Value::Array(elements) => {
            out.write_str("[")?;
            for (index, element) in elements.iter().enumerate() {
                out.write_str(if index > 0 { ", " } else { "" })?;
                write_toml(out, element)?;
            }
            out.write_str("]")
        }
        Value::Object(entries) if entries.is_empty() => out.write_str("{}"),
        Value::Object(entries) => {
            for (index, (key, value)) in entries.iter().enumerate() {
                out.write_str(if index > 0 { ", " } else { "{ " })?;
                write_key(out, key)?;
                out.write_str(" = ")?;
                write_toml(out, value)?;
            }
            out.write_str(" }")
        }
        // Strings of JSON are strings of TOML, and what a terminal would obey is escaped in them.
        other => write!(out, "{other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Changes {
        let place = Place {
            path: "a.toml".to_owned(),
            line: 3,
            column: 1,
        };
        let value = |key: &str, before: Option<Value>, after: Option<Value>| ValueChange {
            key: key.to_owned(),
            before,
            after,
        };
        let change = |kind, name: &str, what| Change {
            kind,
            name: name.to_owned(),
            what,
            place: place.clone(),
        };
        let values = vec![
            value("timeout", None, Some(json!("5s"))),
            value("upstream", Some(json!("a")), Some(json!("b\u{1b}"))),
            value("policies", Some(json!({ "x y": [1, true], "z": {} })), None),
            value("long", None, Some(json!("é".repeat(400)))),
        ];
        Changes {
            changes: vec![
                change(Kind::Gateway, "", What::Changed { values: Vec::new() }),
                change(Kind::Listener, "b.c", What::Removed),
                change(Kind::Route, "r", What::Changed { values }),
                change(Kind::Route, "s", What::Added),
            ],
        }
    }

    #[test]
    fn for_people() {
        let cut = format!("\"{}…", "é".repeat(LONGEST_VALUE - 1));
        let expected = format!(
            r#"~ gateway  a.toml:3:1
- listeners."b.c"  a.toml:3:1
~ routes.r  a.toml:3:1
    + timeout = "5s"
    ~ upstream: "a" → "b\u001b"
    - policies = {{ "x y" = [1, true], z = {{}} }}
    + long = {cut}
+ routes.s  a.toml:3:1
1 added, 1 removed, 2 changed
"#
        );
        assert_eq!(sample().to_string(), expected);
        assert_eq!(Changes::default().to_string(), "nothing changes\n");
    }

    #[test]
    fn for_programs() {
        let json = serde_json::to_value(sample()).unwrap();
        assert_eq!(json["changes"][1]["kind"], "listener");
        assert_eq!(json["changes"][1]["change"], "removed");
        assert_eq!(
            json["changes"][2]["values"][0],
            json!({ "key": "timeout", "after": "5s" })
        );
        assert_eq!(json["changes"][3]["place"]["line"], 3);
        let read: Changes = serde_json::from_value(json).unwrap();
        assert_eq!(read, sample());
    }
}
