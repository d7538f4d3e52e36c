//! Text with the facts of a request in it: `"/v1/orders/{path.id}"`, `"{client.ip}"`.

use std::io::Write;
use std::ops::Range;

use http::HeaderValue;
use pingora::http::RequestHeader;
use thiserror::Error;

use super::Facts;
use crate::identity::CertificateField;
use crate::text::{Spanned, Subject, nearest};

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
}

/// Every variable that has one name, those of the client's certificate apart; `identity.` and `path.` are followed
/// by names of the user's.
const PLAIN: [(&str, Part); 8] = [
    ("client.ip", Part::ClientIp),
    ("request.id", Part::RequestId),
    ("request.method", Part::Method),
    ("request.scheme", Part::Scheme),
    ("request.host", Part::Host),
    ("request.path", Part::Path),
    ("request.query", Part::Query),
    ("trace.id", Part::TraceId),
];

/// Which variables may be used where a template stands.
#[derive(Clone, Copy, Debug)]
pub enum Variables<'a> {
    /// In a policy of the gateway or of a listener: any but path parameters.
    Shared,
    /// In a route: also the parameters of its path, by these names, as `{path.NAME}`.
    Route(&'a [Box<str>]),
    /// In a rewrite or redirect: also `{NAME}` alone for a path parameter.
    Target(&'a [Box<str>]),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(Box<str>),
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
}

const CERTIFICATE: &str = "client.certificate.";

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
        let fail = |at: Range<usize>, problem| {
            let help = help(&problem, variables).map(Into::into);
            Err(TemplateError { at, problem, help })
        };
        if let Some((at, control)) = text.char_indices().find(|(_, one)| one.is_control()) {
            return fail(at..at + control.len_utf8(), TemplateProblem::Control);
        }
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
            match Part::named(name, variables) {
                Ok(part) => parts.push(part),
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
        let is_proof = |part: &Part| matches!(part, Part::Certificate(_) | Part::Identity(_));
        self.parts.iter().any(is_proof)
    }

    /// The text itself where it has no variables.
    pub fn as_static(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text to `out`; `None` where a fact that it names is absent (an anonymous caller has no
    /// identity), so that nobody sends half a value.
    pub fn render(&self, view: View<'_>, out: &mut Vec<u8>) -> Option<()> {
        self.parts
            .iter()
            .try_for_each(|part| part.render(view, out))
    }

    /// As [`Template::render`], for a target: what comes from an identity is percent-encoded, since it may have any
    /// character, and none of them may mean anything there.
    pub fn render_target(&self, view: View<'_>, out: &mut Vec<u8>) -> Option<()> {
        self.parts.iter().try_for_each(|part| match part {
            Part::Identity(name) => {
                let text = view.facts.identity.as_ref()?.text(name)?;
                text.bytes().for_each(|byte| push_encoded(out, byte));
                Some(())
            }
            part => part.render(view, out),
        })
    }

    /// The text as a header value; `None` where a fact is absent or is not fit for a header.
    pub fn header_value(&self, view: View<'_>) -> Option<HeaderValue> {
        let mut out = Vec::with_capacity(64);
        self.render(view, &mut out)?;
        HeaderValue::from_maybe_shared(bytes::Bytes::from(out)).ok()
    }
}

impl Part {
    fn named(name: &str, variables: Variables<'_>) -> Result<Part, TemplateProblem> {
        let capture = |wanted: &str| {
            let place = variables.names().iter().position(|it| **it == *wanted);
            place.map(Part::Capture)
        };
        if let Some((_, part)) = PLAIN.iter().find(|(known, _)| *known == name) {
            return Ok(part.clone());
        }
        if let Some(wanted) = name.strip_prefix(CERTIFICATE) {
            let mut fields = CertificateField::ALL.iter();
            let field = fields.find(|(known, _)| *known == wanted);
            return match field {
                Some((_, field)) => Ok(Part::Certificate(*field)),
                None => Err(TemplateProblem::UnknownVariable(name.into())),
            };
        }
        match (name.split_once('.'), variables) {
            (Some(("identity", claim)), _) if !claim.is_empty() => Ok(Part::Identity(claim.into())),
            (Some(("path", wanted)), Variables::Shared) => {
                Err(TemplateProblem::CaptureOutsideRoute(wanted.into()))
            }
            (Some(("path", wanted)), _) => {
                capture(wanted).ok_or(TemplateProblem::UnknownParameter(wanted.into()))
            }
            (None, Variables::Target(_)) if !name.is_empty() => {
                capture(name).ok_or(TemplateProblem::UnknownParameter(name.into()))
            }
            _ => Err(TemplateProblem::UnknownVariable(name.into())),
        }
    }

    fn render(&self, View { facts, request }: View<'_>, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Part::Text(text) => out.extend_from_slice(text.as_bytes()),
            Part::Capture(index) => {
                let &(start, end) = facts.captures.get(*index)?;
                out.extend_from_slice(
                    request
                        .uri
                        .path()
                        .as_bytes()
                        .get(start as usize..end as usize)?,
                );
            }
            Part::ClientIp => write!(out, "{}", facts.client).ok()?,
            Part::RequestId => out.extend_from_slice(facts.request_id.as_bytes()),
            Part::Method => out.extend_from_slice(request.method.as_str().as_bytes()),
            Part::Scheme => out.extend_from_slice(facts.scheme.as_str().as_bytes()),
            Part::Host => out.extend_from_slice(host(request)?.as_bytes()),
            Part::Path => out.extend_from_slice(request.uri.path().as_bytes()),
            Part::Query => {
                out.extend_from_slice(request.uri.query().unwrap_or_default().as_bytes())
            }
            Part::TraceId => out.extend_from_slice(facts.trace.trace_id()),
            Part::Certificate(field) => facts.certificate.as_ref()?.write(*field, out)?,
            Part::Identity(name) => {
                out.extend_from_slice(facts.identity.as_ref()?.text(name)?.as_bytes())
            }
        }
        Some(())
    }
}

impl<'a> Variables<'a> {
    /// The parameters of the route's path.
    pub(super) fn names(self) -> &'a [Box<str>] {
        match self {
            Variables::Shared => &[],
            Variables::Route(names) | Variables::Target(names) => names,
        }
    }

    fn parameter(self, name: &str) -> String {
        match self {
            Variables::Target(_) => format!("`{{{name}}}`"),
            Variables::Route(_) | Variables::Shared => format!("`{{path.{name}}}`"),
        }
    }
}

fn help(problem: &TemplateProblem, variables: Variables<'_>) -> Option<String> {
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
        TemplateProblem::UnknownVariable(wanted) => {
            let plain = PLAIN.iter().map(|(name, _)| *name);
            let fields = CertificateField::ALL.map(|(name, _)| format!("{CERTIFICATE}{name}"));
            let all = plain.clone().chain(fields.iter().map(String::as_str));
            Some(match nearest(wanted, all) {
                Some(near) => format!("did you mean `{{{near}}}`?"),
                None => {
                    let plain = plain.map(|name| format!("`{{{name}}}`"));
                    let known: Vec<_> = parameters().chain(plain).collect();
                    format!(
                        "known are {}, `{{client.certificate.FIELD}}` and `{{identity.NAME}}`",
                        known.join(", ")
                    )
                }
            })
        }
        _ => None,
    }
}

/// Only unreserved characters stand for themselves (RFC 3986 section 2.3).
fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        out.push(byte);
    } else {
        let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
        out.extend([b'%', digit(byte >> 4), digit(byte)]);
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::facts::{RequestId, Scheme};
    use crate::identity::Identity;

    fn facts() -> Facts {
        let mut facts = Facts::new("192.0.2.7".parse().unwrap(), Scheme::Https);
        facts.request_id = RequestId::from_random([0xab; 16]);
        facts.captures.push((8, 10));
        facts
    }

    fn render(text: &str, facts: &Facts) -> Result<Option<String>, TemplateError> {
        let names = [Box::from("id")];
        let template = Template::compile(text, Variables::Target(&names))?;
        let mut request = RequestHeader::build("GET", b"/orders/42?a=1", None).unwrap();
        request.insert_header("host", "shop.example:80").unwrap();
        let mut out = Vec::new();
        Ok(template
            .render(
                View {
                    facts,
                    request: &request,
                },
                &mut out,
            )
            .map(|()| String::from_utf8(out).unwrap()))
    }

    #[test]
    fn variables_stand_for_facts() {
        let check = |text: &str, expected: &str| {
            assert_eq!(render(text, &facts()), Ok(Some(expected.into())), "{text}")
        };
        check("plain", "plain");
        check("", "");
        check("/v1/{id}/x", "/v1/42/x");
        check("/v1/{path.id}", "/v1/42");
        check("{client.ip}", "192.0.2.7");
        check(
            "{request.method} {request.scheme}://{request.host}{request.path}?{request.query}",
            "GET https://shop.example:80/orders/42?a=1",
        );
        check("{{id}}", "{id}");
        check("{request.id}", &"ab".repeat(16));
    }

    #[test]
    fn an_absent_fact_makes_no_text() {
        assert_eq!(render("a{identity.subject}", &facts()), Ok(None));
        let claims = serde_json::json!({ "tenant": "acme", "level": 3, "groups": ["a"] });
        let mut known = facts();
        known.identity = Some(Arc::new(Identity {
            subject: "u1".into(),
            claims: claims.as_object().unwrap().clone(),
            ..Identity::default()
        }));
        assert_eq!(
            render(
                "{identity.subject}/{identity.tenant}/{identity.level}",
                &known
            ),
            Ok(Some("u1/acme/3".into()))
        );
        assert_eq!(render("{identity.plan}", &known), Ok(None));
        assert_eq!(render("{identity.nothing}", &known), Ok(None));
    }

    #[test]
    fn mistakes_are_found_at_load() {
        let check = |text: &str, at: Range<usize>, problem: TemplateProblem, help: &str| {
            let error = render(text, &facts()).expect_err(text);
            let said = error.help.as_deref().unwrap_or("");
            assert_eq!((error.at, error.problem, said), (at, problem, help));
        };
        let variable = |name: &str| TemplateProblem::UnknownVariable(name.into());
        let parameter = |name: &str| TemplateProblem::UnknownParameter(name.into());
        check("a{id", 1..4, TemplateProblem::Unclosed, "");
        check("id}", 2..3, TemplateProblem::Unopened, "");
        check("{path.x}", 0..8, parameter("x"), "it has `{id}`");
        check("/{di}", 1..5, parameter("di"), "did you mean `{id}`?");
        check(
            "{client.pi}",
            0..11,
            variable("client.pi"),
            "did you mean `{client.ip}`?",
        );
        check(
            "{client.certificate.fingerprnt}",
            0..31,
            variable("client.certificate.fingerprnt"),
            "did you mean `{client.certificate.fingerprint}`?",
        );
        let all = "known are `{id}`, `{client.ip}`, `{request.id}`, `{request.method}`, `{request.scheme}`, \
                   `{request.host}`, `{request.path}`, `{request.query}`, `{trace.id}`, `{client.certificate.FIELD}` and \
                   `{identity.NAME}`";
        check("{}", 0..2, variable(""), all);
        check("é\nb", 2..3, TemplateProblem::Control, "");
        let names = [Box::from("id")];
        let check = |text: &str, variables: Variables<'_>, problem: TemplateProblem, help: &str| {
            let error = Template::compile(text, variables).expect_err(text);
            let said = error.help.as_deref().unwrap_or("");
            assert_eq!((error.problem, said), (problem, help));
        };
        check(
            "{path.id}",
            Variables::Shared,
            TemplateProblem::CaptureOutsideRoute("id".into()),
            "",
        );
        check(
            "{id}",
            Variables::Route(&names),
            variable("id"),
            "write `{path.id}`",
        );
        check(
            "{path.x}",
            Variables::Route(&[]),
            parameter("x"),
            "its path has no parameters at all",
        );
    }

    #[test]
    fn a_stand_in_takes_the_place_of_variables() {
        let template = Template::compile("{request.host}:80{{", Variables::Shared).unwrap();
        assert_eq!(template.with_stand_in("x"), "x:80{");
    }
}
