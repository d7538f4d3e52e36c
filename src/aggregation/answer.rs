//! What a part has answered: read, checked and shaped.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};

use super::assemble::DEGRADED_HEADER;
use super::config::As;
use super::json::{NotJson, check, written};
use super::plan::{Limits, Part};
use super::reason::Reason;

/// How asking for a part has ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// There is a response, and its body is whole.
    Complete {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// There is none that is whole.
    Failed(Reason),
}

/// What a part has answered, where that counts.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Where in `text` the JSON is; what is beside it is white space.
    json: Range<usize>,
    text: String,
    /// What is made of it, where that is something else.
    shaped: Option<String>,
}

impl Answer {
    /// Reads what has come. The body is not copied where nobody else holds it, and one pass over it says whether it is JSON.
    ///
    /// Content-Type is not looked at: what is JSON is JSON, whatever it is called.
    pub(super) fn read(
        part: &Part,
        limits: &Limits,
        (status, headers, body): (StatusCode, HeaderMap, Bytes),
    ) -> Result<Answer, Reason> {
        if !part.accepts(status) {
            return Err(Reason::Status(status));
        }
        if body.len() > limits.part_bytes {
            return Err(Reason::TooLarge);
        }
        let taken_for = part.shape().taken_for();
        let is_encoded = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let text = match taken_for {
            As::Base64 => format!("\"{}\"", STANDARD.encode(&body)),
            // Nobody has asked for an encoding, and nothing here undoes one.
            _ if is_encoded => return Err(Reason::Encoded),
            As::Text => written(std::str::from_utf8(&body).map_err(|_| Reason::NotText)?),
            _ if body.trim_ascii().is_empty() => "null".to_owned(),
            _ => String::from_utf8(body.into()).map_err(|_| Reason::NotJson)?,
        };
        let json = match taken_for {
            As::Base64 | As::Text => 0..text.len(),
            _ => {
                let inner = check(text.as_bytes(), limits.depth).map_err(Reason::from)?;
                let start = inner.as_ptr().addr() - text.as_ptr().addr();
                start..start + inner.len()
            }
        };
        let shaped = match part.shape().is_whole() {
            true => None,
            false => {
                let whole = text.get(json.clone()).unwrap_or_default();
                Some(part.shape().apply(whole)?.into_owned())
            }
        };
        // There is no room for it in any answer.
        if shaped
            .as_ref()
            .is_some_and(|it| it.len() > limits.response_bytes)
        {
            return Err(Reason::TooLarge);
        }
        Ok(Answer {
            status,
            headers,
            json,
            text,
            shaped,
        })
    }

    /// Whether it is an old one in the place of what cannot be had. The gateway says so, and upstreams cannot.
    pub fn is_stale(&self) -> bool {
        self.headers.contains_key(DEGRADED_HEADER)
    }

    /// As the upstream has sent it, as JSON.
    pub fn body(&self) -> &str {
        self.text.get(self.json.clone()).unwrap_or_default()
    }

    /// What lands, as JSON.
    pub fn shaped(&self) -> &str {
        match &self.shaped {
            Some(shaped) => shaped,
            None => self.body(),
        }
    }
}

impl From<NotJson> for Reason {
    fn from(error: NotJson) -> Reason {
        match error {
            NotJson::Syntax(_) => Reason::NotJson,
            NotJson::TooDeep => Reason::TooDeep,
        }
    }
}
