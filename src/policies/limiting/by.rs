//! Who is counted: `by = ["consumer", "path:tenant"]`.
//!
//! What a client can choose for itself, a header, a cookie or a part of the path, limits no client: with each new value
//! it is another. Such values tell apart what a caller that is limited otherwise is limited in, or callers of whom
//! something before the gateway vouches. What was proven, `consumer`, `credential` and `claim:NAME`, and the address cannot be chosen.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::facts::{KEY_WORDS, KeyBy, KeyPart, Variables, View};
use crate::limits::{Key, KeyName, KeyParts as _};
use crate::text::{ParsedText, Span, Spanned, Subject, parsed_text, quoted};

/// One thing that tells callers apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Nothing: everybody is counted together.
    All,
    /// The route, where several inherit the policy.
    Route,
    Of(KeyBy),
}

/// What nobody is told apart by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be all, route, {}, got {}", KEY_WORDS, quoted(.0))]
pub struct Unknown(Box<str>);

impl FromStr for By {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<By, Unknown> {
        match text {
            "all" => Ok(By::All),
            "route" => Ok(By::Route),
            _ => text.parse().map(By::Of).map_err(|_| Unknown(text.into())),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::All => f.write_str("all"),
            By::Route => f.write_str("route"),
            By::Of(key) => key.fmt(f),
        }
    }
}

impl ParsedText for By {
    const EXPECTED: &'static str = "what is counted by, such as \"consumer\"";
}

parsed_text!(
    By,
    "string",
    r"^(consumer|identity|credential|client|plan|all|route|(claim|header|cookie|path):.+)$",
    "What tells callers apart: \"consumer\" or \"identity\", which is the same, \"credential\", \"client\" (the address), \"all\" (everybody together), \"route\" (each of the routes that inherit the policy), \"plan\" (of who calls), \"claim:NAME\", \"header:NAME\", \"cookie:NAME\" or \"path:NAME\"."
);

/// One or several things that tell callers apart together.
#[derive(Clone, Debug, PartialEq)]
pub enum ByConfig {
    One(By),
    Several(Vec<Spanned<By>>),
}

struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = ByConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or an array of such", By::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ByConfig, E> {
        text.parse().map(ByConfig::One).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ByConfig, A::Error> {
        let mut several = Vec::new();
        while let Some(one) = elements.next_element()? {
            several.push(one);
        }
        Ok(ByConfig::Several(several))
    }
}

impl<'de> Deserialize<'de> for ByConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByConfig, D::Error> {
        deserializer.deserialize_any(OneOrSeveral)
    }
}

impl JsonSchema for ByConfig {
    fn schema_name() -> Cow<'static, str> {
        "ByOneOrSeveral".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<By>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl ByConfig {
    /// With the place of each, which is `span` for one alone.
    pub(super) fn list(&self, span: Span) -> Vec<Spanned<By>> {
        match self {
            ByConfig::One(one) => vec![Spanned::new(one.clone(), span)],
            ByConfig::Several(several) => several.clone(),
        }
    }
}

/// Who is counted, compiled. What a request lacks is a value as well: all that lack it are counted together.
#[derive(Clone, Debug)]
pub struct Counted {
    parts: Box<[Part]>,
    text: Box<str>,
}

#[derive(Clone, Debug)]
enum Part {
    /// The route's name.
    Route,
    Of(KeyPart),
}

impl Counted {
    /// `None` after diagnostics.
    pub fn build(
        by: &Spanned<ByConfig>,
        variables: Variables<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Counted> {
        let before = subject.error_count();
        let (span, is_one) = (by.span, matches!(by.value, ByConfig::One(_)));
        let by = by.value.list(span);
        if by.is_empty() {
            let problem = subject.error(span, "is empty");
            problem.help("write \"all\" to count everybody together");
        }
        let mut parts = Vec::with_capacity(by.len());
        for (index, one) in by.iter().enumerate() {
            parts.push(match &one.value {
                By::Route => Part::Route,
                By::All if by.len() == 1 => continue,
                By::All => {
                    let what = "is of no use beside others: \"all\" tells nobody apart";
                    subject.index(index).error(one.span, what);
                    continue;
                }
                By::Of(key) => {
                    if let Some(name) = key.credential() {
                        let what = format!("must not be the credential {name} itself");
                        let help = "write by = \"credential\", which is the name of what was proven to be good";
                        match is_one {
                            true => subject.error(one.span, what).help(help),
                            false => subject.index(index).error(one.span, what).help(help),
                        };
                        continue;
                    }
                    match part(key, variables) {
                        Ok(part) => Part::Of(part),
                        Err(problem) => {
                            match is_one {
                                true => subject.error(one.span, problem),
                                false => subject.index(index).error(one.span, problem),
                            };
                            continue;
                        }
                    }
                }
            });
        }
        let text: Vec<String> = by.iter().map(|one| one.to_string()).collect();
        (subject.error_count() == before).then(|| Counted {
            parts: parts.into(),
            text: text.join(", ").into(),
        })
    }

    /// What requests are told apart by, routes apart.
    pub fn parts(&self) -> impl Iterator<Item = &KeyPart> {
        self.parts.iter().filter_map(|part| match part {
            Part::Route => None,
            Part::Of(part) => Some(part),
        })
    }

    /// As it is written: `consumer, header:x-tenant`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether routes are told apart.
    pub fn has_route(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Route))
    }

    /// Costs a hash of the values, and no allocation but for a claim. `route` is the name of the request's route, if
    /// routes are told apart.
    pub fn key(&self, view: View<'_>, route: &str) -> Key {
        let mut key = Key::hasher();
        for part in &self.parts {
            match part {
                Part::Route => key.part(route.as_bytes()),
                Part::Of(part) => {
                    part.add(&mut key, view);
                }
            }
        }
        key.finish()
    }

    /// What [`Counted::key`] is called where several gateways count.
    pub fn name(&self, view: View<'_>, route: &str) -> KeyName {
        let mut name = KeyName::hasher();
        for part in &self.parts {
            match part {
                Part::Route => name.part(route.as_bytes()),
                Part::Of(part) => {
                    part.add(&mut name, view);
                }
            }
        }
        name.finish()
    }
}

fn part(key: &KeyBy, variables: Variables<'_>) -> Result<KeyPart, String> {
    let (part, is_shared) = match variables {
        Variables::Shared => (key.part(&[]), true),
        Variables::Route(names)
        | Variables::Target(names)
        | Variables::Parts {
            parameters: names, ..
        } => (key.part(names), false),
    };
    part.ok_or_else(|| match (key, is_shared) {
        (KeyBy::Path(name), false) => {
            format!("needs a parameter {name:?} in the route's path, which has none of that name")
        }
        _ => format!(
            "can count by {key} only where the route is known, not in a policy that routes inherit"
        ),
    })
}
