//! The list of calls, as a client sends it.

use std::collections::HashSet;
use std::fmt;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::actions::{Batch, refusal};
use crate::http1::is_path_and_query;
use crate::proxy::names::is_claim;
use crate::text::plain;

/// For clients to tell calls apart by; nothing more.
const LONGEST_ID: usize = 64;
/// What a client is told of its mistake holds some of what it has sent.
const LONGEST_REASON: usize = 300;

/// One call: what is asked for, and by what it is known.
#[derive(Debug)]
pub(super) struct Call {
    pub id: String,
    pub target: PathAndQuery,
    /// Its own, which win over what the batch passes.
    pub headers: HeaderMap,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    requests: Vec<Written>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    method: Option<String>,
    path: String,
    #[serde(default)]
    headers: Fields,
}

/// In their order, and each as often as it is written.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

/// Reads a list. All of it is in order, or the first mistake is said, in words for the client.
pub(super) fn read(body: &[u8], batch: &Batch) -> Result<Vec<Call>, String> {
    let list: List = serde_json::from_slice(body).map_err(|error| shorten(error.to_string()))?;
    let count = list.requests.len();
    if count == 0 {
        return Err("the list is empty".to_owned());
    }
    if count > batch.most {
        let most = batch.most;
        return Err(format!("{count} calls are too many; there may be {most}"));
    }
    let mut ids = HashSet::new();
    let mut calls = Vec::with_capacity(count);
    for (index, written) in list.requests.into_iter().enumerate() {
        let call = call(written).map_err(|what| shorten(format!("requests[{index}]: {what}")))?;
        if !ids.insert(call.id.clone()) {
            return Err(format!("requests[{index}]: another call has the same id"));
        }
        calls.push(call);
    }
    Ok(calls)
}

fn call(written: Written) -> Result<Call, String> {
    let id = written.id;
    if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) {
        let most = LONGEST_ID;
        return Err(format!("an id has 1 to {most} bytes, and no controls"));
    }
    if let Some(method) = written.method.filter(|method| method != "GET") {
        return Err(format!("the method {method:?} is not GET"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in written.headers.0 {
        let (name, value) = header(&name, &value)?;
        if headers.insert(&name, value).is_some() {
            return Err(format!("the header {name} is there twice"));
        }
    }
    Ok(Call {
        id,
        target: target(written.path)?,
        headers,
    })
}

/// What the client of a request line could have asked for. The same rules: what one reads otherwise than another is how
/// requests get by the rules that are meant for them.
fn target(path: String) -> Result<PathAndQuery, String> {
    if !path.starts_with('/') {
        return Err("a path begins with a slash: calls are for the host of the batch".to_owned());
    }
    let is_target = is_path_and_query(path.as_bytes());
    let target = is_target.then(|| PathAndQuery::try_from(path)).transpose();
    let target = target.ok().flatten();
    target.ok_or_else(|| "the path has characters that no target has".to_owned())
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let Ok(name) = HeaderName::try_from(name) else {
        return Err(format!("{name:?} is no name of a header"));
    };
    let meant = HeaderName::try_from(&*plain(name.as_str())).unwrap_or(HOST);
    if let Some(why) = refusal(&name).or_else(|| refusal(&meant)) {
        return Err(format!("the header {name} {why}"));
    }
    // Behind a trusted hop, what the hop says is the batch's, and would be believed of a call.
    if is_claim(meant.as_str()) {
        return Err(format!("the header {name} says what only a proxy can know"));
    }
    let is_trimmed = value.trim_matches([' ', '\t']) == value;
    match HeaderValue::from_str(value) {
        Ok(value) if is_trimmed => Ok((name, value)),
        _ => Err(format!("the value of the header {name} is none")),
    }
}

fn shorten(mut reason: String) -> String {
    if reason.len() > LONGEST_REASON {
        reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
        reason.push('…');
    }
    reason
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of headers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}
