//! `respond`: fixed content, rendered at load.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::response::Reply;
use crate::text::{Diagnostics, HeaderName, Span, Spanned};

/// Answers with fixed content: `respond = { status = 200, json = { ok = true } }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// 200 to 599. Default 200.
    pub status: Option<Spanned<u16>>,
    /// Any value, sent as `application/json`.
    pub json: Option<serde_json::Value>,
    /// Text, sent as `text/plain; charset=utf-8` where `headers` names no other type.
    pub body: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<HeaderName, Spanned<String>>,
}

/// Fixed content. Replying costs a copy of its headers and a reference to its body.
#[derive(Debug)]
pub struct Respond {
    status: StatusCode,
    headers: Vec<(http::HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Respond {
    pub fn build(config: &Config, span: Span, diagnostics: &mut Diagnostics) -> Option<Respond> {
        let before = diagnostics.error_count();
        let status = match &config.status {
            None => StatusCode::OK,
            Some(status) => match StatusCode::from_u16(status.value) {
                Ok(valid) if (200..600).contains(&status.value) => valid,
                _ => {
                    diagnostics.error(
                        status.span,
                        format!("respond.status must be 200 to 599, got {}", status.value),
                    );
                    StatusCode::OK
                }
            },
        };
        if config.json.is_some() && config.body.is_some() {
            diagnostics.error(span, "respond has both json and body; write one of them");
        }
        let has_content = config.json.is_some() || config.body.is_some();
        if has_content && [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
            diagnostics.error(
                span,
                format!("respond: a {} response has no content", status.as_u16()),
            );
        }
        let mut headers = Vec::new();
        for (name, value) in &config.headers {
            match HeaderValue::from_str(&value.value) {
                Ok(valid) => headers.push(((**name).clone(), valid)),
                Err(_) => {
                    diagnostics.error(value.span, format!("{name}: not allowed in a header value"));
                }
            }
        }
        let (default_type, body) = match (&config.json, &config.body) {
            (Some(json), _) => (Some("application/json"), Bytes::from(json.to_string())),
            (None, Some(text)) => (Some("text/plain; charset=utf-8"), Bytes::from(text.clone())),
            (None, None) => (None, Bytes::new()),
        };
        if let Some(default_type) = default_type
            && !headers.iter().any(|(name, _)| name == CONTENT_TYPE)
        {
            headers.push((CONTENT_TYPE, HeaderValue::from_static(default_type)));
        }
        (diagnostics.error_count() == before).then_some(Respond {
            status,
            headers,
            body,
        })
    }

    pub(super) fn reply(&self) -> Reply {
        Reply::content(self.status, self.headers.clone(), self.body.clone())
    }

    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }
}
