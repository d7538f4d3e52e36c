//! `rewrite`: the target that the upstream gets.

use bytes::Bytes;
use http::HeaderValue;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::facts::{Template, Variables, View};
use crate::text::{Diagnostics, Spanned};

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

#[derive(Debug)]
pub struct Rewrite {
    path: Option<Template>,
    host: Option<Template>,
    keeps_query: bool,
}

impl Rewrite {
    pub fn build(
        config: &Config,
        parameters: &[Box<str>],
        diagnostics: &mut Diagnostics,
    ) -> Option<Rewrite> {
        let before = diagnostics.error_count();
        let mut compile = |text: &Option<Spanned<String>>, what: &str| {
            let text = text.as_ref()?;
            match Template::compile(&text.value, Variables::Target(parameters)) {
                Ok(template) => Some(template),
                Err(error) => {
                    diagnostics.error(text.span, format!("rewrite.{what}: {error}"));
                    None
                }
            }
        };
        let (path, host) = (compile(&config.path, "path"), compile(&config.host, "host"));
        if let Some(text) = &config.path
            && !text.value.starts_with('/')
        {
            diagnostics.error(
                text.span,
                format!("rewrite.path must begin with \"/\", got {:?}", text.value),
            );
        }
        let keeps_query = config
            .path
            .as_ref()
            .is_none_or(|path| !path.value.contains('?'));
        (diagnostics.error_count() == before).then_some(Rewrite {
            path,
            host,
            keeps_query,
        })
    }

    /// Rewrites the upstream's copy of the request; `None` where what comes out is not a valid target or host.
    pub fn apply(&self, upstream_request: &mut Parts, view: View<'_>) -> Option<()> {
        if let Some(template) = &self.path {
            let mut target = Vec::with_capacity(128);
            template.render(view, &mut target)?;
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
