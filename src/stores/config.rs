//! `[stores.NAME.redis]`, and what connections are made with by it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration as StdDuration;

use redis::RedisConnectionInfo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_rustls::TlsConnector;

use super::dial::Dialer;
use super::place::{Place, Places, is_local};
use crate::text::{Duration, Secret, SecretValue, Spanned, Subject};
use crate::trust::{PemError, read_chain, system_authorities};

/// Redis or Valkey: one server, the master that sentinels know, or a cluster. Exactly one of `url`, `sentinel` and
/// `cluster` says where.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One server: `redis://HOST:PORT/DATABASE`, `rediss://…` for TLS, or `unix:///run/redis.sock`.
    pub url: Option<Spanned<String>>,
    /// The master that sentinels name, which is asked for anew when it cannot be reached or is none any more.
    pub sentinel: Option<Spanned<SentinelConfig>>,
    /// Some nodes of a cluster, `redis://HOST:PORT` or `rediss://…` for all of its nodes; the others are learned from
    /// them. Nodes that announce an address other than these need a certificate for that one.
    pub cluster: Option<Spanned<Vec<Spanned<String>>>>,
    /// With sentinels it has to be allowed `ROLE`, in a cluster `CLUSTER SLOTS`. Default: Redis's own `default`.
    pub username: Option<String>,
    /// Default: none is given.
    pub password: Option<Spanned<Secret>>,
    /// PEM file with the authorities to trust instead of the system's, relative to the configuration file. For `rediss`.
    pub ca: Option<Spanned<PathBuf>>,
    /// Shown to servers that ask for one. For `rediss`.
    pub client_certificate: Option<Spanned<CertificateConfig>>,
    /// For a whole command: connection, TLS and answer. What waits for longer fails, and until the server answers
    /// again, which is found out beside the requests, all others fail at once. Default `"500ms"`.
    pub timeout: Option<Duration>,
}

/// Sentinels that know which server is the master.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentinelConfig {
    /// What they call it.
    pub master: String,
    /// `redis://HOST:PORT`, port 26379 where there is none; or `rediss://…` for TLS, to the master too. One that answers is enough.
    pub urls: Spanned<Vec<Spanned<String>>>,
    /// Of the master. Default 0.
    #[serde(default)]
    pub database: u16,
    /// For the sentinels themselves. Default: Redis's own `default`.
    pub username: Option<String>,
    /// For the sentinels themselves. Default: none is given.
    pub password: Option<Spanned<Secret>>,
}

/// A certificate chain and its key, as PEM.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    pub cert: Spanned<PathBuf>,
    pub key: Spanned<Secret>,
}

const TIMEOUT: StdDuration = StdDuration::from_millis(500);

/// What a store was built from. One of equal parts is the same store.
#[derive(PartialEq)]
pub(super) struct Parts {
    config: Config,
    password: Option<SecretValue>,
    sentinel_password: Option<SecretValue>,
    ca: Option<Vec<CertificateDer<'static>>>,
    certificate: Option<(Vec<CertificateDer<'static>>, SecretValue)>,
}

impl Parts {
    pub(super) fn reads_files(&self) -> bool {
        self.password.is_some()
            || self.sentinel_password.is_some()
            || self.ca.is_some()
            || self.certificate.is_some()
    }
}

/// A store that can be asked.
pub(super) struct Built {
    pub(super) parts: Parts,
    pub(super) places: Places,
    /// To the servers themselves.
    pub(super) dialer: Dialer,
    /// To their sentinels.
    pub(super) sentinel_dialer: Dialer,
}

impl Config {
    /// `None` after diagnostics. Blocks on the file system.
    pub(super) fn build(
        config: &Spanned<Config>,
        base: &Path,
        subject: &mut Subject<'_>,
    ) -> Option<Built> {
        let places = Places::parse(config, subject);
        let parts = config.read(base, subject);
        let (places, parts) = (places?, parts?);
        let tls = tls(&parts, &places, config, subject)?;
        config.warn(&places, subject);
        let timeout = config.timeout.map_or(TIMEOUT, |timeout| timeout.as_std());
        let dialer = |username: &Option<String>, password: &Option<SecretValue>, database: u16| {
            let mut settings = RedisConnectionInfo::default().set_db(i64::from(database));
            if let Some(username) = username {
                settings = settings.set_username(username);
            }
            if let Some(password) = password {
                // It was looked at before.
                settings = settings.set_password(String::from_utf8_lossy(password.expose()));
            }
            Dialer::new(settings, tls.clone(), timeout)
        };
        let sentinel = config.sentinel.as_ref();
        let name = sentinel.and_then(|sentinel| sentinel.username.clone());
        Some(Built {
            dialer: dialer(&config.username, &parts.password, places.database()),
            sentinel_dialer: dialer(&name, &parts.sentinel_password, 0),
            places,
            parts,
        })
    }

    /// Everything is looked at, so that every mistake is told.
    fn read(&self, base: &Path, subject: &mut Subject<'_>) -> Option<Parts> {
        let password = secret(self.password.as_ref(), base, &mut subject.key("password"));
        let sentinel_password = {
            let mut subject = subject.key("sentinel");
            let sentinel = self.sentinel.as_ref();
            let password = sentinel.and_then(|sentinel| sentinel.password.as_ref());
            secret(password, base, &mut subject.key("password"))
        };
        let ca = chain(self.ca.as_ref(), base, &mut subject.key("ca"));
        let certificate = match &self.client_certificate {
            None => Some(None),
            Some(pair) => {
                let mut subject = subject.key("client_certificate");
                let cert = chain(Some(&pair.cert), base, &mut subject.key("cert"));
                let key = secret(Some(&pair.key), base, &mut subject.key("key"));
                cert.zip(key).map(|(cert, key)| cert.zip(key))
            }
        };
        Some(Parts {
            config: self.clone(),
            password: password?,
            sentinel_password: sentinel_password?,
            ca: ca?,
            certificate: certificate?,
        })
    }

    fn warn(&self, places: &Places, subject: &mut Subject<'_>) {
        let sentinel = self.sentinel.as_ref();
        let of_sentinels = sentinel.and_then(|sentinel| sentinel.password.as_ref());
        let Some(password) = self.password.as_ref().or(of_sentinels) else {
            return;
        };
        let is_readable = |place: &Place| !place.is_tls && !is_local(&place.address);
        if places.all().any(is_readable) {
            subject
                .warning(
                    password.span,
                    "sends its password to another machine in the clear",
                )
                .help("rediss://… has TLS");
        }
    }
}

/// What is secret and given. The outer `None` follows a diagnostic.
fn secret(
    secret: Option<&Spanned<Secret>>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<Option<SecretValue>> {
    let Some(secret) = secret else {
        return Some(None);
    };
    match secret.read(base) {
        Ok(value) if std::str::from_utf8(value.expose()).is_err() => {
            subject.error(secret.span, "is not UTF-8");
            None
        }
        Ok(value) => Some(Some(value)),
        Err(error) => {
            subject.error(secret.span, error);
            None
        }
    }
}

/// The certificates of a file that is given. The outer `None` follows a diagnostic.
fn chain(
    path: Option<&Spanned<PathBuf>>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<Option<Vec<CertificateDer<'static>>>> {
    let Some(path) = path else {
        return Some(None);
    };
    match read_chain(base.join(&path.value)) {
        Ok(chain) => Some(Some(chain)),
        Err(error) => {
            subject.error(path.span, error);
            None
        }
    }
}

/// How TLS is done, where any is; the outer `None` follows a diagnostic.
fn tls(
    parts: &Parts,
    places: &Places,
    config: &Spanned<Config>,
    subject: &mut Subject<'_>,
) -> Option<Option<TlsConnector>> {
    let ca = config.ca.as_ref();
    let pair = config.client_certificate.as_ref();
    if !places.all().any(|place| place.is_tls) {
        let of_tls = ca.map(|it| ("ca", it.span));
        let Some((key, span)) = of_tls.or(pair.map(|it| ("client_certificate", it.span))) else {
            return Some(None);
        };
        subject.key(key).error(span, "is for rediss:// alone");
        return None;
    }
    let mut roots = RootCertStore::empty();
    for authority in parts.ca.iter().flatten() {
        if let (Err(error), Some(ca)) = (roots.add(authority.clone()), ca) {
            subject.key("ca").error(ca.span, error);
            return None;
        }
    }
    let roots = match ca {
        Some(_) => Arc::new(roots),
        None => match system_authorities() {
            Ok(roots) => roots,
            Err(error) => {
                let what = format!("the system's authorities cannot be read: {error}");
                subject.error(config.span, what);
                return None;
            }
        },
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions of TLS")
        .with_root_certificates(roots);
    let built = match (&parts.certificate, pair) {
        (Some((chain, key)), Some(pair)) => {
            let key = PrivateKeyDer::from_pem_slice(key.expose());
            let built = key.map_err(|_| PemError::NoKey.to_string());
            let built = built.and_then(|key| {
                let built = builder.with_client_auth_cert(chain.clone(), key);
                built.map_err(|error| error.to_string())
            });
            built.map_err(|error| {
                let mut subject = subject.key("client_certificate");
                subject.key("key").error(pair.key.span, error);
            })
        }
        _ => Ok(builder.with_no_client_auth()),
    };
    Some(Some(TlsConnector::from(Arc::new(built.ok()?))))
}
