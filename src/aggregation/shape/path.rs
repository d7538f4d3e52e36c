//! Where fields are: `id`, `items[].price`, `["odd.name"].x`.

use std::fmt;

use thiserror::Error;

use crate::text::quoted;

/// A step into JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The field of this name; of an array, that of each of its elements.
    Field(Box<str>),
    /// Each element of an array.
    Each,
}

/// Where fields are. `.` is the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Box<[Step]>);

/// What is no path.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("must be a field such as \"id\" or \"items[].price\", got {}", quoted(.0))]
pub struct InvalidPath(Box<str>);

/// As deep as JSON may be.
const MOST_STEPS: usize = 128;

impl Path {
    pub fn parse(text: &str) -> Result<Path, InvalidPath> {
        let fail = || InvalidPath(text.into());
        let mut steps = Vec::new();
        let mut rest = match text {
            "." => "",
            "" => return Err(fail()),
            text => text,
        };
        let mut is_first = true;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[]") {
                steps.push(Step::Each);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("[\"") {
                let (name, after) = after.split_once("\"]").ok_or_else(fail)?;
                steps.push(Step::Field(name.into()));
                rest = after;
            } else {
                if !is_first {
                    rest = rest.strip_prefix('.').ok_or_else(fail)?;
                }
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                if !is_plain(name) {
                    return Err(fail());
                }
                steps.push(Step::Field(name.into()));
                rest = after;
            }
            is_first = false;
        }
        match steps.len() <= MOST_STEPS {
            true => Ok(Path(steps.into())),
            false => Err(fail()),
        }
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The names alone. `None` where it goes into each element of an array by its own words.
    pub fn names(&self) -> Option<Vec<&str>> {
        let name = |step: &'_ Step| match step {
            Step::Field(_) => true,
            Step::Each => false,
        };
        let all = self.0.iter().all(name);
        let names = self.0.iter().filter_map(|step| match step {
            Step::Field(name) => Some(&**name),
            Step::Each => None,
        });
        all.then(|| names.collect())
    }
}

fn is_plain(name: &str) -> bool {
    let is_special = |one: char| matches!(one, ']' | '"' | '{' | '}') || one.is_whitespace();
    !name.is_empty() && !name.contains(is_special)
}

/// As it is written.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Each => f.write_str("[]")?,
                Step::Field(name) if !is_plain(name) || name.contains(['.', '[']) => {
                    write!(f, "[\"{name}\"]")?;
                }
                Step::Field(name) if index == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let path = Path::parse(text).ok();
            let steps = path.as_ref().map(|path| {
                let steps = path.steps().iter().map(|step| match step {
                    Step::Each => "[]",
                    Step::Field(name) => name,
                });
                steps.collect::<Vec<_>>()
            });
            assert_eq!(steps.as_deref(), expected, "{text}");
            if let Some(path) = path {
                assert_eq!(path.to_string(), text);
            }
        };
        check(".", Some(&[]));
        check("id", Some(&["id"]));
        check("items[].price", Some(&["items", "[]", "price"]));
        check("[].id", Some(&["[]", "id"]));
        check("a[][].b", Some(&["a", "[]", "[]", "b"]));
        check("[\"a.b\"].c", Some(&["a.b", "c"]));
        check("a[\"b c\"][]", Some(&["a", "b c", "[]"]));
        check("x-y_z", Some(&["x-y_z"]));
        for wrong in [
            "", "..", ".a", "a.", "a..b", "a[0]", "a[", "a[]b", "a b", "[\"a", "a]", "{a}",
        ] {
            check(wrong, None);
        }
    }
}
