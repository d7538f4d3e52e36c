//! `discovery.etcd`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::Url;
use crate::text::{Secret, Spanned, Subject};
use crate::trust::{read_chain, read_key, warn_of_readers};

/// Endpoints are the values of the keys below a prefix of etcd, version 3.4 or later.
///
/// A value is an address, `10.0.0.5:8002` or `orders.internal:8002`; or JSON such as
/// `{"address": "10.0.0.5:8002", "weight": 2, "priority": 0, "zone": "a", "labels": {"version": "v1"}}`, all but the address
/// left out at will; or what etcd's own naming for gRPC writes, `{"Op": 0, "Addr": "10.0.0.5:8002"}`. A key with any other
/// value is left out, and the log says so. A key that ends, with its lease for example, is an endpoint that is gone.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Servers of one cluster, `http://HOST:PORT` or `https://HOST:PORT`. One after the other is asked, until one answers.
    pub endpoints: Spanned<Vec<Spanned<Url>>>,
    /// What the keys begin with: `"/services/users/"`.
    pub prefix: Spanned<String>,
    /// Default: nobody logs in.
    pub username: Option<Spanned<String>>,
    /// Of `username`.
    pub password: Option<Spanned<Secret>>,
    /// For `https`. Default: the authorities of the system are believed, and no certificate is shown.
    pub tls: Option<Spanned<TlsConfig>>,
}

/// TLS towards a registry.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with the authorities to trust instead of the system's, relative to the configuration file.
    pub ca: Option<Spanned<PathBuf>>,
    /// Shown to servers that ask for one.
    pub client_certificate: Option<CertificateConfig>,
}

/// A certificate chain and its key, as PEM.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    pub cert: Spanned<PathBuf>,
    pub key: Spanned<Secret>,
}

impl Config {
    pub(super) fn is_tls(&self) -> bool {
        self.endpoints.value.iter().any(|url| url.value.is_https())
    }

    /// Says what is wrong with it. Blocks on the file system; no server is asked.
    pub(super) fn check(&self, base: &Path, subject: &mut Subject<'_>) {
        self.check_endpoints(&mut subject.key("endpoints"));
        if self.prefix.value.is_empty() {
            let mut subject = subject.key("prefix");
            subject
                .error(self.prefix.span, "is empty, which is every key there is")
                .help("write what the keys begin with, as in \"/services/users/\"");
        }
        self.check_user(base, subject);
        let Some(tls) = &self.tls else { return };
        let mut subject = subject.key("tls");
        match self.is_tls() {
            true => tls.value.check(base, &mut subject),
            false => {
                subject.error(tls.span, "is for https:// alone");
            }
        }
    }

    fn check_endpoints(&self, subject: &mut Subject<'_>) {
        let all = &self.endpoints;
        let Some(first) = all.value.first() else {
            subject.error(all.span, "must name at least one server");
            return;
        };
        for (index, url) in all.value.iter().enumerate() {
            let mut subject = subject.index(index);
            if url.value.is_https() != first.value.is_https() {
                subject.error(url.span, "must be https where others are, or none may be");
            }
            let path = url.value.uri().path_and_query();
            if path.is_some_and(|path| path.as_str() != "/") {
                let what = format!("must end with its port, got {}", url.value.as_str());
                subject.error(url.span, what);
            }
        }
    }

    fn check_user(&self, base: &Path, subject: &mut Subject<'_>) {
        let (username, password) = (self.username.as_ref(), self.password.as_ref());
        match (username, password) {
            (Some(username), None) => {
                let mut subject = subject.key("username");
                subject.error(username.span, "needs a password");
            }
            (None, Some(password)) => {
                let mut subject = subject.key("password");
                subject.error(password.span, "needs a username");
            }
            _ => {}
        }
        let Some(password) = password else { return };
        let mut subject = subject.key("password");
        if let Err(error) = password.value.read(base) {
            subject.error(password.span, error);
        }
        warn_of_readers(password, base, &mut subject);
        let mut urls = self.endpoints.value.iter();
        if urls.any(|url| !url.value.is_https() && !url.value.is_local()) {
            subject
                .warning(password.span, "is sent to another machine in the clear")
                .help("https://… has TLS");
        }
    }
}

impl TlsConfig {
    fn check(&self, base: &Path, subject: &mut Subject<'_>) {
        if let Some(ca) = &self.ca
            && let Err(error) = read_chain(base.join(&ca.value))
        {
            subject.key("ca").error(ca.span, error);
        }
        let Some(pair) = &self.client_certificate else {
            return;
        };
        let mut subject = subject.key("client_certificate");
        if let Err(error) = read_chain(base.join(&pair.cert.value)) {
            subject.key("cert").error(pair.cert.span, error);
        }
        let mut subject = subject.key("key");
        match read_key(&pair.key.value, base) {
            Err(error) => {
                subject.error(pair.key.span, error);
            }
            Ok(_) => warn_of_readers(&pair.key, base, &mut subject),
        }
    }
}
