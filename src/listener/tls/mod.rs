//! TLS termination: certificates by SNI, certificates of clients, ALPN, session tickets, and all of it anew when
//! its files change.

mod certificates;
mod client_auth;
mod config;
mod entry;
mod fault;
mod handshake;
mod ocsp;
mod suites;
mod validity;
mod watch;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::Ssl;
use pingora::protocols::tls::TlsStream;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::Protocol;
use super::stream::Downstream;
use crate::identity::ClientCertificate;
use crate::observability::CertificateMetrics;
use crate::text::{Diagnostics, Severity, Spanned, Subject};

use certificates::Certificates;
use client_auth::{ClientAuth, Verifier};
use entry::{Entry, Renewal};
use watch::now;

pub use config::{CertificateConfig, ClientAuthConfig, ClientAuthMode, TlsConfig};
pub use handshake::Handshake;

/// Terminates TLS for one listener.
pub(super) struct Terminator {
    serving: ArcSwap<Serving>,
    /// What it was made of. Nobody but the look at the files ever locks it.
    made_of: Mutex<Material>,
    has_files: bool,
    requires_certificates: bool,
}

/// What new connections are served with. A handshake keeps to the one that it began with.
struct Serving {
    acceptor: Acceptor,
    certificates: Arc<Certificates>,
    /// None where clients are not asked for certificates.
    verifier: Option<Arc<Verifier>>,
}

/// Everything that a [`Serving`] is made of.
struct Material {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    protocols: Vec<Protocol>,
    entries: Vec<Entry>,
    client_auth: Option<ClientAuth>,
    /// None where no key could be made; sessions then resume from a small memory.
    ticketer: Option<Arc<dyn ProducesTickets>>,
    metrics: CertificateMetrics,
}

impl std::fmt::Debug for Terminator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminator")
    }
}

impl Terminator {
    /// `protocols` are those to agree on, the best first. `None` after diagnostics.
    pub(super) fn build(
        config: &Spanned<TlsConfig>,
        protocols: Vec<Protocol>,
        base: &Path,
        metrics: CertificateMetrics,
        subject: &mut Subject<'_>,
    ) -> Option<Terminator> {
        let now = now();
        let before = subject.error_count();
        let provider = suites::provider(config, subject)?;
        let mut list = subject.key("certificates");
        if config.certificates.is_empty() {
            list.error(config.certificates.span, "is empty; it needs at least one");
        }
        let each = config.certificates.iter().enumerate();
        let entries: Vec<Entry> = each
            .filter_map(|(index, entry)| {
                Entry::build(entry, base, &provider, now, &mut list.index(index))
            })
            .collect();
        let client_auth = ClientAuth::build(
            config.client_auth.as_ref(),
            base,
            &provider,
            now,
            &mut subject.key("client_auth"),
        );
        let client_auth = client_auth
            .ok()
            .filter(|_| subject.error_count() == before)?;
        let ticketer = match Ticketer::new() {
            Ok(ticketer) => ticketer,
            Err(error) => {
                let what = format!("cannot make a session ticket key: {error}");
                subject.error(config.span, what);
                return None;
            }
        };
        let material = Material {
            provider,
            versions: suites::versions(config),
            protocols,
            entries,
            client_auth,
            ticketer: Some(ticketer),
            metrics,
        };
        for entry in &material.entries {
            material.tell_expiry(entry);
        }
        Some(Terminator {
            serving: ArcSwap::from_pointee(material.serving()),
            has_files: config.certificates.iter().any(|entry| entry.cert.is_some())
                || material.client_auth.is_some(),
            requires_certificates: config
                .client_auth
                .as_ref()
                .is_some_and(|said| said.value.mode == ClientAuthMode::Required),
            made_of: Mutex::new(material),
        })
    }

    /// `None` where the client and the gateway could not agree; what clients get wrong is not worth a log line
    /// each, so it is counted by the caller.
    pub(super) async fn handshake(
        &self,
        stream: Downstream,
    ) -> Option<(TlsStream<Downstream>, Option<Handshake>)> {
        let serving = self.serving.load_full();
        let stream = match serving.acceptor.tls_handshake(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                log::debug!("TLS handshake: {error}");
                return None;
            }
        };
        let session = stream.get_ssl()?;
        let client = match session.peer_certificate_der() {
            None => None,
            Some(der) => {
                let digest = stream.ssl_digest()?;
                let client = ClientCertificate::parse(der, &digest.cert_digest)?;
                // A resumed session was verified when it began, which may be long ago.
                let now = now();
                if client.expires() < now {
                    log::debug!("TLS handshake: a session of a certificate that has expired");
                    return None;
                }
                let chain = session.peer_cert_chain_der().unwrap_or_default();
                let verifier = serving.verifier.as_ref();
                if !verifier.is_none_or(|verifier| verifier.is_still_good(chain, now)) {
                    log::debug!("TLS handshake: a session that a list too old covers");
                    return None;
                }
                Some(client)
            }
        };
        let handshake = Handshake::new(session.server_name(), &serving.certificates, client);
        Some((stream, handshake))
    }

    pub(super) fn requires_certificates(&self) -> bool {
        self.requires_certificates
    }

    pub(super) fn has_files(&self) -> bool {
        self.has_files
    }

    /// Takes up files that have changed since the last look. Blocks on the file system.
    pub(super) fn renew(&self, listener: &str) {
        let mut diagnostics = Diagnostics::new();
        let mut listeners = Subject::new(&mut diagnostics, "listeners");
        let mut subject = listeners.key(listener);
        // After a panic in here, what there is still serves.
        let mut material = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        if material.renew(now(), listener, &mut subject.key("tls")) {
            self.serving.store(Arc::new(material.serving()));
        }
        for one in diagnostics.iter() {
            match one.severity {
                Severity::Error => log::error!("{}; what was there serves on", one.message),
                Severity::Warning => log::warn!("{}", one.message),
            }
        }
    }
}

impl Material {
    fn serving(&self) -> Serving {
        let mut certificates = Certificates::default();
        for entry in &self.entries {
            certificates.add(entry.names(), entry.key());
        }
        let certificates = Arc::new(certificates);
        let verifier = self.client_auth.as_ref().map(ClientAuth::verifier);
        let asks = match verifier.clone() {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(verifier) => verifier,
        };
        let mut server = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)
            .expect("the provider has a suite for one of the versions, as was checked")
            .with_client_cert_verifier(asks)
            .with_cert_resolver(certificates.clone());
        let name = |protocol: &Protocol| protocol.alpn().to_vec();
        server.alpn_protocols = self.protocols.iter().map(name).collect();
        // The order of the list is an order of preference.
        server.ignore_client_order = true;
        if let Some(ticketer) = &self.ticketer {
            server.ticketer = ticketer.clone();
        }
        Serving {
            acceptor: Acceptor::from_server_config(Arc::new(server)),
            certificates,
            verifier,
        }
    }

    /// Whether there is anything new to serve with.
    fn renew(&mut self, now: i64, listener: &str, subject: &mut Subject<'_>) -> bool {
        let mut is_new = false;
        let mut list = subject.key("certificates");
        for (index, entry) in self.entries.iter_mut().enumerate() {
            match entry.renew(&self.provider, now, &mut list.index(index)) {
                Renewal::None => {}
                Renewal::Refused => self.metrics.refused(),
                Renewal::Unstapled => {
                    log::warn!(
                        "listener {listener}: the OCSP response of {} is past its nextUpdate and no longer stapled",
                        entry.label()
                    );
                    is_new = true;
                }
                Renewal::Taken => {
                    log::info!("listener {listener}: took up {}", entry.label());
                    self.metrics.taken();
                    self.metrics
                        .not_after(&entry.label(), entry.validity().not_after());
                    is_new = true;
                }
            }
        }
        let Some(client_auth) = &mut self.client_auth else {
            return is_new;
        };
        match client_auth.renew(&self.provider, now, &mut subject.key("client_auth")) {
            Renewal::None | Renewal::Unstapled => is_new,
            Renewal::Refused => {
                self.metrics.refused();
                is_new
            }
            Renewal::Taken => {
                // Sessions that began under other rules are not resumed, as their clients would not be verified.
                self.ticketer = Ticketer::new()
                    .inspect_err(|error| log::error!("listener {listener}: {error}"))
                    .ok();
                log::info!("listener {listener}: took up the files of client_auth");
                self.metrics.taken();
                true
            }
        }
    }

    fn tell_expiry(&self, entry: &Entry) {
        self.metrics
            .not_after(&entry.label(), entry.validity().not_after());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;
    use crate::observability::Metrics;
    use crate::text::{Secret, Sources, Span};

    /// Set in the process that may open only a few files.
    const FEW_FILES: &str = "NORTHGATE_TEST_FEW_FILES";

    #[test]
    fn what_could_not_be_read_is_read_again_and_told_of_once() {
        if std::env::var_os(FEW_FILES).is_some() {
            return renews_when_files_can_be_opened_again();
        }
        // The limit goes for a whole process, and other tests run in this one.
        let (_, module) = module_path!().split_once("::").unwrap();
        let name = "what_could_not_be_read_is_read_again_and_told_of_once";
        let output = Command::new("sh")
            .args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::{name}")])
            .env(FEW_FILES, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
    }

    fn renews_when_files_can_be_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let issue = || {
            let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
            std::fs::write(at("a.key"), made.signing_key.serialize_pem()).unwrap();
            let alone = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(at("a.key"), alone).unwrap();
            for name in ["a.pem", "ca.pem"] {
                std::fs::write(at(name), made.cert.pem()).unwrap();
            }
        };
        issue();
        let mut material = material(at("a.pem"), at("a.key"), at("ca.pem"));
        let mut now = now();
        let mut renew = |after: i64| {
            now += after;
            let mut diagnostics = Diagnostics::new();
            let mut subject = Subject::new(&mut diagnostics, "tls");
            let is_new = material.renew(now, "public", &mut subject);
            let told: Vec<_> = diagnostics.iter().map(|one| one.message.clone()).collect();
            (is_new, told)
        };
        issue();
        let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        let (is_new, told) = renew(0);
        assert!(!is_new);
        let is_told = |key: &str| {
            let begin = format!("tls.{key}: cannot read {}", folder.path().display());
            told.iter().any(|message| message.starts_with(&begin))
        };
        let keys = [
            "certificates[0].cert",
            "certificates[0].key",
            "client_auth.ca",
        ];
        assert!(keys.iter().all(|key| is_told(key)), "{told:?}");
        // Once more at once, and once more as the files are old enough to be taken as they look.
        assert_eq!(renew(0), (false, Vec::new()));
        assert_eq!(renew(10), (false, Vec::new()));
        drop(hoard);
        assert_eq!(renew(0), (true, Vec::new()));
        assert_eq!(renew(0), (false, Vec::new()));
        // What is bad is not read again, so that it is told of by the first look alone.
        std::fs::write(at("a.pem"), "garbage").unwrap();
        assert_eq!(renew(0).1.len(), 1);
        assert_eq!(renew(0), (false, Vec::new()));
    }

    fn material(cert: PathBuf, key: PathBuf, ca: PathBuf) -> Material {
        let span = Span::start_of(Sources::new().add("t.toml", ""));
        let certificate = CertificateConfig {
            cert: Some(Spanned::new(cert, span)),
            key: Some(Spanned::new(Secret::File(key), span)),
            ..CertificateConfig::default()
        };
        let client_auth = ClientAuthConfig {
            mode: ClientAuthMode::Required,
            ca: Some(Spanned::new(ca, span)),
            crl: Vec::new(),
        };
        let config = TlsConfig {
            certificates: Spanned::new(vec![Spanned::new(certificate, span)], span),
            min_version: config::TlsVersion::default(),
            suites: Vec::new(),
            client_auth: Some(Spanned::new(client_auth, span)),
        };
        let terminator = Terminator::build(
            &Spanned::new(config, span),
            vec![Protocol::Http11],
            Path::new("/"),
            Metrics::default().listener("public").certificates,
            &mut Subject::new(&mut Diagnostics::new(), "tls"),
        );
        terminator.unwrap().made_of.into_inner().unwrap()
    }
}
