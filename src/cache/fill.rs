//! A response on its way into the cache, and those who wait for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header::{CONTENT_LENGTH, DATE, IF_MODIFIED_SINCE, IF_NONE_MATCH, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::watch;

use super::Cache;
use super::ask::Ask;
use super::body::Body;
use super::entry::{Entry, Times, kept};
use super::key_hash::Key;
use super::marks::{Standing, Tags};
use super::outcome::{Failure, Once, Outcome, Spared, Told};
use super::rfc::{
    Lifetime, Question, ResponseDirectives, Vary, WhyNot, confirms, initial_age, is_whole_part,
    may_store, strip, update,
};
use super::rules::Rules;
use super::sink::{Keeping, Sink};
use crate::response::{Code, Reply};

/// How often it is looked whether what is for one alone is still to be taken.
const LEFT_ALONE: Duration = Duration::from_millis(100);

/// A fill that is under way, for those who wait for it.
#[derive(Clone, Debug)]
pub struct Pending {
    outcome: watch::Receiver<Option<Outcome>>,
    told: Arc<OnceLock<Told>>,
}

impl Pending {
    /// `None` where it has ended without a word.
    pub async fn outcome(mut self) -> Option<Outcome> {
        let outcome = self.outcome.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }

    /// What was the upstream's part in it, once that is known.
    pub fn told(&self) -> Arc<OnceLock<Told>> {
        self.told.clone()
    }
}

/// What a fill is for.
#[derive(Debug)]
pub struct Purpose {
    pub ask: Ask,
    /// Of the request that it is for: what its variant is told by.
    pub headers: HeaderMap,
    /// As it is purged: the host, and the path with what counts of the query.
    pub host: Box<str>,
    pub path: Box<str>,
    /// What is to be confirmed or replaced.
    pub stale: Option<Arc<Entry>>,
}

/// Takes in one response, for the exchange that fetches it.
#[derive(Debug)]
pub struct Filler {
    rules: Arc<Rules>,
    purpose: Purpose,
    /// Under which others wait for it.
    key: Key,
    /// Nothing that was purged after it may come of it.
    mark: u64,
    asked: Instant,
    /// What is known of the response that comes next.
    expected: Mutex<Option<(Told, Framing)>>,
    /// What the upstream was asked with.
    sent: Mutex<Option<HeaderMap>>,
    told: Arc<OnceLock<Told>>,
    outcome: watch::Sender<Option<Outcome>>,
}

/// What is not delimited ends with its connection, for whatever reason that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Delimited,
    UntilClose,
}

impl Filler {
    pub(super) fn new(
        rules: Arc<Rules>,
        purpose: Purpose,
        key: Key,
        mark: u64,
    ) -> (Filler, Pending) {
        let (sender, outcome) = watch::channel(None);
        let told: Arc<OnceLock<Told>> = Arc::default();
        let filler = Filler {
            rules,
            purpose,
            key,
            mark,
            asked: Instant::now(),
            expected: Mutex::default(),
            sent: Mutex::default(),
            told: told.clone(),
            outcome: sender,
        };
        (filler, Pending { outcome, told })
    }

    /// What is to be confirmed or replaced.
    pub fn stale(&self) -> Option<&Arc<Entry>> {
        self.purpose.stale.as_ref()
    }

    /// Whether a failure can be made up for by what was kept, so that nobody else need be asked.
    pub fn has_spare(&self) -> bool {
        self.spare().is_some()
    }

    fn spare(&self) -> Option<&Arc<Entry>> {
        let stale = self.purpose.stale.as_ref();
        stale.filter(|entry| self.rules.cache.may_spare(entry, &self.purpose.ask))
    }

    /// The upstream is asked with these headers.
    pub fn sends(&self, headers: &HeaderMap) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        *sent = Some(headers.clone());
    }

    /// Whether a response varies by what its client has not sent like that: then the client's headers do not tell for whom it is. Of
    /// the scheme and the host the key knows.
    fn varies_by_ours(&self, headers: &HeaderMap) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sent) = &*sent else { return false };
        let in_key = ["host", "x-forwarded-host", "x-forwarded-proto"];
        let vary = Vary::of(headers);
        let mut names = vary.names().iter();
        names.any(|name| {
            let own = self.purpose.headers.get_all(name).iter();
            !in_key.contains(&name.as_str()) && !own.eq(sent.get_all(name).iter())
        })
    }

    /// A response comes of which so much is known.
    pub fn expect(&self, told: Told, framing: Framing) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        *expected = Some((told, framing));
    }

    /// The header of the response has come, without what was for the connection alone.
    pub fn begin(&self, status: StatusCode, headers: HeaderMap) -> Sink {
        let expected = {
            let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
            expected.take()
        };
        let (told, framing) = expected.unwrap_or((Told::default(), Framing::UntilClose));
        // Once: there is one response.
        let _ = self.told.set(told.clone());
        let is_real = told.degraded.is_none();
        if status == StatusCode::NOT_MODIFIED
            && is_real
            && let Some(stale) = self.stale()
        {
            let outcome = match confirms(&stale.headers, &headers) {
                true => self.confirm(stale, headers),
                false => {
                    self.rules.cache.forget(stale);
                    Outcome::Again
                }
            };
            self.settle(outcome);
            return Sink::Nowhere;
        }
        let own = [IF_NONE_MATCH, IF_MODIFIED_SINCE];
        let has_asked = own
            .iter()
            .any(|name| self.purpose.headers.contains_key(name));
        if status == StatusCode::NOT_MODIFIED && !has_asked {
            // Nobody has asked whether anything was.
            self.fail(Reply::failure(Code::UpstreamProtocol), told);
            return Sink::Nowhere;
        }
        if is_failure(status)
            && let Some(spare) = self.spare()
        {
            self.settle(Outcome::Spare(spare.clone(), Spared::Status(status)));
            return Sink::Nowhere;
        }
        let directives = self.directives(&headers);
        let times = self.times(&headers);
        let given = self.rules.given(status);
        let lifetime = Lifetime::of(status, &headers, &directives, times.received_at, &given);
        let question = Question {
            status,
            headers: &headers,
            directives: &directives,
            lifetime: &lifetime,
            request: &self.purpose.ask.control,
            is_personal: self.purpose.ask.is_personal,
            given: &given,
        };
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|it| it.to_str().ok()?.parse().ok());
        let is_large = length.is_some_and(|length: u64| length > self.rules.max_object);
        let verdict = match framing {
            _ if !is_real => Err(WhyNot::Degraded),
            Framing::UntilClose => Err(WhyNot::Unframed),
            Framing::Delimited if !is_whole_part(status, &headers, length) => Err(WhyNot::Part),
            Framing::Delimited if self.varies_by_ours(&headers) => Err(WhyNot::Varies),
            Framing::Delimited => may_store(&question),
        };
        let verdict = verdict.and_then(|()| match is_large {
            true => Err(WhyNot::TooLarge),
            false => self.rules.cache.is_wanted(self.key, self.rules.min_uses),
        });
        let (mut writer, body) = Body::begin(&self.rules.cache.budget);
        if let Err(why) = verdict {
            if self.replaces(status, why)
                && let Some(stale) = self.stale()
            {
                self.rules.cache.forget(stale);
            }
            let reader = body.read_from(0);
            writer.let_go();
            let is_asked_for = why == WhyNot::Rare || self.is_of_request(why);
            if self.outcome.receiver_count() > 2 && !is_asked_for {
                // The next who come need not wait for what is not for them.
                self.rules.cache.pass(self.key);
            }
            self.settle(Outcome::Once(Arc::new(Once {
                status,
                headers,
                why,
                told,
                body: Mutex::new(reader),
            })));
            return Sink::Once(writer);
        }
        let entry = Arc::new(self.entry(status, headers, &directives, (lifetime, times), body));
        self.rules.cache.put_variants(self.purpose.ask.key, &entry);
        self.rules.cache.put(&entry);
        self.settle(Outcome::Kept(entry.clone()));
        let (cache, most) = (self.rules.cache.clone(), self.rules.max_object);
        Sink::Kept(Keeping::new(cache, entry, writer, most))
    }

    /// What who asks wants of it, or is, says nothing of what is kept for others.
    fn is_of_request(&self, why: WhyNot) -> bool {
        why == WhyNot::Personal || self.purpose.ask.control.no_store
    }

    /// Whether a response that is not kept says that what was kept is so no more. What is wrong with one request says nothing of
    /// that, nor does a part.
    fn replaces(&self, status: StatusCode, why: WhyNot) -> bool {
        let is_about_all = status.is_success() || status.is_redirection() || is_gone(status);
        let is_other = matches!(why, WhyNot::Degraded | WhyNot::Part);
        is_about_all && !is_other && !self.is_of_request(why)
    }

    /// There is no response.
    pub fn fail(&self, reply: Reply, told: Told) {
        let _ = self.told.set(told.clone());
        let outcome = match (reply.code, self.spare()) {
            (Some(code), Some(spare)) => Outcome::Spare(spare.clone(), Spared::Code(code)),
            _ => Outcome::Failed(Arc::new(Failure { reply, told })),
        };
        self.settle(outcome);
    }

    fn directives(&self, headers: &HeaderMap) -> ResponseDirectives {
        ResponseDirectives::of(headers, &self.rules.targets)
    }

    fn times(&self, headers: &HeaderMap) -> Times {
        let (received, received_at) = (Instant::now(), SystemTime::now());
        Times {
            received,
            received_at,
            initial_age: initial_age(headers, received_at, received - self.asked),
        }
    }

    fn entry(
        &self,
        status: StatusCode,
        mut headers: HeaderMap,
        directives: &ResponseDirectives,
        (lifetime, times): (Lifetime, Times),
        body: Arc<Body>,
    ) -> Entry {
        let vary = Vary::of(&headers);
        let key = Cache::variant(self.purpose.ask.key, &vary, &self.purpose.headers);
        let key = match status {
            StatusCode::PARTIAL_CONTENT => Cache::part(key),
            _ => key,
        };
        let standing = Standing::new(
            self.mark,
            (self.purpose.host.as_bytes(), self.purpose.path.as_bytes()),
            self.tags(&headers),
        );
        let for_first = strip(&mut headers, directives);
        // Who forwards or keeps what has no date gives it one (RFC 9110 section 6.6.1).
        if let http::header::Entry::Vacant(place) = headers.entry(DATE) {
            let date = httpdate::fmt_http_date(times.received_at);
            place.insert(HeaderValue::try_from(date).expect("a date is ASCII"));
        }
        self.strip_tags(&mut headers);
        Entry {
            key,
            status,
            headers: kept(headers),
            vary,
            lifetime,
            times,
            standing,
            path: self.purpose.path.clone(),
            body,
            for_first,
            uses: AtomicU32::new(0),
        }
    }

    fn tags(&self, headers: &HeaderMap) -> Tags {
        self.rules.tags(headers)
    }

    /// They are for the cache alone.
    fn strip_tags(&self, headers: &mut HeaderMap) {
        for field in &self.rules.tag_fields {
            headers.remove(&field.name);
        }
    }

    /// What is kept is good again, by what the upstream says now. It may say as well that it is not to be kept any more.
    fn confirm(&self, stale: &Arc<Entry>, mut headers: HeaderMap) -> Outcome {
        // What was purged for good while it was asked for is not confirmed.
        if !self.rules.cache.is_live(stale) {
            self.rules.cache.forget(stale);
            return Outcome::Again;
        }
        let times = self.times(&headers);
        let cookies_are_shared = {
            let directives = self.directives(&headers);
            directives.public || directives.s_maxage.is_some() || self.rules.shares_cookies
        };
        strip(&mut headers, &ResponseDirectives::default());
        if !cookies_are_shared {
            headers.remove(SET_COOKIE);
        }
        // They may be others than before.
        let tags = self.tags(&headers);
        self.strip_tags(&mut headers);
        let mut merged = stale.headers.clone();
        update(&mut merged, &headers);
        if Vary::of(&merged) != stale.vary {
            // For whom it is is told by something else from now on, and so is where it lies.
            self.rules.cache.forget(stale);
            return Outcome::Again;
        }
        let directives = self.directives(&merged);
        let given = self.rules.given(stale.status);
        let lifetime = Lifetime::of(
            stale.status,
            &merged,
            &directives,
            times.received_at,
            &given,
        );
        let question = Question {
            status: stale.status,
            headers: &merged,
            directives: &directives,
            lifetime: &lifetime,
            request: &self.purpose.ask.control,
            is_personal: self.purpose.ask.is_personal,
            given: &given,
        };
        let verdict = may_store(&question);
        strip(&mut merged, &directives);
        let entry = Arc::new(Entry {
            key: stale.key,
            status: stale.status,
            headers: kept(merged),
            vary: stale.vary.clone(),
            lifetime,
            times,
            standing: stale.standing.confirmed(self.mark, tags),
            path: stale.path.clone(),
            body: stale.body.clone(),
            for_first: None,
            uses: AtomicU32::new(stale.uses.load(Ordering::Relaxed)),
        });
        let why = match verdict {
            Ok(()) if !self.varies_by_ours(&entry.headers) => {
                self.rules.cache.put_confirmed(&entry, stale);
                return Outcome::Confirmed(entry);
            }
            Ok(()) => WhyNot::Varies,
            Err(why) => why,
        };
        if !self.is_of_request(why) {
            self.rules.cache.forget(stale);
        }
        // It is for whoever has asked, and for nobody who has waited.
        let reader = entry.body.read_from(0);
        reader.map_or(Outcome::Again, |reader| {
            Outcome::Once(Arc::new(Once {
                status: entry.status,
                headers: entry.headers.clone(),
                why,
                told: self.told.get().cloned().unwrap_or_default(),
                body: Mutex::new(Some(reader)),
            }))
        })
    }

    /// Ends once nobody waits any more, and nobody has taken what is for one alone: nobody will read that, and what writes it need
    /// not wait for a reader.
    pub async fn is_left_alone(&self) {
        self.outcome.closed().await;
        loop {
            let once = match &*self.outcome.borrow() {
                Some(Outcome::Once(once)) => Some(once.clone()),
                _ => None,
            };
            let Some(once) = once else { return };
            // One is here and one is kept by the channel; whoever is about to take it has another.
            if Arc::strong_count(&once) <= 2 {
                drop(once.take());
                return;
            }
            drop(once);
            tokio::time::sleep(LEFT_ALONE).await;
        }
    }

    /// Whether anybody waits for the response, or reads it.
    pub fn is_wanted(&self) -> bool {
        match &*self.outcome.borrow() {
            None => {
                let (cache, own) = (&self.rules.cache, |it: &Pending| self.is_own(it));
                let not_waiting = usize::from(cache.is_pending(self.key, own));
                self.outcome.receiver_count() > not_waiting
            }
            Some(Outcome::Kept(entry)) => entry.body.readers() > 0,
            // What is for one alone ends by itself.
            Some(_) => true,
        }
    }

    fn settle(&self, outcome: Outcome) {
        if self.is_settled() {
            return;
        }
        // Those who come from now on find what is kept, or begin anew.
        self.end_wait();
        self.outcome.send_replace(Some(outcome));
    }

    fn end_wait(&self) {
        let cache = &self.rules.cache;
        cache.end_wait(self.key, |it| self.is_own(it));
    }

    fn is_own(&self, pending: &Pending) -> bool {
        Arc::ptr_eq(&self.told, &pending.told)
    }

    /// From then on others may wait for somebody else under the same key.
    fn is_settled(&self) -> bool {
        self.outcome.borrow().is_some()
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        if !self.is_settled() {
            self.end_wait();
        }
    }
}

fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// What a stale response may be served instead of (RFC 5861 section 4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
