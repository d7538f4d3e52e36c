//! Where the cache stands on the way of a request: behind everything that may refuse it, before its upstream.
//!
//! A response that is good is written from the cache. What is not there is fetched by an exchange of the gateway's own
//! ([`filling`]), and whoever asks for it meanwhile waits for the same response.

mod filling;
mod fills;
mod purge;
mod serve;
mod tell;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, EXPECT, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::exchange::Exchange;
use super::heads::take_request;
use super::{forwarding, own};
use crate::actions::{Action, To};
use crate::cache::rfc::{Forward, ask_whether_same};
use crate::cache::{
    Ask, Cache, Entry, Filler, Found, Framing, Joined, Outcome, Past, Pending, Purpose, Rules,
    Scope, Told, Use,
};
use crate::facts::{host, host_header};
use crate::response::{Code, Reply};
use crate::routing::normal_host;
use crate::upstream::Attempt;

use filling::Filling;

pub(super) use fills::Fills;
pub(super) use purge::after as purge_after;
pub(super) use serve::{open, send};
pub(super) use tell::Cached;

/// What has become of a request at the cache.
pub(super) enum Answer {
    /// It is answered.
    Written,
    /// It is answered by this.
    Reply(Reply),
    /// It goes on to its upstream.
    None,
}

/// How often a request looks again, where what it has waited for was not for it.
const MOST_TURNS: usize = 3;

/// Answers a request from the cache, or by way of it.
pub(super) async fn answer(
    session: &mut Session,
    exchange: &mut Exchange,
    rules: Arc<Rules>,
    fills: &Fills,
) -> Result<Answer> {
    let Action::Proxy(proxy) = &*exchange.route.action else {
        return Ok(Answer::None);
    };
    // Over HTTP/2 no header need say so.
    let is_h2 = session.req_header().version == Version::HTTP_2;
    let has_body = is_h2 && !session.downstream_session.is_body_empty();
    let request = session.req_header();
    if let Some(asked) = purge::asked(exchange.view(request), &rules) {
        return Ok(Answer::Reply(purge::answer(asked, &rules).await));
    }
    if let To::Split(_) = &proxy.to {
        // Where no branch has a weight, nobody can say what would be asked for.
        let Some(chosen) = proxy.choose(exchange.view(request)) else {
            return Ok(Answer::None);
        };
        exchange.chosen = Some(chosen);
    }
    let mut cached = Box::new(Cached::new(rules.clone()));
    let scope = Scope {
        route: &exchange.route.name,
        branch: exchange.chosen.as_ref().map(|(branch, _)| branch.name()),
        written: exchange.of_client.as_ref().map(|it| &*it.written),
    };
    let asked = match has_body {
        true => Err(Past::Request),
        false => Ask::of(&rules, scope, exchange.view(request)),
    };
    let ask = match asked {
        Ok(ask) => ask,
        Err(past) => {
            cached.past(past);
            exchange.cached = Some(cached);
            return Ok(Answer::None);
        }
    };
    for _ in 0..MOST_TURNS {
        let request = session.req_header();
        let now = Instant::now();
        let (mut stale, mut passes) = (None, false);
        let mut found = rules.cache.find(&ask, &request.headers);
        if let Found::Nothing(missed) = found {
            let cache = &rules.cache;
            found = cache.find_on_disk(&ask, &request.headers, missed).await;
        }
        match found {
            Found::Entry(entry) => match rules.cache.judge(&entry, &ask, &rules, now) {
                Use::Not(why) => {
                    cached.forward(why);
                    stale = Some(entry);
                }
                good => {
                    let is_fetched =
                        matches!(good, Use::Fresh { is_due: true } | Use::WhileRevalidating);
                    if is_fetched {
                        let of = (&rules, &ask, Some(entry.clone()));
                        fetch(exchange, request, of, fills);
                    }
                    cached.hit(good);
                    return serve::entry(session, exchange, cached, &entry).await;
                }
            },
            Found::Nothing(why) => cached.forward(why),
            Found::Passes => {
                cached.forward(Forward::UriMiss);
                passes = true;
            }
        }
        if ask.is_only_if_cached() {
            exchange.cached = Some(cached);
            return Ok(Answer::Reply(Reply::failure(Code::NotCached)));
        }
        // Of a HEAD nobody wants the body, which may be large.
        if passes || (ask.is_head() && stale.is_none()) {
            break;
        }
        let Some((pending, is_own)) = fetch(exchange, request, (&rules, &ask, stale), fills) else {
            break;
        };
        let told = pending.told();
        let Some(outcome) = wait(session, &rules, pending, is_own).await? else {
            break;
        };
        if is_own {
            cached.told = told.get().cloned().map(Box::new);
        }
        let of_others = |entry: &Entry, session: &Session| {
            let headers = &session.req_header().headers;
            !is_own && !rules.cache.is_for(entry, &ask, headers)
        };
        // Whoever comes after a purge may have waited for what was asked for before it.
        let is_late = |entry: &Entry| !is_own && !rules.cache.is_untouched(entry);
        match outcome {
            Outcome::Kept(entry) | Outcome::Confirmed(entry)
                if of_others(&entry, session) || is_late(&entry) => {}
            Outcome::Kept(entry) => {
                cached.stored(&entry, is_own);
                cached.for_first = is_own.then(|| entry.for_first().cloned()).flatten();
                return serve::entry(session, exchange, cached, &entry).await;
            }
            Outcome::Confirmed(entry) => {
                cached.confirmed(is_own);
                return serve::entry(session, exchange, cached, &entry).await;
            }
            Outcome::Spare(entry, _)
                if of_others(&entry, session)
                    || (!is_own && !rules.cache.may_spare(&entry, &ask)) => {}
            Outcome::Spare(entry, why) => {
                cached.spared(exchange, why);
                return serve::entry(session, exchange, cached, &entry).await;
            }
            Outcome::Once(once) => {
                // It is for who asked first.
                let Some(body) = is_own.then(|| once.take()).flatten() else {
                    break;
                };
                cached.not_stored(exchange, &once);
                return serve::once(session, exchange, (cached, &once), body).await;
            }
            // What was kept is gone by now.
            Outcome::Again => {}
            Outcome::Failed(failure) => {
                cached.failed(exchange, &failure);
                exchange.cached = Some(cached);
                return Ok(Answer::Reply(failure.reply.clone()));
            }
        }
    }
    cached.passes();
    exchange.cached = Some(cached);
    Ok(Answer::None)
}

/// Has somebody fetch what is asked for, if nobody does already. Gives what is to be waited for, and whether nobody did; nothing
/// where nobody is to wait for others.
fn fetch(
    exchange: &Exchange,
    request: &RequestHeader,
    (rules, ask, stale): (&Arc<Rules>, &Ask, Option<Arc<Entry>>),
    fills: &Fills,
) -> Option<(Pending, bool)> {
    // What is known of a part says nothing of the whole: a part is asked for again.
    let is_of_part = stale.as_ref().is_none_or(|entry| entry.part().is_some());
    let wants_part = ask.has_range() && is_of_part;
    let key = match &stale {
        _ if wants_part => Cache::ranges(ask, &request.headers),
        Some(entry) => entry.key(),
        None => ask.key(),
    };
    // What may be for one alone holds up nobody else.
    let key = match (ask.is_for_once(), ask.is_personal()) {
        (true, _) => Cache::alone(key),
        (false, true) => Cache::apart(key),
        (false, false) => key,
    };
    let query = rules.query.of(request.uri.query());
    let mut target = request.uri.path().to_owned();
    if let Some(query) = &query {
        target.push('?');
        target.push_str(query);
    }
    let told_apart_by = || {
        let mut headers = request.headers.clone();
        // What is for this connection alone no upstream gets.
        forwarding::strip_hop_by_hop(&mut headers);
        headers
    };
    let purpose = || Purpose {
        ask: ask.clone(),
        headers: told_apart_by(),
        host: normal_host(host(request).unwrap_or_default()).into(),
        path: target.as_str().into(),
        stale: stale.clone(),
    };
    match rules.cache.join(rules, key, purpose) {
        Joined::Began(filler, pending) => {
            let request = asking(request, &target, stale.as_deref(), wants_part);
            let filler: Arc<Filler> = filler.into();
            let exchange = Box::new(exchange.for_cache(filler.clone()));
            let filling = Box::new(Filling::new(filler.clone()));
            let session = own::session((request, Bytes::new()), exchange, filling);
            fills.begin(session, filler);
            Some((pending, true))
        }
        Joined::Waits(pending) => rules.collapse.is_some().then_some((pending, false)),
    }
}

/// The request that fetches what a client's asks for.
fn asking(
    request: &RequestHeader,
    target: &str,
    stale: Option<&Entry>,
    wants_part: bool,
) -> RequestHeader {
    let host = host_header(request);
    let mut own = request.clone();
    let mut parts = take_request(&mut own);
    parts.method = Method::GET;
    parts.version = Version::HTTP_11;
    if let Ok(uri) = target.parse::<Uri>() {
        parts.uri = uri;
    }
    // As it stands in the key, so that no spelling of it comes back to others.
    let host = host.map(|host| HeaderValue::from_bytes(&host.as_bytes().to_ascii_lowercase()));
    if let Some(Ok(host)) = host {
        parts.headers.insert(HOST, host);
    }
    for name in [EXPECT, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
        parts.headers.remove(name);
    }
    if !wants_part {
        parts.headers.remove(RANGE);
        parts.headers.remove(IF_RANGE);
    }
    if let Some(stale) = stale {
        ask_whether_same(stale.headers(), &mut parts.headers);
    }
    parts.into()
}

/// Waits for a fill. `None` where it takes too long, or comes to nothing. An error where the client leaves.
async fn wait(
    session: &mut Session,
    rules: &Rules,
    pending: Pending,
    is_own: bool,
) -> Result<Option<Outcome>> {
    let outcome = pending.outcome();
    // One's own has the deadlines of its exchange.
    let patience = rules.collapse.filter(|_| !is_own);
    let late = async {
        match patience {
            Some(patience) => tokio::time::sleep(patience).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(outcome, late);
    let client = &mut session.downstream_session;
    tokio::select! {
        biased;
        outcome = &mut outcome => return Ok(outcome),
        () = &mut late => return Ok(None),
        left = client.read_body_or_idle(true) => {
            left.map_err(|error| error.into_down())?;
        }
    }
    tokio::select! {
        outcome = outcome => Ok(outcome),
        () = late => Ok(None),
    }
}

/// Takes out of a response for the cache what was for its connection alone. What says whether it may be kept is for everybody on
/// the way, whatever `Connection` names (RFC 9110 section 7.6.1).
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let control = headers.get_all(CACHE_CONTROL).iter().cloned();
    let control: Vec<HeaderValue> = control.collect();
    forwarding::strip_hop_by_hop(headers);
    if !headers.contains_key(CACHE_CONTROL) {
        for value in control {
            headers.append(CACHE_CONTROL, value);
        }
    }
}

impl Exchange {
    /// The exchange that fetches for the cache what the client of this one has asked for: on the same route, by the same
    /// client, and with nothing of what that one has taken.
    pub(super) fn for_cache(&self, filler: Arc<Filler>) -> Exchange {
        let mut exchange = Exchange::on(self.route.clone(), self.facts.again());
        exchange.connection = self.connection.clone();
        exchange.names = self.names;
        exchange.of_client = self.of_client.clone();
        exchange.chosen = self.chosen.clone();
        exchange.filler = Some(filler);
        exchange
    }

    /// What is to be said of the upstream's part in this exchange, to the client's that it was made for.
    fn told(&self) -> Told {
        let attempt = self.attempt.as_ref();
        Told {
            upstream: attempt.map_or_else(Default::default, |it| it.upstream().name().into()),
            endpoint: attempt
                .and_then(|it| it.endpoint())
                .unwrap_or_default()
                .into(),
            attempts: attempt.map_or(0, |it| it.attempts()),
            time: attempt.and_then(|it| it.spent(Instant::now(), false)),
            degraded: self
                .degraded
                .as_ref()
                .map(|it| (it.reason.clone(), it.answer.clone())),
        }
    }

    /// There is no response for the cache but this reply.
    pub(super) fn fill_with(&mut self, reply: Reply) {
        let told = self.told();
        self.outcome = reply.code.or(self.outcome);
        if let Some(filler) = &self.filler {
            filler.fail(reply, told);
        }
    }

    /// The header of the response for the cache has come.
    pub(super) fn fill_begins(&self) {
        let Some(filler) = &self.filler else { return };
        let is_open = self.attempt.as_ref().is_some_and(Attempt::is_until_close);
        let framing = match is_open {
            true => Framing::UntilClose,
            false => Framing::Delimited,
        };
        filler.expect(self.told(), framing);
    }
}
