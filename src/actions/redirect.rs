//! `redirect`: sends the client elsewhere.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;

use crate::facts::{Template, Variables, View};
use crate::response::{Code, RedirectStatus, Reply};
use crate::text::{Spanned, Subject, quoted};

/// Sends the client elsewhere: `redirect = { to = "/v2/orders/{id}", status = 308 }`.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A path or a whole URL; may name the route's path parameters as `{id}` and facts of the request, as in
    /// `https://{request.host}{request.path}`.
    pub to: Spanned<String>,
    /// 301, 302, 303, 307 or 308. Default 308: permanent, and the method stays.
    pub status: Option<RedirectStatus>,
    /// Whether the request's query goes along. Default: yes, where `to` has no query of its own.
    pub keep_query: Option<bool>,
}

#[derive(Debug)]
pub struct Redirect {
    to: Template,
    status: StatusCode,
    keeps_query: bool,
}

impl Redirect {
    pub fn build(
        config: &Config,
        parameters: &[Box<str>],
        subject: &mut Subject<'_>,
    ) -> Option<Redirect> {
        let mut subject = subject.key("to");
        let text = &config.to.value;
        if text.starts_with("//") {
            let what = "begins with //, which a browser reads as another host";
            subject.error(config.to.part(0..2), what);
            return None;
        }
        if !["/", "http://", "https://"]
            .iter()
            .any(|begin| text.starts_with(begin))
        {
            let what = format!("must be a path or an http(s) URL, got {}", quoted(text));
            let problem = subject.error(config.to.span, what);
            if !text.contains(':') {
                problem.help(format!("write \"/{text}\""));
            }
            return None;
        }
        if let Some(variable) = variable_behind_host(text) {
            let what = "goes on right behind the host, and could make another host of it";
            subject
                .error(config.to.part(variable), what)
                .help("put a \"/\" between them");
            return None;
        }
        Some(Redirect {
            to: Template::build(&config.to, Variables::Target(parameters), &mut subject)?,
            status: config.status.unwrap_or_default().code(),
            keeps_query: config.keep_query.unwrap_or(!text.contains('?')),
        })
    }

    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(super) fn reply(&self, view: View<'_>) -> Reply {
        let mut location = Vec::with_capacity(128);
        if self.to.render_target(view, &mut location).is_none() {
            return Reply::failure(Code::Internal);
        }
        // A variable must not turn a path into `//host`, which a browser would follow elsewhere. To browsers a
        // backslash is a slash.
        let is_slash = |byte: &&u8| matches!(byte, b'/' | b'\\');
        let slashes = location.iter().take_while(is_slash).count();
        if slashes > 1 {
            location.drain(1..slashes);
        }
        if self.keeps_query
            && let Some(query) = view.request.uri.query()
        {
            location.push(if location.contains(&b'?') { b'&' } else { b'?' });
            location.extend_from_slice(query.as_bytes());
        }
        match HeaderValue::from_maybe_shared(Bytes::from(location)) {
            Ok(location) => Reply::content(self.status, vec![(LOCATION, location)], Bytes::new()),
            Err(_) => Reply::failure(Code::BadRequest),
        }
    }
}

/// The place of a variable that could change the host in front of it. The path of a request begins with a slash, and
/// its host is a whole one.
fn variable_behind_host(text: &str) -> Option<std::ops::Range<usize>> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority
        .strip_suffix("{request.path}")
        .unwrap_or(authority);
    let (before, variable) = authority.rsplit_once('{')?;
    let is_whole_host = before.is_empty() && variable == "request.host}";
    let is_harmless = is_whole_host || !variable.ends_with('}');
    let begin = scheme.len() + "://".len();
    (!is_harmless).then(|| begin + before.len()..begin + authority.len())
}
