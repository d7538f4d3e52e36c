//! What a part asks for: its method, target, headers and body, with what other parts and the client have said in them.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::config::PartConfig;
use super::reason::Reason;
use crate::facts::{Form, Gathered, JsonTemplate, Missing, PartField, Template, Variables};
use crate::text::{ENGINE_OWNED, Spanned, Subject, has_dot_segment, is_engine_owned, quoted};

/// A longer target is refused by many.
const LONGEST_TARGET: usize = 8 * 1024;

/// What a part asks for, compiled.
#[derive(Debug)]
pub struct Request {
    method: Method,
    /// The whole target, where no request makes another of it.
    fixed: Option<PathAndQuery>,
    path: Template,
    /// What follows the question mark of `path`.
    of_path: Option<Template>,
    query: Box<[(Box<str>, Template)]>,
    headers: Box<[(HeaderName, Template)]>,
    body: Option<Body>,
}

#[derive(Debug)]
enum Body {
    Json(JsonTemplate),
    Text(Template),
}

/// What goes to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub method: Method,
    pub target: PathAndQuery,
    pub headers: HeaderMap,
    /// Empty where there is none.
    pub body: Bytes,
}

impl Request {
    /// `None` after diagnostics.
    pub(super) fn build(
        config: &PartConfig,
        variables: Variables<'_>,
        subject: &mut Subject<'_>,
    ) -> Option<Request> {
        let before = subject.error_count();
        let method = config.method.as_ref().map(|it| it.value.0.clone());
        let method = method.unwrap_or(Method::GET);
        if let (Some(own), &Method::HEAD) = (&config.method, &method) {
            let what = "must be a method whose answers have a body, got \"HEAD\"";
            subject.key("method").error(own.span, what);
        }
        let (path, of_path) = target(&config.path, variables, &mut subject.key("path"));
        let query = config.query.iter().filter_map(|(name, value)| {
            let mut table = subject.key("query");
            let template = Template::build(value, variables, &mut table.key(&name.value))?;
            Some((encoded(&name.value), template))
        });
        let query: Vec<_> = query.collect();
        let headers = headers(config, variables, &mut subject.key("headers"));
        let body = body(config, &method, variables, subject);
        let path = path.filter(|_| subject.error_count() == before)?;
        let mut request = Request {
            method,
            fixed: None,
            path,
            of_path,
            query: query.into(),
            headers: headers.into(),
            body,
        };
        if let Some(text) = request.fixed_target() {
            match text.parse::<PathAndQuery>() {
                Ok(target) if text.len() <= LONGEST_TARGET => request.fixed = Some(target),
                _ => {
                    let got = quoted(&config.path.value);
                    let what = format!("must be a path as a request has it, got {got}");
                    let mut subject = subject.key("path");
                    let problem = subject.error(config.path.span, what);
                    problem.help("percent-encode what is neither a letter nor a digit");
                    return None;
                }
            }
        }
        Some(request)
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The headers that are not the same for all, in order: of what is asked for twice they tell whether it is the same.
    pub fn varying_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let varying = self.headers.iter().filter(|(_, value)| !value.is_static());
        varying.map(|(name, _)| name)
    }

    /// What of other parts it needs.
    pub fn parts(&self) -> impl Iterator<Item = &PartField> {
        let json = match &self.body {
            Some(Body::Json(json)) => Some(json.parts()),
            _ => None,
        };
        let templates = self.templates().flat_map(Template::parts);
        templates.chain(json.into_iter().flatten())
    }

    /// The client's headers that it names, some of them twice.
    pub fn client_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let json = match &self.body {
            Some(Body::Json(json)) => Some(json.client_headers()),
            _ => None,
        };
        let templates = self.templates().flat_map(Template::client_headers);
        templates.chain(json.into_iter().flatten())
    }

    /// Whether it says who the client is.
    pub fn names_the_caller(&self) -> bool {
        let in_json = match &self.body {
            Some(Body::Json(json)) => json.is_of_one_client(),
            _ => false,
        };
        in_json || self.templates().any(Template::is_of_one_client)
    }

    /// All of them but those in JSON.
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let values = self.query.iter().map(|(_, value)| value);
        let headers = self.headers.iter().map(|(_, value)| value);
        let text = match &self.body {
            Some(Body::Text(text)) => Some(text),
            _ => None,
        };
        let path = std::iter::once(&self.path).chain(&self.of_path);
        path.chain(values).chain(headers).chain(text)
    }

    fn fixed_target(&self) -> Option<String> {
        let mut target = self.path.as_static()?.to_owned();
        let mut pairs = Vec::new();
        if let Some(query) = &self.of_path {
            pairs.push(query.as_static()?.to_owned());
        }
        for (name, value) in &self.query {
            pairs.push(format!("{name}={}", encoded(value.as_static()?)));
        }
        if !pairs.is_empty() {
            target.push('?');
            target.push_str(&pairs.join("&"));
        }
        Some(target)
    }

    /// Makes the request. What stands in a path is one segment, in a query one value; `Unfit` is what would be something else.
    pub fn make(&self, gathered: Gathered<'_>) -> Result<Outgoing, Reason> {
        let target = match &self.fixed {
            Some(fixed) => fixed.clone(),
            None => self.target(gathered)?,
        };
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 1);
        for (name, template) in &self.headers {
            let mut value = Vec::with_capacity(64);
            match template.fill(gathered, Form::Plain, &mut value) {
                // A client that says nothing is passed on as one.
                Err(Missing::Unsent) => continue,
                filled => filled?,
            }
            let value = HeaderValue::from_maybe_shared(Bytes::from(value));
            headers.insert(name.clone(), value.map_err(|_| Reason::Unfit)?);
        }
        let body = match &self.body {
            None => Bytes::new(),
            Some(Body::Json(json)) => {
                let json_type = HeaderValue::from_static("application/json");
                headers.entry(CONTENT_TYPE).or_insert(json_type);
                json.gather(gathered)
            }
            Some(Body::Text(template)) => {
                let text_type = HeaderValue::from_static("text/plain; charset=utf-8");
                headers.entry(CONTENT_TYPE).or_insert(text_type);
                let mut text = Vec::with_capacity(256);
                template.fill(gathered, Form::Decoded, &mut text)?;
                text.into()
            }
        };
        Ok(Outgoing {
            method: self.method.clone(),
            target,
            headers,
            body,
        })
    }

    fn target(&self, gathered: Gathered<'_>) -> Result<PathAndQuery, Reason> {
        let mut target = Vec::with_capacity(128);
        self.path.fill(gathered, Form::Segment, &mut target)?;
        // The values have none, but what they are put together with can make one of them.
        if has_dot_segment(&target) {
            return Err(Reason::Unfit);
        }
        let mut separator = b'?';
        if let Some(query) = &self.of_path {
            target.push(separator);
            query.fill(gathered, Form::Query, &mut target)?;
            separator = b'&';
        }
        for (name, value) in &self.query {
            let before = target.len();
            target.push(separator);
            target.extend_from_slice(name.as_bytes());
            target.push(b'=');
            let filled = match value.as_static() {
                Some(text) => {
                    target.extend_from_slice(encoded(text).as_bytes());
                    Ok(())
                }
                None => value.fill(gathered, Form::Value, &mut target),
            };
            match filled {
                Err(Missing::Unsent) => target.truncate(before),
                filled => {
                    filled?;
                    separator = b'&';
                }
            }
        }
        if target.len() > LONGEST_TARGET {
            return Err(Reason::Unfit);
        }
        PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Reason::Unfit)
    }
}

/// The path, and the query behind its question mark.
fn target(
    text: &Spanned<String>,
    variables: Variables<'_>,
    subject: &mut Subject<'_>,
) -> (Option<Template>, Option<Template>) {
    if !text.value.starts_with('/') {
        let what = format!("must begin with \"/\", got {}", quoted(&text.value));
        subject.error(text.span, what);
        return (None, None);
    }
    let mut build = |from: usize, to: usize| {
        let piece = text.value.get(from..to).unwrap_or_default().to_owned();
        Template::build(
            &Spanned::new(piece, text.part(from..to)),
            variables,
            subject,
        )
    };
    let end = text.value.len();
    let (path, query) = match text.value.find('?') {
        Some(mark) => (build(0, mark), Some(build(mark + 1, end))),
        None => (build(0, end), None),
    };
    let (Some(path), None | Some(Some(_))) = (&path, &query) else {
        return (None, None);
    };
    let (stand_in, got) = (path.with_stand_in("x"), quoted(&text.value));
    if has_dot_segment(stand_in.as_bytes()) {
        let what = format!("must not have `.` and `..` segments, got {got}");
        subject.error(text.span, what);
    }
    let of_query = query.iter().flatten().map(|it| it.with_stand_in("x"));
    if stand_in.contains('#') || of_query.into_iter().any(|it| it.contains('#')) {
        let what = format!("must not have a fragment, got {got}");
        subject.error(text.span, what);
    }
    (Some(path.clone()), query.flatten())
}

fn headers(
    config: &PartConfig,
    variables: Variables<'_>,
    subject: &mut Subject<'_>,
) -> Vec<(HeaderName, Template)> {
    let mut headers = Vec::with_capacity(config.headers.len());
    for (name, value) in config.headers.iter() {
        let mut subject = subject.key(name.as_str());
        if is_engine_owned(name) {
            subject.error(name.span, ENGINE_OWNED);
        }
        let template = Template::build(value, variables, &mut subject);
        headers.extend(template.map(|template| ((***name).clone(), template)));
    }
    headers
}

fn body(
    config: &PartConfig,
    method: &Method,
    variables: Variables<'_>,
    subject: &mut Subject<'_>,
) -> Option<Body> {
    let span = config.path.span;
    if config.json.is_some() && config.body.is_some() {
        subject.error(span, "has both json and body; write one of them");
        return None;
    }
    if (config.json.is_some() || config.body.is_some()) && *method == Method::GET {
        let problem = subject.error(span, "has a body, which a GET has none of");
        problem.help("write method = \"POST\"");
        return None;
    }
    let (key, compiled, place) = match (&config.json, &config.body) {
        (Some(json), _) => {
            let compiled = JsonTemplate::compile(json, variables).map(Body::Json);
            ("json", compiled, None)
        }
        (None, Some(text)) => {
            let compiled = Template::compile_body(&text.value, variables).map(Body::Text);
            ("body", compiled, Some(text))
        }
        (None, None) => return None,
    };
    compiled
        .map_err(|error| {
            let at = place.map_or(span, |text| text.part(error.at));
            subject.key(key).error(at, error.problem).help = error.help.map(Into::into);
        })
        .ok()
}

/// A name or a value of a query.
fn encoded(text: &str) -> Box<str> {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.into()
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
