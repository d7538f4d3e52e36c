//! `rewrite`: the target that the upstream gets.

use bytes::Bytes;
use http::HeaderValue;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::facts::{Template, Variables, View};
use crate::text::{EndpointAddress, Host, Spanned, Subject, has_dot_segment, quoted};

/// Changes what the upstream is asked for: `rewrite = { path = "/orders/{id}" }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The path; may name the route's path parameters as `{id}` and facts of the request. The query goes along
    /// unless the path has a `?` of its own.
    pub path: Option<Spanned<String>>,
    /// The `Host` that the upstream sees. Default: the client's.
    pub host: Option<Spanned<String>>,
}

/// Whether it may stand in a `Host` header: a host, with or without a port.
fn is_host(text: &str) -> bool {
    let with_port = |text: &str| match text.parse() {
        Ok(EndpointAddress::Name { .. } | EndpointAddress::Socket(_)) => true,
        Ok(EndpointAddress::Unix(_)) | Err(_) => false,
    };
    text.parse::<Host>().is_ok() || with_port(text)
}

fn path_of(target: &[u8]) -> &[u8] {
    target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default()
}

#[derive(Debug)]
pub struct Rewrite {
    path: Option<Template>,
    host: Option<Template>,
    keeps_query: bool,
}

impl Rewrite {
    pub fn build(
        config: &Spanned<Config>,
        parameters: &[Box<str>],
        subject: &mut Subject<'_>,
    ) -> Option<Rewrite> {
        let before = subject.error_count();
        if config.path.is_none() && config.host.is_none() {
            let what = "changes nothing; it has neither path nor host";
            subject.warning(config.span, what).help("remove it");
        }
        let variables = Variables::Target(parameters);
        let path = config.path.as_ref().and_then(|text| {
            let mut subject = subject.key("path");
            if !text.value.starts_with('/') {
                let what = format!("must begin with \"/\", got {}", quoted(&text.value));
                subject.error(text.span, what);
            }
            let template = Template::build(text, variables, &mut subject)?;
            let stand_in = template.with_stand_in("x");
            if has_dot_segment(path_of(stand_in.as_bytes())) {
                let got = quoted(&text.value);
                let what = format!("must not have `.` and `..` segments, got {got}");
                subject.error(text.span, what);
            }
            if stand_in.contains('#') {
                let what = format!("must not have a fragment, got {}", quoted(&text.value));
                subject.error(text.span, what);
            }
            Some(template)
        });
        let host = config.host.as_ref().and_then(|text| {
            let mut subject = subject.key("host");
            let template = Template::build(text, variables, &mut subject)?;
            // Whatever stands for the variables, what is around them has to be fit for a host.
            if !is_host(&template.with_stand_in("x")) {
                let got = quoted(&text.value);
                let what = format!(
                    "must be a host such as \"orders.internal\" or \"orders.internal:8080\", got {got}"
                );
                subject.error(text.span, what);
            }
            Some(template)
        });
        let keeps_query = config
            .path
            .as_ref()
            .is_none_or(|path| !path.value.contains('?'));
        (subject.error_count() == before).then_some(Rewrite {
            path,
            host,
            keeps_query,
        })
    }

    /// Rewrites the upstream's copy of the request; `None` where what comes out is not a valid target or host.
    pub fn apply(&self, upstream_request: &mut Parts, view: View<'_>) -> Option<()> {
        if let Some(template) = &self.path {
            let mut target = Vec::with_capacity(128);
            template.render_target(view, &mut target)?;
            // The variables have none, but what they are put together with can make one of them.
            if has_dot_segment(path_of(&target)) {
                return None;
            }
            if self.keeps_query
                && let Some(query) = view.request.uri.query()
            {
                target.push(b'?');
                target.extend_from_slice(query.as_bytes());
            }
            let mut parts = std::mem::take(&mut upstream_request.uri).into_parts();
            parts.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(target)).ok()?);
            upstream_request.uri = http::Uri::from_parts(parts).ok()?;
        }
        if let Some(template) = &self.host {
            let host: HeaderValue = template.header_value(view)?;
            // A target that names the host itself must not contradict the header.
            if upstream_request.uri.authority().is_some() {
                let mut parts = std::mem::take(&mut upstream_request.uri).into_parts();
                parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
                upstream_request.uri = http::Uri::from_parts(parts).ok()?;
            }
            upstream_request.headers.insert(HOST, host);
        }
        Some(())
    }
}
