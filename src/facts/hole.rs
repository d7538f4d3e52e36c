//! The variables of templates: what `{…}` can name, and what stands there for a request.

use std::borrow::Cow;
use std::io::Write;

use http::HeaderName;

use super::answers::{Gathered, PartField, What};
use super::asked::{self, decode};
use super::template::{TemplateProblem, Variables, host};
use crate::identity::CertificateField;
use crate::text::nearest;

/// Every variable that has one name, those of the client's certificate apart; `identity.`, `path.` and others are followed
/// by names of the user's.
const PLAIN: [(&str, Hole); 8] = [
    ("client.ip", Hole::ClientIp),
    ("request.id", Hole::RequestId),
    ("request.method", Hole::Method),
    ("request.scheme", Hole::Scheme),
    ("request.host", Hole::Host),
    ("request.path", Hole::Path),
    ("request.query", Hole::Query),
    ("trace.id", Hole::TraceId),
];

const CERTIFICATE: &str = "client.certificate.";

/// A variable.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Hole {
    Capture(usize),
    ClientIp,
    RequestId,
    Method,
    Scheme,
    Host,
    Path,
    Query,
    TraceId,
    Certificate(CertificateField),
    Identity(Box<str>),
    Parameter(Box<str>),
    Header(HeaderName),
    Part(PartField),
}

/// What a template is text of, and so how what stands for its variables is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// The target of a rewrite or a redirect: what comes from an identity is percent-encoded.
    Target,
    /// One segment of a path. Nothing in it ends the segment, but what the request has in its path already, which is as it is.
    Segment,
    /// A query, or a piece of one, in which a variable is a name or a value.
    Query,
    /// One value of a query, what is written around variables as well.
    Value,
    /// As it is, and what is percent-encoded in the request is not.
    Decoded,
}

/// Why there is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It names a header or a parameter that the client has not sent.
    Unsent,
    /// It names another fact, or something of a part, that is absent.
    Absent,
    /// It names a list or an object where there has to be text.
    NoText,
}

impl Hole {
    pub(super) fn named(name: &str, variables: Variables<'_>) -> Result<Hole, TemplateProblem> {
        let capture = |wanted: &str| {
            let place = variables.names().iter().position(|it| **it == *wanted);
            place.map(Hole::Capture)
        };
        if let Some((_, hole)) = PLAIN.iter().find(|(known, _)| *known == name) {
            return Ok(hole.clone());
        }
        if let Some(wanted) = name.strip_prefix(CERTIFICATE) {
            let mut fields = CertificateField::ALL.iter();
            let field = fields.find(|(known, _)| *known == wanted);
            return match field {
                Some((_, field)) => Ok(Hole::Certificate(*field)),
                None => Err(TemplateProblem::UnknownVariable(name.into())),
            };
        }
        match (name.split_once('.'), variables) {
            (Some(("identity", claim)), _) if !claim.is_empty() => Ok(Hole::Identity(claim.into())),
            (Some(("path", wanted)), Variables::Shared) => {
                Err(TemplateProblem::CaptureOutsideRoute(wanted.into()))
            }
            (Some(("path", wanted)), _) => {
                capture(wanted).ok_or(TemplateProblem::UnknownParameter(wanted.into()))
            }
            (Some(("parts", field)), Variables::Parts { parts, .. }) => {
                PartField::parse(field, parts).map(Hole::Part)
            }
            (Some(("query", wanted)), Variables::Parts { .. }) if !wanted.is_empty() => {
                Ok(Hole::Parameter(wanted.into()))
            }
            (Some(("headers", wanted)), Variables::Parts { .. }) => {
                let name = HeaderName::try_from(wanted);
                name.map(Hole::Header)
                    .map_err(|_| TemplateProblem::UnknownVariable(name_of_header(wanted)))
            }
            (None, Variables::Target(_)) if !name.is_empty() => {
                capture(name).ok_or(TemplateProblem::UnknownParameter(name.into()))
            }
            _ => Err(TemplateProblem::UnknownVariable(name.into())),
        }
    }

    /// Appends what stands for it.
    pub(super) fn fill(
        &self,
        gathered: Gathered<'_>,
        form: Form,
        out: &mut Vec<u8>,
    ) -> Result<(), Missing> {
        let before = out.len();
        if !self.is_encoded(form) {
            self.write(gathered, form == Form::Decoded, out)?;
            let is_empty = out.len() == before;
            return match form == Form::Segment && is_empty {
                false => Ok(()),
                // `/users/` is something else than a user without a name.
                true => Err(Missing::Absent),
            };
        }
        let mut text = Vec::with_capacity(64);
        self.write(
            gathered,
            matches!(form, Form::Query | Form::Value),
            &mut text,
        )?;
        if form == Form::Segment && text.is_empty() {
            return Err(Missing::Absent);
        }
        text.iter().for_each(|byte| push_encoded(out, *byte));
        Ok(())
    }

    fn is_encoded(&self, form: Form) -> bool {
        match form {
            Form::Plain | Form::Decoded => false,
            Form::Target => matches!(self, Hole::Identity(_)),
            Form::Segment => !matches!(self, Hole::Capture(_) | Hole::Path),
            // The whole query is one already.
            Form::Query => !matches!(self, Hole::Query),
            Form::Value => true,
        }
    }

    fn write(
        &self,
        gathered: Gathered<'_>,
        is_decoded: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Missing> {
        match self {
            Hole::Part(field) => {
                let text = text_of(field, gathered)?;
                out.extend_from_slice(&text);
                Ok(())
            }
            Hole::Parameter(name) => {
                let value = asked::parameter(gathered.view, name).ok_or(Missing::Unsent)?;
                out.extend_from_slice(value.as_bytes());
                Ok(())
            }
            Hole::Header(name) => {
                let value = asked::header(gathered.view, name).ok_or(Missing::Unsent)?;
                out.extend_from_slice(value.as_bytes());
                Ok(())
            }
            _ => self
                .write_fact(gathered, is_decoded, out)
                .ok_or(Missing::Absent),
        }
    }

    /// `None` where the fact is absent.
    fn write_fact(
        &self,
        gathered: Gathered<'_>,
        is_decoded: bool,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let (facts, request) = (gathered.view.facts, gathered.view.request);
        match self {
            Hole::Capture(index) => {
                let &(start, end) = facts.captures.get(*index)?;
                let raw = request.uri.path().get(start as usize..end as usize)?;
                let text = match is_decoded {
                    true => decode(raw, false)?,
                    false => Cow::Borrowed(raw),
                };
                out.extend_from_slice(text.as_bytes());
            }
            Hole::ClientIp => write!(out, "{}", facts.client).ok()?,
            Hole::RequestId => out.extend_from_slice(facts.request_id.as_bytes()),
            Hole::Method => out.extend_from_slice(request.method.as_str().as_bytes()),
            Hole::Scheme => out.extend_from_slice(facts.scheme.as_str().as_bytes()),
            Hole::Host => out.extend_from_slice(host(request)?.as_bytes()),
            Hole::Path => out.extend_from_slice(request.uri.path().as_bytes()),
            Hole::Query => {
                out.extend_from_slice(request.uri.query().unwrap_or_default().as_bytes())
            }
            Hole::TraceId => out.extend_from_slice(facts.trace.trace_id()),
            Hole::Certificate(field) => facts.certificate.as_ref()?.write(*field, out)?,
            Hole::Identity(name) => {
                out.extend_from_slice(facts.identity.as_ref()?.text(name)?.as_bytes())
            }
            Hole::Parameter(_) | Hole::Header(_) | Hole::Part(_) => return None,
        }
        Some(())
    }

    /// What stands for it as JSON, where that need not be text: something of a part's body keeps its type.
    pub(super) fn json<'g>(&self, gathered: Gathered<'g>) -> Option<Cow<'g, str>> {
        match self {
            Hole::Part(PartField { part, what }) => match what {
                What::Shaped => gathered.answers.shaped(*part),
                What::Body(path) => gathered.answers.body(*part, path),
                What::Status => {
                    let status = gathered.answers.status(*part)?;
                    Some(Cow::Owned(status.as_str().to_owned()))
                }
                What::Header(_) => None,
            },
            _ => None,
        }
    }
}

/// The text of a scalar of a part.
fn text_of<'g>(field: &PartField, gathered: Gathered<'g>) -> Result<Cow<'g, [u8]>, Missing> {
    let PartField { part, what } = field;
    let json = match what {
        What::Status => {
            let status = gathered.answers.status(*part).ok_or(Missing::Absent)?;
            return Ok(Cow::Owned(status.as_str().into()));
        }
        What::Header(name) => {
            let value = gathered.answers.header(*part, name);
            return Ok(Cow::Borrowed(value.ok_or(Missing::Absent)?.as_bytes()));
        }
        What::Shaped => gathered.answers.shaped(*part),
        What::Body(path) => gathered.answers.body(*part, path),
    };
    let json = json.ok_or(Missing::Absent)?;
    match json.trim_start().bytes().next() {
        Some(b'"') => {
            let text: String = serde_json::from_str(&json).map_err(|_| Missing::NoText)?;
            Ok(Cow::Owned(text.into_bytes()))
        }
        Some(b'n') => Err(Missing::Absent),
        Some(b'{' | b'[') | None => Err(Missing::NoText),
        // Numbers are as they are written, however large.
        Some(_) => Ok(match json {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim().as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.trim().as_bytes().to_vec()),
        }),
    }
}

fn name_of_header(name: &str) -> Box<str> {
    format!("headers.{name}").into()
}

/// What to write instead.
pub(super) fn help(problem: &TemplateProblem, variables: Variables<'_>) -> Option<String> {
    let names = variables.names().iter().map(|name| &**name);
    let parameters = || names.clone().map(|name| variables.parameter(name));
    match problem {
        TemplateProblem::UnknownParameter(wanted) => Some(match nearest(wanted, names.clone()) {
            Some(near) => format!("did you mean {}?", variables.parameter(near)),
            None if names.len() == 0 => "its path has no parameters at all".to_owned(),
            None => format!("it has {}", parameters().collect::<Vec<_>>().join(", ")),
        }),
        TemplateProblem::UnknownVariable(wanted) if names.clone().any(|it| *it == **wanted) => {
            Some(format!("write {}", variables.parameter(wanted)))
        }
        TemplateProblem::UnknownVariable(wanted) => Some(known(wanted, variables)),
        TemplateProblem::UnknownPart(wanted) => {
            let parts = variables.parts().iter().map(|name| &**name);
            Some(match nearest(wanted, parts.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", quoted(parts)),
            })
        }
        TemplateProblem::PartField(field) => {
            let part = field.split('.').next().unwrap_or(field);
            Some(format!(
                "write {{parts.{part}.body.FIELD}}, {{parts.{part}.status}} or {{parts.{part}.headers.NAME}}"
            ))
        }
        _ => None,
    }
}

fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn known(wanted: &str, variables: Variables<'_>) -> String {
    let plain = PLAIN.iter().map(|(name, _)| *name);
    let fields = CertificateField::ALL.map(|(name, _)| format!("{CERTIFICATE}{name}"));
    let all = plain.clone().chain(fields.iter().map(String::as_str));
    if let Some(near) = nearest(wanted, all) {
        return format!("did you mean `{{{near}}}`?");
    }
    let names = variables.names().iter();
    let parameters = names.map(|name| variables.parameter(name));
    let plain = plain.map(|name| format!("`{{{name}}}`"));
    let known: Vec<_> = parameters.chain(plain).collect();
    let more = match variables {
        Variables::Parts { .. } => {
            ", `{parts.PART.body.FIELD}`, `{query.NAME}`, `{headers.NAME}`, `{client.certificate.FIELD}`"
        }
        _ => ", `{client.certificate.FIELD}`",
    };
    format!(
        "known are {}{more} and `{{identity.NAME}}`",
        known.join(", ")
    )
}

/// Only unreserved characters stand for themselves (RFC 3986 section 2.3).
pub(super) fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        out.push(byte);
    } else {
        let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
        out.extend([b'%', digit(byte >> 4), digit(byte)]);
    }
}
