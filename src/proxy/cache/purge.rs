//! Purges that come with requests: by the method `PURGE`, and of what a request may have changed (RFC 9111 section 4.4).

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderName, Method, StatusCode, Uri};
use pingora::http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;

use super::super::exchange::Exchange;
use crate::cache::broadcast::Told;
use crate::cache::marks::Purge;
use crate::cache::{Query, Rules};
use crate::facts::{View, host};
use crate::response::{Code, Reply};
use crate::routing::{Lookup, RequestParts, Snapshot, normal_host};
use crate::text::normalise_path;

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
    of_url(
        &rules.query,
        host(request).unwrap_or_default(),
        &request.uri,
    )
}

/// `uri` in the normal form of paths, as it is purged where `query` counts of it.
fn of_url(query: &Query, host: &str, uri: &Uri) -> Purge {
    let mut path = uri.path().to_owned();
    if let Some(query) = query.of(uri.query()) {
        path.push('?');
        path.push_str(&query);
    }
    Purge::url(normal_host(host).as_bytes(), path.as_bytes())
}

/// A request that is not safe has been answered by its upstream: what it may have changed is good no more, on whichever route it
/// is kept (RFC 9111 section 4.4). Costs a look into the routes where any of them has a cache, and nothing else.
pub(in crate::proxy) fn after(
    exchange: &Exchange,
    snapshot: &Snapshot,
    request: &RequestHeader,
    response: &ResponseHeader,
) {
    let own = exchange.cached.as_ref().map(|cached| &*cached.rules);
    let has_done_something = response.status.is_success() || response.status.is_redirection();
    if !has_done_something || !(snapshot.has_caches || own.is_some()) {
        return;
    }
    let others = [LOCATION, CONTENT_LOCATION].map(|name| other(exchange, request, response, &name));
    let urls = [Some(request.uri.clone())].into_iter().chain(others);
    for uri in urls.flatten() {
        let mut queries: SmallVec<[&Query; 2]> = own.iter().map(|rules| &rules.query).collect();
        for rules in rules_of(snapshot, request, &uri) {
            if !queries.contains(&&rules.query) {
                queries.push(&rules.query);
            }
        }
        for query in queries {
            let purge = of_url(query, host(request).unwrap_or_default(), &uri);
            snapshot.cache.purge(&purge);
        }
    }
    if let Some(rules) = own.filter(|_| response.status.is_success()) {
        for tag in &rules.purge_on_write {
            rules.cache.purge(&Purge::tag(tag.as_bytes()));
        }
    }
}

/// How the answers to who reads a URL are kept, of this host and with these headers: by whichever listener it is asked for.
fn rules_of<'s>(
    snapshot: &'s Snapshot,
    request: &RequestHeader,
    uri: &Uri,
) -> SmallVec<[&'s Rules; 2]> {
    let parts = RequestParts {
        host: host(request).unwrap_or_default(),
        path: uri.path(),
        query: uri.query(),
        method: &Method::GET,
        headers: &request.headers,
    };
    let tables = snapshot.listeners.iter().map(|view| &view.table);
    let rules = tables.filter_map(|table| match table.find(&parts) {
        Lookup::Found(route, _) => route.pipeline.cache().map(|rules| &**rules),
        Lookup::MethodNotAllowed(_) | Lookup::NotFound => None,
    });
    rules.collect()
}

/// What a header of the response names, in the normal form of paths, where it is of the same host: others are nobody's business
/// here.
fn other(
    exchange: &Exchange,
    request: &RequestHeader,
    response: &ResponseHeader,
    name: &HeaderName,
) -> Option<Uri> {
    let text = response.headers.get(name)?.to_str().ok()?.trim();
    let text = text.split('#').next().unwrap_or_default();
    let is_absolute = text.contains("://");
    let uri: Uri = match text.as_bytes().first()? {
        b'/' if !text.starts_with("//") => text.parse().ok()?,
        _ if is_absolute => text.parse().ok()?,
        b'/' => return None,
        _ => beside(request.uri.path(), text).parse().ok()?,
    };
    let of = |host: &str| normal_host(host).into_owned();
    let is_own = match uri.authority() {
        None => true,
        Some(authority) => host(request).is_some_and(|host| of(authority.as_str()) == of(host)),
    };
    let rules = &exchange
        .connection
        .as_ref()
        .filter(|_| is_own)?
        .listener
        .paths;
    match normalise_path(uri.path(), rules).ok()? {
        None => Some(uri),
        Some(path) => match uri.query() {
            Some(query) => format!("{path}?{query}").parse().ok(),
            None => path.parse().ok(),
        },
    }
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
