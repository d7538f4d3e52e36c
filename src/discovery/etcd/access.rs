//! How etcd is connected to: its servers, the user, TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Identity, TlsOptions};
use rustls::RootCertStore;

use super::config::Config;
use super::error::Error;
use crate::text::Secret;
use crate::trust::{PemError, read_bytes, read_chain, read_key, system_authorities};

/// For a connection. It leaves time for the next server before a gateway that starts has waited long enough.
const CONNECT: Duration = Duration::from_secs(2);

/// Where etcd is, and who asks. Files and secrets are read anew for each connection, so that what is rotated is used with
/// the next one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Access {
    servers: Box<[Box<str>]>,
    user: Option<(Box<str>, Secret)>,
    tls: Option<Tls>,
    /// The folder that paths are relative to.
    base: PathBuf,
}

#[derive(Clone, Debug, PartialEq)]
struct Tls {
    ca: Option<PathBuf>,
    certificate: Option<(PathBuf, Secret)>,
}

impl Access {
    pub(super) fn new(config: &Config, base: &Path) -> Access {
        let servers = config.endpoints.value.iter();
        let is_tls = config.is_tls();
        let user = config
            .username
            .as_ref()
            .map(|name| name.value.as_str())
            .zip(config.password.as_ref());
        let pair = config
            .tls
            .as_ref()
            .and_then(|tls| tls.client_certificate.as_ref());
        Access {
            servers: servers.map(|url| url.value.as_str().into()).collect(),
            user: user.map(|(name, password)| (name.into(), password.value.clone())),
            tls: is_tls.then(|| Tls {
                ca: config
                    .tls
                    .as_ref()
                    .and_then(|tls| tls.ca.as_ref())
                    .map(|ca| ca.value.clone()),
                certificate: pair.map(|pair| (pair.cert.value.clone(), pair.key.value.clone())),
            }),
            base: base.to_owned(),
        }
    }

    pub(super) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The server of this number, as it is written.
    pub(super) fn server(&self, number: usize) -> &str {
        self.servers.get(number).map_or("", |server| server)
    }

    /// Connects to the server of this number, and logs in where there is a user.
    pub(super) async fn connect(&self, number: usize) -> Result<Client, Error> {
        let access = self.clone();
        let read = tokio::task::spawn_blocking(move || access.options());
        let options = read.await.map_err(|_| Error::Ended)??;
        Ok(Client::connect([self.server(number)], Some(options)).await?)
    }

    /// Blocks on the file system.
    fn options(&self) -> Result<ConnectOptions, Error> {
        let refuse = |error: &dyn std::fmt::Display| Error::Access(error.to_string().into());
        // A server without a leader does not know what happens.
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_require_leader(true);
        if let Some((name, password)) = &self.user {
            let password = password.read(&self.base).map_err(|error| refuse(&error))?;
            let password = String::from_utf8_lossy(password.expose()).into_owned();
            options = options.with_user(&**name, password);
        }
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.options(&self.base).map_err(|error| refuse(&error))?);
        }
        Ok(options)
    }
}

impl Tls {
    fn options(&self, base: &Path) -> Result<TlsOptions, Box<dyn std::error::Error>> {
        let roots = match &self.ca {
            None => system_authorities()?,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in read_chain(base.join(path))? {
                    roots.add(authority)?;
                }
                Arc::new(roots)
            }
        };
        let mut options = TlsOptions::new().trust_anchors(roots.roots.iter().cloned());
        if let Some((cert, key)) = &self.certificate {
            // Looked at first, for words that name the file.
            read_chain(base.join(cert))?;
            read_key(key, base)?;
            let cert = read_bytes(&base.join(cert))?;
            let key = key.read(base).map_err(PemError::from)?;
            options = options.identity(Identity::from_pem(cert, key.expose()));
        }
        Ok(options)
    }
}

/// Where it is, without what lets in.
impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.servers.join(", "))
    }
}
