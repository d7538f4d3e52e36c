//! `respond`: fixed content, rendered at load.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::response::Reply;
use crate::text::{Bounded, ENGINE_OWNED, Headers, Span, Spanned, Subject, is_engine_owned};

/// Answers with fixed content: `respond = { status = 200, json = { ok = true } }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// 200 to 599. Default 200.
    pub status: Option<Bounded<200, 599>>,
    /// Any value, sent as `application/json`.
    pub json: Option<serde_json::Value>,
    /// Text, sent as `text/plain; charset=utf-8` where `headers` names no other type.
    pub body: Option<String>,
    #[serde(default)]
    pub headers: Headers<Spanned<String>>,
}

/// Fixed content. Replying costs a copy of its headers and a reference to its body.
#[derive(Debug)]
pub struct Respond {
    status: StatusCode,
    headers: Vec<(http::HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Respond {
    pub fn build(config: &Config, span: Span, subject: &mut Subject<'_>) -> Option<Respond> {
        let before = subject.error_count();
        let status = config
            .status
            .and_then(|status| StatusCode::from_u16(status.get()).ok())
            .unwrap_or(StatusCode::OK);
        if config.json.is_some() && config.body.is_some() {
            subject.error(span, "has both json and body; write one of them");
        }
        let has_content = config.json.is_some() || config.body.is_some();
        if has_content && [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
            let what = format!("a {} response has no content", status.as_u16());
            subject.error(span, what).help("remove json and body");
        }
        let mut headers = Vec::new();
        for (name, value) in config.headers.iter() {
            let mut table = subject.key("headers");
            let mut subject = table.key(name.as_str());
            if is_engine_owned(name) {
                subject.error(name.span, ENGINE_OWNED);
                continue;
            }
            match HeaderValue::from_str(&value.value) {
                Ok(valid) => headers.push(((***name).clone(), valid)),
                Err(_) => {
                    let what = "control characters are not allowed in a header value";
                    subject.error(value.span, what);
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
        (subject.error_count() == before).then_some(Respond {
            status,
            headers,
            body,
        })
    }

    pub(super) fn reply(&self) -> Reply {
        Reply::content(self.status, self.headers.clone(), self.body.clone())
    }

    pub(super) fn has_header(&self, name: &http::HeaderName) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }

    pub(super) fn push_header(&mut self, name: http::HeaderName, value: HeaderValue) {
        self.headers.push((name, value));
    }

    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }
}
