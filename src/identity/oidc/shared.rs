//! Sessions in a store, for several nodes.
//!
//! What is written there opens only with the session's id, which is in the browser's cookie alone, and with the keys of
//! the configuration: neither a copy of the store nor one of the whole node is a session of anybody. The store
//! knows a session by a digest of its id, and a person by a digest under the keys.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::{Script, cmd};

use super::seal::KeyRing;
use super::session::{Record, SessionId};
use crate::stores::{Redis, StoreError};

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
    lock: u64,
    scripts: Scripts,
}

struct Scripts {
    insert: Script,
    end: Script,
    unlock: Script,
}

/// KEYS: the session, then sets of sessions of the same person and provider session. ARGV: its name, value and idle
/// milliseconds, now and its end in Unix milliseconds.
const INSERT: &str = "
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', ARGV[4])
  redis.call('ZADD', KEYS[i], ARGV[5], ARGV[1])
  redis.call('PEXPIREAT', KEYS[i], ARGV[5])
end";

/// KEYS: such sets. ARGV: what stands before a session's name in its key.
const END: &str = "
local ended = 0
for i = 1, #KEYS do
  for _, name in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
    ended = ended + redis.call('DEL', ARGV[1] .. name)
  end
  redis.call('DEL', KEYS[i])
end
return ended";

const UNLOCK: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";

impl Shared {
    pub fn new(store: Arc<Redis>, keys: Arc<KeyRing>, provider: &str, times: Times) -> Shared {
        Shared {
            store,
            keys,
            prefix: format!("northgate:{{oidc:{provider}}}:"),
            idle: milliseconds(times.idle),
            lock: milliseconds(times.lock),
            scripts: Scripts {
                insert: Script::new(INSERT),
                end: Script::new(END),
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
        let mut call = self.scripts.insert.prepare_invoke();
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

    /// Ends the sessions of a person, or those of one session of the provider, and gives how many.
    pub async fn end(
        &self,
        subject: Option<&str>,
        sid: Option<&str>,
    ) -> Result<usize, SharedError> {
        let mut call = self.scripts.end.prepare_invoke();
        for set in self.sets(subject, sid, usize::MAX) {
            call.key(set);
        }
        call.arg(self.session(""));
        Ok(self.store.script(&call).await?)
    }

    /// Whether this is the first time that anybody shows it within so many seconds.
    pub async fn is_new(&self, what: &str, seconds: u64) -> Result<bool, SharedError> {
        let mut command = cmd("SET");
        let name = self
            .name("jti", what.as_bytes(), 1)
            .next()
            .unwrap_or_default();
        command
            .arg(name)
            .arg("1")
            .arg("NX")
            .arg("EX")
            .arg(seconds.max(1));
        let done: Option<String> = self.store.command(&command).await?;
        Ok(done.is_some())
    }

    /// A lock on the renewal of one session; `None` where another node has it.
    pub async fn lock(&self, id: &SessionId) -> Result<Option<Lock>, SharedError> {
        let lock = Lock {
            key: format!("{}lock:{}", self.prefix, id.public_name()),
            owner: SessionId::draw().ok_or(SharedError::Sealing)?.public_name(),
        };
        let mut command = cmd("SET");
        command
            .arg(&lock.key)
            .arg(&lock.owner)
            .arg("NX")
            .arg("PX")
            .arg(self.lock);
        let done: Option<String> = self.store.command(&command).await?;
        Ok(done.map(|_| lock))
    }

    /// Another's lock stays: this one may have ended by itself meanwhile.
    pub async fn unlock(&self, lock: Lock) -> Result<(), SharedError> {
        let mut call = self.scripts.unlock.prepare_invoke();
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

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long a session lasts that nobody uses, and a lock that nobody gives back.
pub struct Times {
    pub idle: Duration,
    pub lock: Duration,
}

/// What a session's value is sealed for.
const VALUE: &str = "session in a store";

/// The right to renew a session.
pub struct Lock {
    key: String,
    owner: String,
}
