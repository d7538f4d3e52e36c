//! What the parts of an aggregation have answered so far, for templates and expressions that name them.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{TemplateProblem, View};

/// What the parts of an aggregation have answered so far. Parts go by their places in the order of their names.
///
/// `None` is what is not there: no answer, or no such field in it.
pub trait Answers: Sync {
    fn status(&self, part: usize) -> Option<StatusCode>;

    fn header(&self, part: usize, name: &HeaderName) -> Option<&HeaderValue>;

    /// What is at this place of the body, as JSON.
    fn body(&self, part: usize, path: &[Key]) -> Option<Cow<'_, str>>;

    /// What has been made of the body, as JSON.
    fn shaped(&self, part: usize) -> Option<Cow<'_, str>>;
}

/// A request, and what has been answered in the course of it.
#[derive(Clone, Copy)]
pub struct Gathered<'a> {
    pub view: View<'a>,
    pub answers: &'a dyn Answers,
}

/// Where there are no parts.
struct Nobody;

impl Answers for Nobody {
    fn status(&self, _: usize) -> Option<StatusCode> {
        None
    }

    fn header(&self, _: usize, _: &HeaderName) -> Option<&HeaderValue> {
        None
    }

    fn body(&self, _: usize, _: &[Key]) -> Option<Cow<'_, str>> {
        None
    }

    fn shaped(&self, _: usize) -> Option<Cow<'_, str>> {
        None
    }
}

impl<'a> From<View<'a>> for Gathered<'a> {
    fn from(view: View<'a>) -> Gathered<'a> {
        Gathered {
            view,
            answers: &Nobody,
        }
    }
}

/// Something of a part: `{parts.profile.body.cart_id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartField {
    /// Its place in the order of names.
    pub part: usize,
    pub what: What,
}

/// What of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `{parts.profile}`: what has been made of its body.
    Shaped,
    /// `{parts.profile.status}`
    Status,
    /// `{parts.profile.headers.x-total}`
    Header(HeaderName),
    /// `{parts.profile.body}`, `{parts.profile.body.items[0].id}`: as its upstream has sent it.
    Body(Box<[Key]>),
}

/// A step into JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Field(Box<str>),
    Index(usize),
}

/// As a path has it: `.name`, `["na.me"]`, `[0]`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Index(index) => write!(f, "[{index}]"),
            Key::Field(name) if is_plain(name) => write!(f, ".{name}"),
            Key::Field(name) => write!(f, "[{name:?}]"),
        }
    }
}

fn is_plain(name: &str) -> bool {
    let is_special = |one: char| matches!(one, '.' | '[' | ']' | '"' | '{' | '}');
    !name.is_empty() && !name.contains(is_special)
}

impl PartField {
    /// `text` is what follows `parts.`.
    pub(super) fn parse(text: &str, parts: &[Box<str>]) -> Result<PartField, TemplateProblem> {
        let (part, rest) = part_of(text, parts)?;
        let fail = || TemplateProblem::PartField(text.into());
        let what = match rest.split_once('.').unwrap_or((rest, "")) {
            ("", "") if rest.is_empty() => What::Shaped,
            ("status", "") if rest == "status" => What::Status,
            ("headers", name) => What::Header(HeaderName::try_from(name).map_err(|_| fail())?),
            _ => match rest.strip_prefix("body") {
                Some(path) => What::Body(keys(path).ok_or_else(fail)?),
                None => return Err(fail()),
            },
        };
        Ok(PartField { part, what })
    }
}

/// Which part, and what follows its name. Names may have dots in them: the longest that there is is meant.
fn part_of<'t>(text: &'t str, parts: &[Box<str>]) -> Result<(usize, &'t str), TemplateProblem> {
    let rest_behind = |name: &str| {
        let rest = text.strip_prefix(name)?;
        match rest.is_empty() {
            true => Some(""),
            false => rest.strip_prefix('.').filter(|rest| !rest.is_empty()),
        }
    };
    let found = parts.iter().enumerate();
    let found = found.filter_map(|(part, name)| Some((name.len(), part, rest_behind(name)?)));
    match found.max_by_key(|(length, ..)| *length) {
        Some((_, part, rest)) => Ok((part, rest)),
        None => {
            let name = text.split('.').next().unwrap_or(text);
            Err(TemplateProblem::UnknownPart(name.into()))
        }
    }
}

/// `.items[0].id` or `["a.b"].c`; `None` where it is no path.
fn keys(mut text: &str) -> Option<Box<[Key]>> {
    let mut keys = Vec::new();
    while !text.is_empty() {
        if let Some(rest) = text.strip_prefix("[\"") {
            let (name, rest) = rest.split_once("\"]")?;
            keys.push(Key::Field(name.into()));
            text = rest;
        } else if let Some(rest) = text.strip_prefix('[') {
            let (index, rest) = rest.split_once(']')?;
            keys.push(Key::Index(index.parse().ok()?));
            text = rest;
        } else {
            let rest = text.strip_prefix('.')?;
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            keys.push(Key::Field(is_plain(name).then(|| name.into())?));
            text = rest;
        }
    }
    Some(keys.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_parts() {
        let parts: Vec<Box<str>> = ["a", "a.b", "my-cart"].map(Into::into).into();
        let check = |text: &str, expected: Option<(usize, &str)>| {
            let found = PartField::parse(text, &parts);
            let said = found.as_ref().ok().map(|field| {
                let what = match &field.what {
                    What::Shaped => "shaped".to_owned(),
                    What::Status => "status".to_owned(),
                    What::Header(name) => format!("header {name}"),
                    What::Body(keys) => {
                        let keys: String = keys.iter().map(Key::to_string).collect();
                        format!("body{keys}")
                    }
                };
                (field.part, what)
            });
            let said = said.as_ref().map(|(part, what)| (*part, what.as_str()));
            assert_eq!(said, expected, "{text}: {found:?}");
        };
        check("a", Some((0, "shaped")));
        check("a.b", Some((1, "shaped")));
        check("a.body", Some((0, "body")));
        check("a.b.body.x", Some((1, "body.x")));
        check("a.status", Some((0, "status")));
        check("my-cart.headers.X-Total", Some((2, "header x-total")));
        check("a.body.items[0].id", Some((0, "body.items[0].id")));
        check("a.body[2]", Some((0, "body[2]")));
        check("a.body[\"x.y\"][\"z\"]", Some((0, "body[\"x.y\"].z")));
        for wrong in [
            "",
            "c",
            "ab",
            "a.",
            "a.bodyx",
            "a.body.",
            "a.body..x",
            "a.body[x]",
            "a.body[-1]",
            "a.status.x",
            "a.headers",
            "a.headers.",
            "a.headers.x y",
            "a.x",
            "a.body[0",
            "a.body.x]",
            "a.body[\"x]",
        ] {
            check(wrong, None);
        }
    }
}
