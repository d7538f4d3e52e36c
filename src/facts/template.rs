//! Text with the facts of a request in it: `"/v1/orders/{path.id}"`, `"{client.ip}"`.

use std::ops::Range;

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use thiserror::Error;

use super::Facts;
use super::answers::{Gathered, PartField};
use super::hole::{self, Form, Hole, Missing};
use crate::text::{Spanned, Subject};

/// Why a template cannot be compiled, and which of its bytes are to blame.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}")]
pub struct TemplateError {
    pub at: Range<usize>,
    pub problem: TemplateProblem,
    /// What to write instead, for people.
    pub help: Option<Box<str>>,
}

/// The ways in which a template can be wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateProblem {
    #[error("`{{` without `}}`; write `{{{{` for a brace itself")]
    Unclosed,
    #[error("`}}` without `{{`; write `}}}}` for a brace itself")]
    Unopened,
    #[error("unknown variable `{{{0}}}`")]
    UnknownVariable(Box<str>),
    #[error("the route's path has no parameter `{0}`")]
    UnknownParameter(Box<str>),
    #[error(
        "`{{path.{0}}}` can be used only where the route is known, not in a policy that routes inherit"
    )]
    CaptureOutsideRoute(Box<str>),
    #[error("control characters are not allowed in a header value")]
    Control,
    #[error("there is no part `{0}`")]
    UnknownPart(Box<str>),
    #[error("`{{parts.{0}}}` names nothing that a part has")]
    PartField(Box<str>),
}

/// Which variables may be used where a template stands.
#[derive(Clone, Copy, Debug)]
pub enum Variables<'a> {
    /// In a policy of the gateway or of a listener: any but path parameters.
    Shared,
    /// In a route: also the parameters of its path, by these names, as `{path.NAME}`.
    Route(&'a [Box<str>]),
    /// In a rewrite or redirect: also `{NAME}` alone for a path parameter.
    Target(&'a [Box<str>]),
    /// In an aggregation of a route: also what its parts have answered, and what the client has sent by name, as
    /// `{parts.PART.body.FIELD}`, `{query.NAME}` and `{headers.NAME}`.
    Parts {
        parameters: &'a [Box<str>],
        parts: &'a [Box<str>],
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(Box<str>),
    Hole(Hole),
}

/// Compiled text. Rendering costs one buffer and no look-ups by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Box<[Part]>,
}

/// A request and what is known of it: what a template is rendered over.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub facts: &'a Facts,
    pub request: &'a RequestHeader,
}

impl Template {
    pub fn compile(text: &str, variables: Variables<'_>) -> Result<Template, TemplateError> {
        if let Some((at, control)) = text.char_indices().find(|(_, one)| one.is_control()) {
            return Err(TemplateError {
                at: at..at + control.len_utf8(),
                problem: TemplateProblem::Control,
                help: None,
            });
        }
        Template::compile_body(text, variables)
    }

    /// As [`Template::compile`], for a body, which may have any characters.
    pub fn compile_body(text: &str, variables: Variables<'_>) -> Result<Template, TemplateError> {
        let fail = |at: Range<usize>, problem| {
            let help = hole::help(&problem, variables).map(Into::into);
            Err(TemplateError { at, problem, help })
        };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(index) = rest.find(['{', '}']) {
            literal.push_str(&rest[..index]);
            let at = text.len() - rest.len() + index;
            let brace = &rest[index..=index];
            rest = &rest[index + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return fail(at..at + 1, TemplateProblem::Unopened);
            }
            let Some((name, after)) = rest.split_once('}') else {
                return fail(at..text.len(), TemplateProblem::Unclosed);
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            match Hole::named(name, variables) {
                Ok(hole) => parts.push(Part::Hole(hole)),
                Err(problem) => return fail(at..at + name.len() + 2, problem),
            }
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Template {
            parts: parts.into(),
        })
    }

    /// Compiles a value of the configuration. `None` after a diagnostic.
    pub fn build(
        text: &Spanned<String>,
        variables: Variables<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Template> {
        match Template::compile(&text.value, variables) {
            Ok(template) => Some(template),
            Err(error) => {
                subject.error(text.part(error.at), error.problem).help = error.help.map(Into::into);
                None
            }
        }
    }

    /// The text with the same word for every variable: for checks of what is around them.
    pub fn with_stand_in(&self, word: &str) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            _ => word.to_owned(),
        };
        self.parts.iter().map(text).collect()
    }

    /// Whether it says who the client is: what an upstream may take for proven.
    pub fn names_the_caller(&self) -> bool {
        let is_proof = |hole: &Hole| matches!(hole, Hole::Certificate(_) | Hole::Identity(_));
        self.holes().any(is_proof)
    }

    /// Whether it can be another text for the same request of another client, but for the headers that it names.
    pub fn is_of_one_client(&self) -> bool {
        self.holes().any(|hole| {
            matches!(
                hole,
                Hole::Certificate(_)
                    | Hole::Identity(_)
                    | Hole::ClientIp
                    | Hole::RequestId
                    | Hole::TraceId
            )
        })
    }

    /// The text itself where it has no variables.
    pub fn as_static(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether no request makes another text of it.
    pub fn is_static(&self) -> bool {
        self.holes().next().is_none()
    }

    /// What of an aggregation's parts it names.
    pub fn parts(&self) -> impl Iterator<Item = &PartField> {
        self.holes().filter_map(|hole| match hole {
            Hole::Part(field) => Some(field),
            _ => None,
        })
    }

    /// The client's headers that it names.
    pub fn client_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.holes().filter_map(|hole| match hole {
            Hole::Header(name) => Some(name),
            _ => None,
        })
    }

    fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Text(_) => None,
        })
    }

    /// The variable, where it is the whole text.
    pub(super) fn as_hole(&self) -> Option<&Hole> {
        match &*self.parts {
            [Part::Hole(hole)] => Some(hole),
            _ => None,
        }
    }

    /// Appends the text to `out`; `None` where a fact that it names is absent (an anonymous caller has no
    /// identity), so that nobody sends half a value.
    pub fn render(&self, view: View<'_>, out: &mut Vec<u8>) -> Option<()> {
        self.fill(view.into(), Form::Plain, out).ok()
    }

    /// As [`Template::render`], for a target: what comes from an identity is percent-encoded, since it may have any
    /// character, and none of them may mean anything there.
    pub fn render_target(&self, view: View<'_>, out: &mut Vec<u8>) -> Option<()> {
        self.fill(view.into(), Form::Target, out).ok()
    }

    /// Appends the text to `out`, written as what it is part of needs it. Where something that it names is missing, what
    /// has been appended is of no use.
    pub fn fill(
        &self,
        gathered: Gathered<'_>,
        form: Form,
        out: &mut Vec<u8>,
    ) -> Result<(), Missing> {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) if form == Form::Value => {
                text.bytes().for_each(|byte| hole::push_encoded(out, byte));
                Ok(())
            }
            Part::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Part::Hole(hole) => hole.fill(gathered, form, out),
        })
    }

    /// The text as a header value; `None` where a fact is absent or is not fit for a header.
    pub fn header_value(&self, view: View<'_>) -> Option<HeaderValue> {
        let mut out = Vec::with_capacity(64);
        self.render(view, &mut out)?;
        HeaderValue::from_maybe_shared(bytes::Bytes::from(out)).ok()
    }
}

impl<'a> Variables<'a> {
    /// The parameters of the route's path.
    pub(super) fn names(self) -> &'a [Box<str>] {
        match self {
            Variables::Shared => &[],
            Variables::Route(names) | Variables::Target(names) => names,
            Variables::Parts { parameters, .. } => parameters,
        }
    }

    /// The parts of an aggregation.
    pub(super) fn parts(self) -> &'a [Box<str>] {
        match self {
            Variables::Parts { parts, .. } => parts,
            _ => &[],
        }
    }

    pub(super) fn parameter(self, name: &str) -> String {
        match self {
            Variables::Target(_) => format!("`{{{name}}}`"),
            Variables::Route(_) | Variables::Shared | Variables::Parts { .. } => {
                format!("`{{path.{name}}}`")
            }
        }
    }
}

/// What [`host`] gives, as a header value.
pub(crate) fn host_header(request: &RequestHeader) -> Option<HeaderValue> {
    match request.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => {
            let host = request.headers.get(http::header::HOST)?;
            host.to_str().is_ok().then(|| host.clone())
        }
    }
}

/// The host that a request names, port included: the authority of HTTP/2 or an absolute target, else `Host`.
pub(crate) fn host(request: &RequestHeader) -> Option<&str> {
    match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers.get(http::header::HOST)?.to_str().ok(),
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
