//! The components of a request that a signature covers, and what it was made over (RFC 9421 section 2).
//!
//! What cannot be computed here as it was for the signer is refused and never passed over: an unknown component or
//! parameter, a field that is not there, one of responses or of trailers, a query parameter that stands twice.

use std::fmt::Write as _;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, Method};

use crate::text::structured::{Bare, InnerList, Item, Member, Twice, dictionary, write_dictionary};
use crate::text::{ParsedText, parsed_text, quoted};

/// A request as the gateway routes and forwards it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub method: &'a Method,
    /// `http` or `https`, as the client speaks it.
    pub scheme: &'a str,
    /// The host, with the port where the client named one.
    pub authority: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
}

/// A component, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Component {
    Method,
    TargetUri,
    Authority,
    Scheme,
    RequestTarget,
    Path,
    Query,
    /// One parameter of the query, by its encoded name.
    QueryParam(Box<str>),
    Field(HeaderName, Form),
}

/// What of a field is signed.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// Its lines, joined.
    Plain,
    /// `sf`: the dictionary that it is, in its canonical form.
    Structured,
    /// `key`: the member of that name of the dictionary that it is.
    Key(Box<str>),
    /// `bs`: each line's bytes.
    Bytes,
}

/// A component that signatures have to cover, as a configuration names it: `"@path"`, `"date"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Required(pub(super) Component);

impl Required {
    /// What makes a request what it is, but for its body.
    pub fn usual() -> [Required; 4] {
        use Component::*;
        [Method, Authority, Path, Query].map(Required)
    }
}

impl FromStr for Required {
    type Err = String;

    fn from_str(text: &str) -> Result<Required, String> {
        let component = Component::named(text).map(Required);
        component.ok_or_else(|| {
            format!(
                "must be a component of requests such as \"@path\", or a header in lower case, got {}",
                quoted(text)
            )
        })
    }
}

impl ParsedText for Required {
    const EXPECTED: &'static str = "a component of requests such as \"@path\"";
}

parsed_text!(
    Required,
    "string",
    "^(@[a-z-]+|[a-z0-9!#$%&'*+.^_`|~-]+)$",
    "A component of requests by its name in RFC 9421, or a header in lower case."
);

/// Why a component or its value cannot be had, for the log.
pub type Wrong = String;

/// The fields of which it is known that they are dictionaries, which `sf` needs (section 2.1.1).
const DICTIONARIES: [&str; 8] = [
    "accept-signature",
    "content-digest",
    "priority",
    "repr-digest",
    "signature",
    "signature-input",
    "want-content-digest",
    "want-repr-digest",
];

impl Component {
    /// Reads an identifier, `"@query-param";name="a"`.
    pub fn of(item: &Item<'_>) -> Result<Component, Wrong> {
        let Bare::String(name) = &item.value else {
            return Err("a component is not named by a string".into());
        };
        if &**name == "@query-param" {
            return match &item.parameters[..] {
                [("name", Bare::String(of))] => Ok(Component::QueryParam((**of).into())),
                _ => Err(format!("{item} needs `name` and nothing else")),
            };
        }
        if name.starts_with('@') {
            let component = derived(name).ok_or_else(|| format!("{item} is not supported"))?;
            return match item.parameters.is_empty() {
                true => Ok(component),
                false => Err(format!("{item} has a parameter that is not supported")),
            };
        }
        let field = HeaderName::from_lowercase(name.as_bytes());
        let field = field.map_err(|_| format!("{item} is no field name in lower case"))?;
        let form = match &item.parameters[..] {
            [] => Form::Plain,
            [("sf", Bare::Boolean(true))] if DICTIONARIES.contains(&field.as_str()) => {
                Form::Structured
            }
            [("key", Bare::String(key))] => Form::Key((**key).into()),
            [("bs", Bare::Boolean(true))] => Form::Bytes,
            _ => return Err(format!("{item} has a parameter that is not supported")),
        };
        Ok(Component::Field(field, form))
    }

    /// Reads a name without parameters.
    pub fn named(name: &str) -> Option<Component> {
        match name.starts_with('@') {
            true => derived(name),
            false => {
                let field = HeaderName::from_lowercase(name.as_bytes()).ok()?;
                Some(Component::Field(field, Form::Plain))
            }
        }
    }

    /// Its name without parameters.
    pub fn name(&self) -> &str {
        match self {
            Component::Method => "@method",
            Component::TargetUri => "@target-uri",
            Component::Authority => "@authority",
            Component::Scheme => "@scheme",
            Component::RequestTarget => "@request-target",
            Component::Path => "@path",
            Component::Query => "@query",
            Component::QueryParam(_) => "@query-param",
            Component::Field(name, _) => name.as_str(),
        }
    }

    /// Whether a signature that covers this one says all that `required` would say.
    pub fn covers(&self, required: &Component) -> bool {
        use Component::*;
        match (self, required) {
            (TargetUri, Scheme | Authority | Path | Query | RequestTarget) => true,
            (RequestTarget, Path | Query) => true,
            // Each of the forms shows a change of any line; that of one key does not.
            (Field(one, Form::Structured | Form::Bytes), Field(other, Form::Plain)) => one == other,
            (one, other) => one == other,
        }
    }

    /// Appends its value for a request.
    pub fn write(&self, to: &mut String, message: &Message<'_>) -> Result<(), Wrong> {
        match self {
            Component::Method => to.push_str(message.method.as_str()),
            Component::TargetUri => {
                let _ = write!(to, "{}://", message.scheme);
                write_authority(to, message);
                write_target(to, message);
            }
            Component::Authority => write_authority(to, message),
            Component::Scheme => to.push_str(message.scheme),
            Component::RequestTarget => write_target(to, message),
            Component::Path => to.push_str(message.path),
            Component::Query => {
                to.push('?');
                to.push_str(message.query.unwrap_or_default());
            }
            Component::QueryParam(name) => {
                let value = query_param(message.query.unwrap_or_default(), name)?;
                to.push_str(&value);
            }
            Component::Field(name, form) => write_field(to, message.headers, name, form)?,
        }
        Ok(())
    }
}

fn derived(name: &str) -> Option<Component> {
    Some(match name {
        "@method" => Component::Method,
        "@target-uri" => Component::TargetUri,
        "@authority" => Component::Authority,
        "@scheme" => Component::Scheme,
        "@request-target" => Component::RequestTarget,
        "@path" => Component::Path,
        "@query" => Component::Query,
        _ => return None,
    })
}

/// The signature base (section 2.5), and the components that it covers, each of them once.
pub fn signature_base(
    message: &Message<'_>,
    input: &InnerList<'_>,
) -> Result<(String, Vec<Component>), Wrong> {
    let mut base = String::with_capacity(512);
    let mut covered = Vec::with_capacity(input.items.len());
    for item in &input.items {
        let component = Component::of(item)?;
        if covered.contains(&component) {
            return Err(format!("{item} is covered twice"));
        }
        let _ = write!(base, "{item}: ");
        component
            .write(&mut base, message)
            .map_err(|wrong| format!("{item}: {wrong}"))?;
        base.push('\n');
        covered.push(component);
    }
    let _ = write!(base, "\"@signature-params\": {input}");
    Ok((base, covered))
}

/// Section 2.2.3: in lower case, without the scheme's own port.
fn write_authority(to: &mut String, message: &Message<'_>) {
    let port = match message.scheme {
        "https" => ":443",
        _ => ":80",
    };
    let authority = message.authority;
    let authority = authority.strip_suffix(port).unwrap_or(authority);
    to.extend(authority.chars().map(|one| one.to_ascii_lowercase()));
}

fn write_target(to: &mut String, message: &Message<'_>) {
    to.push_str(message.path);
    if let Some(query) = message.query {
        to.push('?');
        to.push_str(query);
    }
}

/// Section 2.1, and 2.1.1 to 2.1.3 for its parameters.
fn write_field(
    to: &mut String,
    headers: &HeaderMap,
    name: &HeaderName,
    form: &Form,
) -> Result<(), Wrong> {
    if !headers.contains_key(name) {
        return Err("the request does not have it".into());
    }
    match form {
        Form::Plain => to.push_str(&joined(headers, name)?),
        Form::Bytes => {
            for (index, line) in headers.get_all(name).iter().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                let line = BASE64.encode(line.as_bytes().trim_ascii());
                let _ = write!(to, "{comma}:{line}:");
            }
        }
        Form::Structured => {
            let text = joined(headers, name)?;
            let members = dictionary(&text, Twice::Refused).map_err(|wrong| wrong.0)?;
            write_dictionary(to, &members);
        }
        Form::Key(key) => {
            let text = joined(headers, name)?;
            let members = dictionary(&text, Twice::Refused).map_err(|wrong| wrong.0)?;
            let member = members.iter().find(|(known, _)| *known == &**key);
            let (_, member) = member.ok_or("there is no such key")?;
            write_member(to, member);
        }
    }
    Ok(())
}

fn write_member(to: &mut String, member: &Member<'_>) {
    let _ = write!(to, "{member}");
}

/// The lines of a field as one (section 2.1). Text that is not ASCII could be read in two ways.
pub fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<String, Wrong> {
    let mut text = String::new();
    for (index, line) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        let line = line.to_str().map_err(|_| "its value is not ASCII")?;
        text.push_str(line.trim_matches([' ', '\t']));
    }
    Ok(text)
}

/// The value of a parameter that stands once in the query, encoded anew (section 2.2.8).
fn query_param(query: &str, name: &str) -> Result<String, Wrong> {
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !key.is_empty() && recoded(key).as_deref() == Some(name) {
            let value = recoded(value).ok_or("its value is not UTF-8")?;
            if found.replace(value).is_some() {
                return Err("the query has it twice".into());
            }
        }
    }
    found.ok_or_else(|| "the query does not have it".into())
}

/// Decodes what a form has encoded and encodes it in the one way that is signed. `None` is what is not UTF-8: decoders
/// make the same of different bytes then.
fn recoded(text: &str) -> Option<String> {
    let decoded = String::from_utf8(decoded(text.as_bytes())).ok()?;
    let mut encoded = String::with_capacity(decoded.len());
    for byte in decoded.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    Some(encoded)
}

fn decoded(mut text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let hex = |digit: u8| char::from(digit).to_digit(16);
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        match (byte, rest) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push((high << 4 | low) as u8);
                    text = after;
                }
                _ => decoded.push(byte),
            },
            (byte, _) => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests;
