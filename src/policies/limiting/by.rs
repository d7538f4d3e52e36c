//! Who is counted: `by = ["consumer", "path:tenant"]`.
//!
//! What a client can choose for itself, a header, a cookie or a part of the path, limits no client: with each new value
//! it is another. Such values tell apart what a caller that is limited otherwise is limited in, or callers of whom
//! something before the gateway vouches. What was proven, `consumer`, `credential` and `claim:NAME`, and the address cannot be chosen.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::facts::{KeyPart, Variables, View};
use crate::identity::is_credential;
use crate::limits::{Key, KeyName, KeyParts as _};
use crate::text::{ParsedText, Span, Spanned, Subject, parsed_text, quoted};

/// One thing that tells callers apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The consumer; a caller that is none, by its provider and subject; a stranger, by its address.
    Consumer,
    /// What was shown to prove who calls; without a name for it as [`By::Consumer`].
    Credential,
    /// The client's address, of IPv6 the first 64 bits.
    Client,
    /// Nothing: everybody is counted together.
    All,
    /// The route, where several inherit the policy.
    Route,
    Claim(Box<str>),
    Header(HeaderName),
    Cookie(Box<str>),
    /// A parameter of the route's path.
    Path(Box<str>),
}

/// What nobody is told apart by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be consumer, credential, client, all, route, claim:NAME, header:NAME, cookie:NAME or path:NAME, got {}", quoted(.0))]
pub struct Unknown(Box<str>);

impl FromStr for By {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<By, Unknown> {
        let wrong = || Unknown(text.into());
        let named = text.split_once(':').filter(|(_, name)| !name.is_empty());
        match (text, named) {
            ("consumer", _) => Ok(By::Consumer),
            ("credential", _) => Ok(By::Credential),
            ("client", _) => Ok(By::Client),
            ("all", _) => Ok(By::All),
            ("route", _) => Ok(By::Route),
            (_, Some(("claim", name))) => Ok(By::Claim(name.into())),
            (_, Some(("header", name))) => name.parse().map(By::Header).map_err(|_| wrong()),
            (_, Some(("cookie", name))) => Ok(By::Cookie(name.into())),
            (_, Some(("path", name))) => Ok(By::Path(name.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Consumer => f.write_str("consumer"),
            By::Credential => f.write_str("credential"),
            By::Client => f.write_str("client"),
            By::All => f.write_str("all"),
            By::Route => f.write_str("route"),
            By::Claim(name) => write!(f, "claim:{name}"),
            By::Header(name) => write!(f, "header:{name}"),
            By::Cookie(name) => write!(f, "cookie:{name}"),
            By::Path(name) => write!(f, "path:{name}"),
        }
    }
}

impl ParsedText for By {
    const EXPECTED: &'static str = "what is counted by, such as \"consumer\"";
}

parsed_text!(
    By,
    "string",
    r"^(consumer|credential|client|all|route|(claim|header|cookie|path):.+)$",
    "What tells callers apart: \"consumer\", \"credential\", \"client\" (the address), \"all\" (everybody together), \"route\" (each of the routes that inherit the policy), \"claim:NAME\", \"header:NAME\", \"cookie:NAME\" or \"path:NAME\"."
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
                By::Consumer => Part::Of(KeyPart::Caller),
                By::Credential => Part::Of(KeyPart::Credential),
                By::Client => Part::Of(KeyPart::Client),
                By::Route => Part::Route,
                By::All if by.len() == 1 => continue,
                By::All => {
                    let what = "is of no use beside others: \"all\" tells nobody apart";
                    subject.index(index).error(one.span, what);
                    continue;
                }
                By::Claim(name) => Part::Of(KeyPart::Claim(name.clone())),
                By::Header(name) if is_credential(name) => {
                    // Authenticators take it out, and who varies it would be somebody else each time.
                    let what = format!("must not be the credential {name} itself");
                    let help = "write by = \"credential\", which is the name of what was proven to be good";
                    match is_one {
                        true => subject.error(one.span, what).help(help),
                        false => subject.index(index).error(one.span, what).help(help),
                    };
                    continue;
                }
                By::Header(name) => Part::Of(KeyPart::Header(name.clone())),
                By::Cookie(name) => Part::Of(KeyPart::Cookie(name.clone())),
                By::Path(name) => match parameter(name, variables) {
                    Ok(place) => Part::Of(KeyPart::Path(place)),
                    Err(problem) => {
                        match is_one {
                            true => subject.error(one.span, problem),
                            false => subject.index(index).error(one.span, problem),
                        };
                        continue;
                    }
                },
            });
        }
        let text: Vec<String> = by.iter().map(|one| one.to_string()).collect();
        (subject.error_count() == before).then(|| Counted {
            parts: parts.into(),
            text: text.join(", ").into(),
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

/// Which of the captures a parameter of the path is.
fn parameter(name: &str, variables: Variables<'_>) -> Result<usize, String> {
    match variables {
        Variables::Shared => Err(format!(
            "can count by path:{name} only where the route is known, not in a policy that routes inherit"
        )),
        Variables::Route(names) | Variables::Target(names) => {
            let place = names.iter().position(|it| **it == *name);
            place.ok_or_else(|| {
                format!(
                    "needs a parameter {name:?} in the route's path, which has none of that name"
                )
            })
        }
    }
}
