//! Purges that come with requests: by the method `PURGE`, and of what a request may have changed (RFC 9111 section 4.4).

use http::header::{CONTENT_LOCATION, LOCATION};
use http::response::Parts;
use http::{HeaderName, Method, StatusCode, Uri};
use pingora::http::RequestHeader;

use crate::cache::Rules;
use crate::cache::broadcast::Told;
use crate::cache::marks::Purge;
use crate::facts::{View, host};
use crate::response::{Code, Reply};

/// What `PURGE` asks for, or why not; `None` for any other request, and where nobody may purge by it.
pub(super) fn asked(view: View<'_>, rules: &Rules) -> Option<Result<Purge, Reply>> {
    let allowed = rules.purge.as_ref()?;
    let request = view.request;
    if request.method.as_str() != "PURGE" {
        return None;
    }
    if !allowed.evaluate(view).unwrap_or(false) {
        return Some(Err(Reply::failure(Code::AccessDenied)));
    }
    Some(Ok(of_target(rules, request)))
}

/// The answer to `PURGE`. That it is done is said once no restart undoes it; 202 where other gateways are told later.
pub(super) async fn answer(asked: Result<Purge, Reply>, rules: &Rules) -> Reply {
    let purge = match asked {
        Ok(purge) => purge,
        Err(reply) => return reply,
    };
    let purged = rules.cache.purge_durably(&purge).await;
    if let Err(error) = purged.logged {
        log::error!("cache: a purge is in force, and a restart may undo it: {error}");
        return Reply::failure(Code::Internal);
    }
    let status = match purged.told {
        Some(Told::LocalOnly(_)) => StatusCode::ACCEPTED,
        Some(Told::All) | None => StatusCode::NO_CONTENT,
    };
    Reply::content(status, Vec::new(), bytes::Bytes::new())
}

fn of_target(rules: &Rules, request: &RequestHeader) -> Purge {
    of_uri(rules, request, &request.uri)
}

/// Of a URL of the host that a request is for.
fn of_uri(rules: &Rules, request: &RequestHeader, uri: &Uri) -> Purge {
    let host = host(request).unwrap_or_default().to_ascii_lowercase();
    let mut path = uri.path().to_owned();
    if let Some(query) = rules.query.of(uri.query()) {
        path.push('?');
        path.push_str(&query);
    }
    Purge::url(host.as_bytes(), path.as_bytes())
}

/// A request has been answered by its upstream: what it may have changed is good no more.
pub(super) fn after(rules: &Rules, request: &RequestHeader, response: &Parts) {
    let is_safe =
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(&request.method);
    let has_done_something = response.status.is_success() || response.status.is_redirection();
    if is_safe || !has_done_something {
        return;
    }
    rules.cache.purge(&of_target(rules, request));
    for name in [LOCATION, CONTENT_LOCATION] {
        if let Some(uri) = other(request, response, &name) {
            rules.cache.purge(&of_uri(rules, request, &uri));
        }
    }
    if response.status.is_success() {
        for tag in &rules.purge_on_write {
            rules.cache.purge(&Purge::tag(tag.as_bytes()));
        }
    }
}

/// What a header of the response names, where it is of the same host: others are nobody's business here.
fn other(request: &RequestHeader, response: &Parts, name: &HeaderName) -> Option<Uri> {
    let text = response.headers.get(name)?.to_str().ok()?.trim();
    let text = text.split('#').next().unwrap_or_default();
    let is_absolute = text.contains("://");
    let uri: Uri = match text.as_bytes().first()? {
        b'/' if !text.starts_with("//") => text.parse().ok()?,
        _ if is_absolute => text.parse().ok()?,
        b'/' => return None,
        _ => beside(request.uri.path(), text).parse().ok()?,
    };
    let is_own = match uri.authority() {
        None => true,
        Some(authority) => {
            host(request).is_some_and(|host| authority.as_str().eq_ignore_ascii_case(host))
        }
    };
    is_own.then_some(uri)
}

/// A relative reference, beside what was asked for (RFC 3986 section 5.3).
fn beside(path: &str, reference: &str) -> String {
    let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
    let joined = match reference.starts_with('?') {
        true => format!("{path}{reference}"),
        false => format!("{folder}{reference}"),
    };
    let (joined, query) = joined
        .split_once('?')
        .map_or((&*joined, None), |(path, query)| (path, Some(query)));
    let mut segments: Vec<&str> = Vec::new();
    for segment in joined.split('/').skip(1) {
        match segment {
            ".." => drop(segments.pop()),
            "." => {}
            _ => segments.push(segment),
        }
    }
    let mut whole = format!("/{}", segments.join("/"));
    if let Some(query) = query {
        whole.push('?');
        whole.push_str(query);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_beside_what_was_asked_for() {
        for (path, reference, expected) in [
            ("/a/b", "c", "/a/c"),
            ("/a/b", "./c", "/a/c"),
            ("/a/b/", "c?d=1", "/a/b/c?d=1"),
            ("/a/b", "../c", "/c"),
            ("/a", "../../c", "/c"),
            ("/a/b", "?x=1", "/a/b?x=1"),
        ] {
            assert_eq!(beside(path, reference), expected, "{path} {reference}");
        }
    }
}
