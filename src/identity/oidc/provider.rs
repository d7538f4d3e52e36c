//! One provider, as requests meet it: who a session's cookie is, and how a login begins.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;

use super::config::OnStoreDown;
use super::cookie::{self, Cookies, Shown};
use super::exchange::Credentials;
use super::metadata::{Discovery, Metadata};
use super::pending::Pending;
use super::seal::Sealer;
use super::session::{BrowserSession, Record, SessionId};
use super::sessions::Sessions;
use super::shared::Shared;
use super::token::Verifier;
use crate::identity::{Client, Identity, Mapping, Proof, Unmapped, Url};

/// Everything that is fixed of one provider.
pub struct Core {
    pub(super) name: Arc<str>,
    pub(super) issuer: Url,
    pub(super) credentials: Credentials,
    pub(super) callback: Url,
    /// With `openid`, and spaces between them.
    pub(super) scopes: Box<str>,
    pub(super) parameters: Box<[(Box<str>, Box<str>)]>,
    pub(super) asks_userinfo: bool,
    pub(super) after_logout: Box<str>,
    pub(super) client: Client,
    pub(super) discovery: Arc<Discovery>,
    pub(super) verifier: Verifier,
    pub(super) mapping: Mapping,
    /// Of every build another: an identity that another one has made is made again.
    pub(super) build: u64,
    pub(super) cookies: Cookies,
    pub(super) seals: Seals,
    pub(super) sessions: Arc<Sessions>,
    pub(super) shared: Option<Shared>,
    /// In seconds.
    pub(super) idle: u64,
    pub(super) lifetime: u64,
    /// In milliseconds.
    pub(super) remember: u64,
    pub(super) on_store_down: OnStoreDown,
    /// How long a renewal waits for another node that has the lock.
    pub(super) patience: Duration,
    /// How many logins may end at once, and how many sessions be renewed: each has exchanges with the provider.
    pub(super) logins: Semaphore,
    pub(super) renewals: Semaphore,
    /// Whether a session is good only as long as its access token is.
    pub(super) needs_access: bool,
}

/// What seals each kind of cookie.
pub(super) struct Seals {
    pub(super) session: Sealer,
    pub(super) login: Sealer,
}

/// What a request shows.
#[derive(Debug)]
pub enum Looked {
    /// No session at all.
    Nothing,
    Good(Arc<BrowserSession>),
    /// None any more; why, for the log.
    Over(&'static str),
    /// A cookie that was not made here; why, for the log.
    Forged(&'static str),
    /// It takes asking somebody: see [`Core::settle`].
    Unsettled(SessionId),
}

/// What became of a session.
#[derive(Clone, Debug)]
pub enum Settled {
    Good(Arc<BrowserSession>),
    Over(&'static str),
    /// Nobody can say whether it is good; why, for the log.
    Unavailable(Arc<str>),
}

/// A step that the browser is sent on.
#[derive(Debug)]
pub struct Step {
    /// A whole URL.
    pub to: HeaderValue,
    pub cookies: Vec<HeaderValue>,
}

impl Core {
    /// Who the request comes with. Costs the opening of one small cookie and a look-up; nothing is asked of anybody.
    pub fn look(&self, headers: &HeaderMap) -> Looked {
        let id = match self.session_id(headers) {
            Ok(None) => return Looked::Nothing,
            Ok(Some(id)) => id,
            Err(why) => return Looked::Forged(why),
        };
        let now_ms = unix_ms();
        let Some(session) = self.sessions.memory.find(&id) else {
            return match self.shared {
                Some(_) => Looked::Unsettled(id),
                None => Looked::Over("there is no such session, or no more"),
            };
        };
        let is_unsettled = session.mapped_by != self.build
            || self.is_due(&session.record, now_ms / 1000)
            || !self.is_confirmed(&session, now_ms);
        if is_unsettled {
            return Looked::Unsettled(id);
        }
        if !session.touch(now_ms / 1000, self.idle) {
            self.sessions.memory.remove(&id);
            return Looked::Over("the session is over");
        }
        Looked::Good(session)
    }

    /// The id in the request's cookie; an error where there is a cookie that holds none.
    pub(super) fn session_id(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<SessionId>, &'static str> {
        let value = match cookie::find(headers, self.cookies.session()) {
            Shown::Nothing => return Ok(None),
            Shown::Several => return Err("there are two cookies of the session's name"),
            Shown::One(value) => value,
        };
        let foreign = "the session's cookie is none of ours";
        let mut sealed = [0; SessionId::COOKIE];
        if value.len() != SessionId::COOKIE {
            return Err(foreign);
        }
        let length = URL_SAFE_NO_PAD
            .decode_slice(value, &mut sealed)
            .map_err(|_| foreign)?;
        let sealed = sealed.get_mut(..length).ok_or(foreign)?;
        let id = self.seals.session.open(sealed).ok_or(foreign)?;
        SessionId::from_bytes(id).map(Some).ok_or(foreign)
    }

    pub(super) fn is_confirmed(&self, session: &BrowserSession, now_ms: u64) -> bool {
        self.shared.is_none() || now_ms < session.confirmed().saturating_add(self.remember)
    }

    /// Whether something has to be done about the session's tokens.
    pub(super) fn is_due(&self, record: &Record, now: u64) -> bool {
        let tokens = &record.tokens;
        match tokens.refresh {
            Some(_) => tokens.is_due(now),
            None => self.needs_access && tokens.expires.is_some_and(|expires| now >= expires),
        }
    }

    /// The identity that these claims are.
    pub(super) fn identity(&self, record: &Record) -> Result<Arc<Identity>, Unmapped> {
        let proof = Proof {
            authenticator: "oidc",
            provider: &self.name,
            expires: Some(record.ends),
        };
        let identity = self.mapping.identity(record.all_claims(), proof);
        identity.map(Arc::new)
    }

    /// Sends a browser to the provider, to come back to `target`, a path with its query. `None` where there is no
    /// randomness.
    fn begin(&self, headers: &HeaderMap, target: &str, metadata: &Metadata) -> Option<Step> {
        let seed = SessionId::draw()?;
        let login = Pending::begin(seed.as_bytes().try_into().ok()?, unix_ms() / 1000, target);
        let mut query = Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.credentials.id)
            .append_pair("redirect_uri", self.callback.as_str())
            .append_pair("scope", &self.scopes)
            .append_pair("state", &login.state())
            .append_pair("nonce", &login.nonce())
            .append_pair("code_challenge", &login.challenge())
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(self.parameters.iter());
        let mut cookies = Pending::surplus(headers, &self.cookies, &self.seals.login);
        cookies.push(login.cookie(&self.cookies, &self.seals.login)?);
        let to = with_query(&metadata.authorization_endpoint, &query.finish());
        Some(Step {
            to: HeaderValue::try_from(to).ok()?,
            cookies,
        })
    }

    /// As `Core::begin`, where it is known where the provider is.
    pub fn begin_now(&self, headers: &HeaderMap, target: &str) -> Option<Step> {
        self.begin(headers, target, &*self.discovery.known()?)
    }

    /// Whether it is known where the provider is.
    pub fn is_known(&self) -> bool {
        self.discovery.is_known()
    }

    /// Finds out where the provider is, unless that is known. A failure is in the log.
    pub async fn prepare(&self) {
        if let Err(error) = self.discovery.metadata(&self.client, &self.issuer).await {
            log::debug!("oidc {}: {error}", self.name);
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the session's cookie.
    pub fn cookie_name(&self) -> &str {
        self.cookies.session()
    }

    /// What a caller without a session is told that cannot be sent to log in. There is no registered scheme for a
    /// cookie; the parameter says which it is.
    pub fn challenge(&self) -> HeaderValue {
        let value = format!("Cookie cookie-name=\"{}\"", self.cookie_name());
        // The name is one of a cookie.
        HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("Cookie"))
    }

    /// What its cookies are called.
    pub fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// The folder of the paths that a route with `login` serves, and what the callback is called in it.
    pub fn callback_path(&self) -> (&str, &str) {
        let path = self.callback.uri().path();
        path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
    }

    /// Where the provider sends browsers back to.
    pub fn callback(&self) -> &Url {
        &self.callback
    }

    /// A path of the gateway as a whole URL: whatever is in it, it leads to no other host.
    pub(super) fn own(&self, target: &str) -> Option<HeaderValue> {
        let origin = self.callback.with_path("/")?;
        let origin = origin.as_str().trim_end_matches('/');
        HeaderValue::try_from(format!("{origin}{target}")).ok()
    }

    /// Whether a login that begins at this host can end: cookies that are set for one host do not come to another.
    /// Ports do not keep cookies apart.
    pub fn is_own_host(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, _)) if !authority.ends_with(']') => host,
            _ => authority,
        };
        self.callback.host().eq_ignore_ascii_case(host)
    }
}

/// An endpoint may have a query of its own (RFC 6749 section 3.1).
pub(super) fn with_query(endpoint: &Url, query: &str) -> String {
    let joint = if endpoint.uri().query().is_some() {
        '&'
    } else {
        '?'
    };
    format!("{}{joint}{query}", endpoint.as_str())
}

/// Whether a text can be the place to go to after a login: the path of this host, with its query.
pub fn is_target(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    text.starts_with('/') && !text.starts_with("//") && text.bytes().all(is_plain)
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
