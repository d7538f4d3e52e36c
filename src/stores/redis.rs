//! Redis, and what speaks its protocol.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration as StdDuration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{
    Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError, ScriptInvocation,
    TlsCertificates,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::text::{Duration, Secret, SecretValue, Spanned, Subject, open_file, quoted};

/// A server of Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `redis://HOST:PORT/DATABASE`, `rediss://…` for TLS, or `unix:///run/redis.sock`.
    pub url: Spanned<String>,
    /// Default: Redis's own `default`.
    pub username: Option<String>,
    /// Default: none is given.
    pub password: Option<Spanned<Secret>>,
    /// PEM file with the authorities to trust instead of the system's, relative to the configuration file. For `rediss`.
    pub ca: Option<Spanned<PathBuf>>,
    /// For a whole command: connection, TLS and answer. Default `"500ms"`.
    pub timeout: Option<Duration>,
}

const TIMEOUT: StdDuration = StdDuration::from_millis(500);
const LARGEST_CA: u64 = 1 << 20;

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no answer after {0:?}")]
    Deadline(StdDuration),
    #[error("{0}")]
    Redis(#[from] RedisError),
}

/// One server, and one connection to it for everybody, which is made when it is first needed and again when it breaks.
pub struct Redis {
    client: Client,
    timeout: StdDuration,
    written: (Config, Option<SecretValue>, Option<Vec<u8>>),
    connection: OnceCell<ConnectionManager>,
}

impl Redis {
    /// `None` after diagnostics.
    pub fn build(
        config: &Spanned<Config>,
        base: &Path,
        subject: &mut Subject<'_>,
    ) -> Option<Redis> {
        let place = parse(&config.url, &mut subject.key("url"))?;
        let password = match &config.password {
            None => None,
            Some(secret) => Some(
                secret
                    .read(base)
                    .map_err(|error| {
                        subject.key("password").error(secret.span, error);
                    })
                    .ok()?,
            ),
        };
        let ca = match &config.ca {
            None => None,
            Some(path) => Some(
                read(&base.join(&path.value))
                    .map_err(|error| {
                        subject.key("ca").error(path.span, error);
                    })
                    .ok()?,
            ),
        };
        let client = client(place, config, password.as_ref(), ca.clone())
            .map_err(|error| {
                subject.error(config.span, format!("cannot be used: {error}"));
            })
            .ok()?;
        Some(Redis {
            client,
            timeout: config.timeout.map_or(TIMEOUT, |timeout| timeout.as_std()),
            written: (config.value.clone(), password, ca),
            connection: OnceCell::new(),
        })
    }

    pub(super) fn is_same(&self, other: &Redis) -> bool {
        self.written == other.written
    }

    /// Has a command done. It is sent again where the connection turns out to be broken, so that it may be done twice.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.ask(Ask::Command(command)).await
    }

    /// As [`Redis::command`], for a script.
    pub async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.ask(Ask::Script(script)).await
    }

    /// The manager learns that a connection has broken by a command that fails, and makes another for the next one.
    async fn ask<T: FromRedisValue>(&self, ask: Ask<'_>) -> Result<T, StoreError> {
        let asked = async {
            let connect = || std::future::ready(self.connect());
            let connection = self.connection.get_or_try_init(connect).await?;
            match ask.of(connection.clone()).await {
                Err(error) if error.is_io_error() || error.is_connection_dropped() => {
                    ask.of(connection.clone()).await
                }
                answer => answer,
            }
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::Deadline(self.timeout)),
        }
    }

    fn connect(&self) -> Result<ConnectionManager, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_number_of_retries(0);
        ConnectionManager::new_lazy_with_config(self.client.clone(), config)
    }
}

/// What is asked.
enum Ask<'a> {
    Command(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
}

impl Ask<'_> {
    async fn of<T: FromRedisValue>(
        &self,
        mut connection: ConnectionManager,
    ) -> Result<T, RedisError> {
        match self {
            Ask::Command(command) => command.query_async(&mut connection).await,
            Ask::Script(script) => script.invoke_async(&mut connection).await,
        }
    }
}

/// The address and the secrets stay out of it.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

fn parse(url: &Spanned<String>, subject: &mut Subject<'_>) -> Option<ConnectionInfo> {
    let known = ["redis://", "rediss://", "unix://"];
    if !known.iter().any(|scheme| url.starts_with(scheme)) {
        let what = format!(
            "must be redis://…, rediss://… or unix://…, got {}",
            quoted(url)
        );
        subject.error(url.span, what);
        return None;
    }
    // What stands before an `@`, or in a query, is a password or leads to one.
    if url.contains('@') || url.contains('?') {
        subject
            .error(url.span, "must be an address alone")
            .help("username and password have keys of their own");
        return None;
    }
    match url.as_str().into_connection_info() {
        Ok(place) => Some(place),
        Err(error) => {
            subject.error(
                url.span,
                format!("is no address of a Redis server: {error}"),
            );
            None
        }
    }
}

fn client(
    place: ConnectionInfo,
    config: &Config,
    password: Option<&SecretValue>,
    ca: Option<Vec<u8>>,
) -> Result<Client, String> {
    let mut settings = place.redis_settings().clone();
    if let Some(username) = &config.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = password {
        let password = std::str::from_utf8(password.expose());
        settings = settings.set_password(password.map_err(|_| "the password is not UTF-8")?);
    }
    let place = place.set_redis_settings(settings);
    let client = match ca {
        None => Client::open(place),
        ca => {
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: ca,
            };
            Client::build_with_tls(place, certificates)
        }
    };
    client.map_err(|error| error.to_string())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    open_file(path)?.take(LARGEST_CA).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Diagnostics, Sources, Span};

    fn check(url: &str, expected: Option<&str>) {
        let mut diagnostics = Diagnostics::new();
        let url = Spanned {
            span: Span::start_of(Sources::new().add("a.toml", "")),
            value: url.to_owned(),
        };
        let parsed = parse(&url, &mut Subject::new(&mut diagnostics, "url"));
        let said: Vec<_> = diagnostics.iter().map(|one| &*one.message).collect();
        assert_eq!(said.first().copied(), expected, "{}", url.value);
        assert_eq!(parsed.is_some(), expected.is_none());
    }

    #[test]
    fn urls() {
        check("redis://127.0.0.1:6379", None);
        check("redis://redis.internal/3", None);
        check("rediss://redis.internal:6380/0", None);
        check("unix:///run/redis.sock", None);
        check(
            "http://redis",
            Some("url must be redis://…, rediss://… or unix://…, got \"http://redis\""),
        );
        check(
            "redis://:hunter2@redis",
            Some("url must be an address alone"),
        );
        check(
            "redis://redis/?password=x",
            Some("url must be an address alone"),
        );
    }
}
