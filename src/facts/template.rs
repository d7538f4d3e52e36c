//! Text with the facts of a request in it: `"/v1/orders/{path.id}"`, `"{client.ip}"`.

use std::io::Write;

use http::HeaderValue;
use pingora::http::RequestHeader;
use thiserror::Error;

use super::Facts;

/// Why a template cannot be compiled.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("`{{` without `}}`; write `{{{{` for a brace itself")]
    Unclosed,
    #[error("`}}` without `{{`; write `}}}}` for a brace itself")]
    Unopened,
    #[error(
        "unknown variable `{{{0}}}`; known are path.NAME, client.ip, request.id, request.method, request.scheme, \
         request.host, request.path, request.query, trace.id and identity.NAME"
    )]
    UnknownVariable(Box<str>),
    #[error("the route's path has no parameter `{{{0}}}`")]
    UnknownCapture(Box<str>),
    #[error(
        "`{{path.{0}}}` can be used only where the route is known, not in a policy that routes inherit"
    )]
    CaptureOutsideRoute(Box<str>),
    #[error("not allowed in a header value: control characters")]
    Control,
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
    Identity(Box<str>),
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
        if text.chars().any(|character| character.is_control()) {
            return Err(TemplateError::Control);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(index) = rest.find(['{', '}']) {
            literal.push_str(&rest[..index]);
            let brace = &rest[index..=index];
            rest = &rest[index + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::Unopened);
            }
            let (name, after) = rest.split_once('}').ok_or(TemplateError::Unclosed)?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::named(name, variables)?);
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

    /// The text as a header value; `None` where a fact is absent or is not fit for a header.
    pub fn header_value(&self, view: View<'_>) -> Option<HeaderValue> {
        let mut out = Vec::with_capacity(64);
        self.render(view, &mut out)?;
        HeaderValue::from_maybe_shared(bytes::Bytes::from(out)).ok()
    }
}

impl Part {
    fn named(name: &str, variables: Variables<'_>) -> Result<Part, TemplateError> {
        let capture =
            |wanted: &str, names: &[Box<str>]| names.iter().position(|known| **known == *wanted);
        match (name, variables) {
            ("client.ip", _) => Ok(Part::ClientIp),
            ("request.id", _) => Ok(Part::RequestId),
            ("request.method", _) => Ok(Part::Method),
            ("request.scheme", _) => Ok(Part::Scheme),
            ("request.host", _) => Ok(Part::Host),
            ("request.path", _) => Ok(Part::Path),
            ("request.query", _) => Ok(Part::Query),
            ("trace.id", _) => Ok(Part::TraceId),
            (_, Variables::Target(names)) if capture(name, names).is_some() => {
                Ok(Part::Capture(capture(name, names).unwrap_or_default()))
            }
            _ => match (name.split_once('.'), variables) {
                (Some(("identity", claim)), _) if !claim.is_empty() => {
                    Ok(Part::Identity(claim.into()))
                }
                (Some(("path", wanted)), Variables::Route(names) | Variables::Target(names)) => {
                    capture(wanted, names)
                        .map(Part::Capture)
                        .ok_or(TemplateError::UnknownCapture(wanted.into()))
                }
                (Some(("path", wanted)), Variables::Shared) => {
                    Err(TemplateError::CaptureOutsideRoute(wanted.into()))
                }
                _ => Err(TemplateError::UnknownVariable(name.into())),
            },
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
            Part::RequestId => out.extend_from_slice(facts.request_id.as_str().as_bytes()),
            Part::Method => out.extend_from_slice(request.method.as_str().as_bytes()),
            Part::Scheme => out.extend_from_slice(facts.scheme.as_str().as_bytes()),
            Part::Host => out.extend_from_slice(host(request)?.as_bytes()),
            Part::Path => out.extend_from_slice(request.uri.path().as_bytes()),
            Part::Query => {
                out.extend_from_slice(request.uri.query().unwrap_or_default().as_bytes())
            }
            Part::TraceId => out.extend_from_slice(&facts.trace.trace_id()),
            Part::Identity(name) => {
                out.extend_from_slice(facts.identity.as_ref()?.text(name)?.as_bytes())
            }
        }
        Some(())
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
        known.identity = Some(Arc::new(Identity::new(
            "u1",
            claims.as_object().unwrap().clone(),
        )));
        assert_eq!(
            render(
                "{identity.subject}/{identity.tenant}/{identity.level}",
                &known
            ),
            Ok(Some("u1/acme/3".into()))
        );
        assert_eq!(render("{identity.groups}", &known), Ok(None));
        assert_eq!(render("{identity.nothing}", &known), Ok(None));
    }

    #[test]
    fn mistakes_are_found_at_load() {
        let check = |text: &str, expected: TemplateError| {
            assert_eq!(render(text, &facts()), Err(expected), "{text}")
        };
        check("{id", TemplateError::Unclosed);
        check("id}", TemplateError::Unopened);
        check("{path.x}", TemplateError::UnknownCapture("x".into()));
        check(
            "{clientip}",
            TemplateError::UnknownVariable("clientip".into()),
        );
        check("{}", TemplateError::UnknownVariable("".into()));
        check("a\nb", TemplateError::Control);
        assert_eq!(
            Template::compile("{path.id}", Variables::Shared),
            Err(TemplateError::CaptureOutsideRoute("id".into()))
        );
    }
}
