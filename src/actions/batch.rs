//! `batch`: runs a client's list of calls as if they had come one by one.

use std::collections::BTreeSet;
use std::time::Duration as Time;

use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HeaderName as Name};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{
    Bounded, Duration, ENGINE_OWNED, HeaderName, SizeUpTo, Spanned, Subject, is_engine_owned,
};

const USUAL_CALLS: u16 = 20;
const USUAL_AT_ONCE: u16 = 8;
const USUAL_TIMEOUT: Time = Time::from_secs(5);
const LONGEST_TIMEOUT: Time = Time::from_secs(300);
/// A list of as many calls as there may be fits in.
const USUAL_LIST: SizeUpTo<1024> = SizeUpTo::from_kib(64);
const USUAL_ANSWER: SizeUpTo<{ 64 * 1024 }> = SizeUpTo::from_kib(1024);

/// Runs a client's list of GET calls to the gateway's own routes as if they had come one by one, and answers with what they
/// have answered: `batch = {}`.
///
/// The client sends `{"requests": [{"id": "a", "path": "/v1/x?y=1", "headers": {"accept": "text/plain"}}]}` by POST as
/// `application/json`, and gets `{"responses": [{"id": "a", "status": 200, "headers": {}, "body": {}}]}` in the same order.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BatchConfig")]
pub struct Config {
    /// How many calls a list may have. 1 to 100. Default 20.
    pub most: Option<Bounded<1, 100>>,
    /// How many of them are under way at a time, in the order of the list. 1 to 100. Default 8.
    pub at_once: Option<Bounded<1, 100>>,
    /// How long all of it may take, up to `"5m"`. A call that has not ended by then is ended, and has 504. Default `"5s"`.
    #[schemars(with = "Option<Duration>")]
    pub timeout: Option<Spanned<Duration>>,
    /// The largest list, up to `"1MiB"`. Default `"64KiB"`.
    pub request_bytes: Option<SizeUpTo<1024>>,
    /// The largest answer, up to `"64MiB"`. As much is kept of the calls' bodies until they have all ended; one that does
    /// not fit any more has 502. Default `"1MiB"`.
    pub response_bytes: Option<SizeUpTo<{ 64 * 1024 }>>,
    /// The largest body of one call. Default: `response_bytes`.
    pub call_bytes: Option<SizeUpTo<{ 64 * 1024 }>>,
    /// The headers of the batch itself that each call has as well, unless it has its own. Default: `authorization`,
    /// `cookie`, `accept-language`, and the headers that authenticators of any route look at.
    #[schemars(with = "Option<Vec<HeaderName>>")]
    pub headers: Option<Vec<Spanned<HeaderName>>>,
}

/// What a list may have, and how it is run.
#[derive(Debug)]
pub struct Batch {
    pub most: usize,
    pub at_once: usize,
    pub timeout: Time,
    pub request_bytes: usize,
    pub response_bytes: usize,
    pub call_bytes: usize,
    /// `None` for the usual ones.
    headers: Option<BTreeSet<Box<str>>>,
}

impl Batch {
    /// `None` after diagnostics.
    pub fn build(config: &Config, subject: &mut Subject<'_>) -> Option<Batch> {
        let before = subject.error_count();
        if let Some(own) = config.timeout.as_ref()
            && own.as_std() > LONGEST_TIMEOUT
        {
            let what = format!("must be at most \"5m\", got \"{}\"", own.value);
            subject.key("timeout").error(own.span, what);
        }
        for (index, name) in config.headers.iter().flatten().enumerate() {
            if let Some(why) = refusal(name) {
                let mut list = subject.key("headers");
                list.index(index).error(name.span, why);
            }
        }
        let count = |own: Option<Bounded<1, 100>>, usual| own.map_or(usual, Bounded::get).into();
        let timeout = config.timeout.as_ref();
        let response_bytes = config.response_bytes.unwrap_or(USUAL_ANSWER).as_usize();
        let names = |names: &Vec<Spanned<HeaderName>>| {
            let names = names.iter().map(|name| name.as_str().into());
            names.collect()
        };
        (subject.error_count() == before).then(|| Batch {
            most: count(config.most, USUAL_CALLS),
            at_once: count(config.at_once, USUAL_AT_ONCE),
            timeout: timeout.map_or(USUAL_TIMEOUT, |timeout| timeout.as_std()),
            request_bytes: config.request_bytes.unwrap_or(USUAL_LIST).as_usize(),
            response_bytes,
            call_bytes: config
                .call_bytes
                .map_or(response_bytes, SizeUpTo::as_usize)
                .min(response_bytes),
            headers: config.headers.as_ref().map(names),
        })
    }

    /// Whether a header of the batch itself is each call's as well. `is_read` is whether authenticators look at it.
    pub fn passes(&self, name: &Name, is_read: impl FnOnce(&Name) -> bool) -> bool {
        match &self.headers {
            Some(names) => names.contains(name.as_str()),
            None => {
                let is_usual = [AUTHORIZATION, COOKIE, ACCEPT_LANGUAGE].contains(name);
                is_usual || (refusal(name).is_none() && is_read(name))
            }
        }
    }

    pub(super) fn describe(&self) -> String {
        let Batch { most, at_once, .. } = self;
        format!("batch of up to {most} calls, {at_once} at once")
    }

    pub(super) fn details(&self) -> Vec<String> {
        let headers = match &self.headers {
            None => {
                "authorization, cookie, accept-language and what authenticators read".to_owned()
            }
            Some(names) if names.is_empty() => "none".to_owned(),
            Some(names) => {
                let names: Vec<&str> = names.iter().map(|name| &**name).collect();
                names.join(", ")
            }
        };
        vec![
            format!("within {} ms:", self.timeout.as_millis()),
            format!(
                "  up to {} bytes of list, {} of answer, {} of one call",
                self.request_bytes, self.response_bytes, self.call_bytes
            ),
            format!("  headers that pass to each call: {headers}"),
        ]
    }
}

/// Why a call cannot have this header, where it cannot.
pub fn refusal(name: &Name) -> Option<&'static str> {
    if is_engine_owned(name) {
        return Some(ENGINE_OWNED);
    }
    match name.as_str() {
        "expect" => Some("is about a body, and a call has none"),
        name if name.starts_with("content-") => Some("is about a body, and a call has none"),
        "accept-encoding" => Some("has no use: answers of calls are not encoded on their own"),
        "traceparent" | "tracestate" | "x-request-id" | "x-trace-id" => {
            Some("is the gateway's own to say")
        }
        "origin" => Some("is what a browser says of a page, and of a batch it has"),
        name if name.starts_with("sec-") => {
            Some("is what a browser says of a page, and of a batch it has")
        }
        "http2-settings" | "proxy-authorization" | "proxy" => Some("is for the next hop alone"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT_ENCODING, EXPECT};

    use super::*;

    #[test]
    fn some_headers_are_no_call_s() {
        let check = |name: &'static str, expected: bool| {
            let is_refused = refusal(&Name::from_static(name)).is_some();
            assert_eq!(is_refused, expected, "{name}");
        };
        for name in [ACCEPT_ENCODING, EXPECT] {
            assert!(refusal(&name).is_some(), "{name}");
        }
        for name in ["host", "connection", "transfer-encoding", "content-length"] {
            check(name, true);
        }
        check("content-type", true);
        check("traceparent", true);
        check("proxy-authorization", true);
        for name in ["accept", "authorization", "cookie", "range", "x-own"] {
            check(name, false);
        }
    }
}
