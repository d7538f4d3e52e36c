//! Sessions in a store, for several nodes.
//!
//! What is written there opens only with the session's id, which is in the browser's cookie alone, and with the keys of
//! the configuration: neither a copy of the store nor one of the whole node is a session of anybody. The store
//! knows a session by a digest of its id, and a person by a digest under the keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::cmd;

use super::seal::KeyRing;
use super::session::{Record, SessionId};
use crate::stores::{Redis, Script, StoreError};

/// A larger session is refused: what stands in a token is up to the provider.
const LARGEST: usize = 64 << 10;

/// Why a store could not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    #[error("the session store cannot be asked: {0}")]
    Store(#[from] StoreError),
    #[error("the session is larger than {LARGEST} bytes")]
    TooLarge,
    #[error("the session cannot be sealed")]
    Sealing,
}

impl From<Unspecified> for SharedError {
    fn from(_: Unspecified) -> SharedError {
        SharedError::Sealing
    }
}

/// The sessions of one provider in a store.
pub struct Shared {
    store: Arc<Redis>,
    keys: Arc<KeyRing>,
    /// Of every key in the store. The braces keep them together in a cluster.
    prefix: String,
    /// In milliseconds, as below.
    idle: u64,
    /// How long a lock lasts, longer than whoever holds it can take.
    lease: Duration,
    scripts: Scripts,
}

struct Scripts {
    insert: Script,
    end: Script,
    lock: Script,
    unlock: Script,
}

/// KEYS: the session, then sets of sessions of the same person and provider session. ARGV: its name, value and idle
/// milliseconds, now and its end in Unix milliseconds. A set lasts as long as the last of its sessions.
const INSERT: &str = "
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', ARGV[4])
  redis.call('ZADD', KEYS[i], ARGV[5], ARGV[1])
  local last = redis.call('ZRANGE', KEYS[i], -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', KEYS[i], last[2])
end";

/// KEYS: the mark of whoever ends them, then such sets. ARGV: whose mark it is, for how many seconds it stays, and
/// what stands before a session's name in its key. The mark and the end are one step, and a script that is sent again
/// after a broken connection finds its own mark.
const END: &str = "
local mark = redis.call('GET', KEYS[1])
if mark and mark ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
local ended = 0
for i = 2, #KEYS do
  for _, name in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
    ended = ended + redis.call('DEL', ARGV[3] .. name)
  end
  redis.call('DEL', KEYS[i])
end
return ended";

/// KEYS: the lock. ARGV: its owner, and for how many milliseconds it is taken. Who has it already, has it.
const LOCK: &str = "
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

const UNLOCK: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";

impl Shared {
    pub fn new(store: Arc<Redis>, keys: Arc<KeyRing>, provider: &str, times: Times) -> Shared {
        Shared {
            store,
            keys,
            prefix: format!("northgate:{{oidc:{provider}}}:"),
            idle: milliseconds(times.idle),
            lease: times.lease,
            scripts: Scripts {
                insert: Script::new(INSERT),
                end: Script::new(END),
                lock: Script::new(LOCK),
                unlock: Script::new(UNLOCK),
            },
        }
    }

    /// A session that has not ended, which is used now.
    pub async fn load(&self, id: &SessionId) -> Result<Option<Record>, SharedError> {
        let mut command = cmd("GETEX");
        command
            .arg(self.session(&id.public_name()))
            .arg("PX")
            .arg(self.idle);
        let sealed: Option<Vec<u8>> = self.store.command(&command).await?;
        let Some(mut sealed) = sealed else {
            return Ok(None);
        };
        let text = self.keys.sealer(VALUE, id.as_bytes())?;
        // What does not open was sealed with a key that has been withdrawn.
        let text = text.open(&mut sealed);
        Ok(text.and_then(|text| serde_json::from_slice(text).ok()))
    }

    pub async fn insert(
        &self,
        id: &SessionId,
        record: &Record,
        now_ms: u64,
    ) -> Result<(), SharedError> {
        let name = id.public_name();
        let value = self.value(id, record)?;
        let mut call = self.scripts.insert.call();
        call.key(self.session(&name));
        for set in self.sets(Some(record.subject()), record.provider_session(), 1) {
            call.key(set);
        }
        let ends = record.ends.saturating_mul(1000);
        call.arg(&name)
            .arg(value)
            .arg(self.idle)
            .arg(now_ms)
            .arg(ends);
        Ok(self.store.script(&call).await?)
    }

    /// Whether it was still there to be replaced.
    pub async fn replace(&self, id: &SessionId, record: &Record) -> Result<bool, SharedError> {
        let mut command = cmd("SET");
        let key = self.session(&id.public_name());
        command
            .arg(key)
            .arg(self.value(id, record)?)
            .arg("XX")
            .arg("PX")
            .arg(self.idle);
        let done: Option<String> = self.store.command(&command).await?;
        Ok(done.is_some())
    }

    pub async fn remove(&self, id: &SessionId) -> Result<(), SharedError> {
        let mut command = cmd("DEL");
        command.arg(self.session(&id.public_name()));
        Ok(self.store.command(&command).await?)
    }

    /// Ends the sessions of a person, or those of one session of the provider, and gives how many; `None` where the
    /// same `token` has done so before, within so many `seconds`.
    pub async fn end(
        &self,
        (subject, sid): (Option<&str>, Option<&str>),
        (token, seconds): (&str, u64),
    ) -> Result<Option<usize>, SharedError> {
        let mut call = self.scripts.end.call();
        let mark = self.name("jti", token.as_bytes(), 1).next();
        call.key(mark.ok_or(SharedError::Sealing)?);
        for set in self.sets(subject, sid, usize::MAX) {
            call.key(set);
        }
        call.arg(draw_name()?)
            .arg(seconds.max(1))
            .arg(self.session(""));
        let ended: i64 = self.store.script(&call).await?;
        Ok(usize::try_from(ended).ok())
    }

    /// A lock on the renewal of one session; `None` where another node has it.
    pub async fn lock(&self, id: &SessionId) -> Result<Option<Lock>, SharedError> {
        let lock = Lock {
            key: format!("{}lock:{}", self.prefix, id.public_name()),
            owner: draw_name()?,
            ends: Instant::now() + self.lease,
        };
        let mut call = self.scripts.lock.call();
        call.key(&lock.key)
            .arg(&lock.owner)
            .arg(milliseconds(self.lease));
        let is_mine: bool = self.store.script(&call).await?;
        Ok(is_mine.then_some(lock))
    }

    /// Another's lock stays: this one may have ended by itself meanwhile.
    pub async fn unlock(&self, lock: Lock) -> Result<(), SharedError> {
        let mut call = self.scripts.unlock.call();
        call.key(lock.key).arg(lock.owner);
        Ok(self.store.script(&call).await?)
    }

    fn session(&self, name: &str) -> String {
        format!("{}session:{name}", self.prefix)
    }

    fn value(&self, id: &SessionId, record: &Record) -> Result<Vec<u8>, SharedError> {
        let text = serde_json::to_vec(record).map_err(|_| SharedError::Sealing)?;
        if text.len() > LARGEST {
            return Err(SharedError::TooLarge);
        }
        Ok(self.keys.sealer(VALUE, id.as_bytes())?.seal(&text)?)
    }

    /// The sets that name the sessions of a person and of a session of the provider, as the first keys know them.
    fn sets(&self, subject: Option<&str>, sid: Option<&str>, keys: usize) -> Vec<String> {
        let named = [("sub", subject), ("sid", sid)];
        let named = named
            .into_iter()
            .filter_map(|(kind, name)| Some((kind, name?)));
        named
            .flat_map(|(kind, name)| self.name(kind, name.as_bytes(), keys))
            .collect()
    }

    fn name<'a>(
        &'a self,
        kind: &'a str,
        of: &'a [u8],
        keys: usize,
    ) -> impl Iterator<Item = String> + 'a {
        let names = self.keys.names(kind, of).take(keys);
        names.map(move |name| format!("{}{kind}:{}", self.prefix, URL_SAFE_NO_PAD.encode(name)))
    }
}

fn draw_name() -> Result<String, SharedError> {
    let drawn = SessionId::draw().ok_or(SharedError::Sealing)?;
    Ok(drawn.public_name())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long a session lasts that nobody uses, and a lock that nobody gives back.
pub struct Times {
    pub idle: Duration,
    pub lease: Duration,
}

/// What a session's value is sealed for.
const VALUE: &str = "session in a store";

/// The right to renew a session.
pub struct Lock {
    key: String,
    owner: String,
    /// It is not given up later than this, whatever its owner does.
    ends: Instant,
}

impl Lock {
    pub fn ends(&self) -> Instant {
        self.ends
    }
}
