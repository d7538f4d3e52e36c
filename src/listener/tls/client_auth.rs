//! Certificates of clients: who signs them, which are revoked, and verifying them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::config::{ClientAuthConfig, ClientAuthMode};
use super::entry::Renewal;
use super::pem::{read_chain, read_revocation_lists};
use super::watch::Watched;
use crate::identity::ClientCertificate;
use crate::text::{Spanned, Subject};

/// How clients are verified, and the files that say so.
pub(super) struct ClientAuth {
    config: Spanned<ClientAuthConfig>,
    base: PathBuf,
    watched: Watched,
    loaded: Loaded,
}

/// All that belongs together, from one reading.
struct Loaded {
    authorities: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    verifier: Arc<Verifier>,
}

impl ClientAuth {
    /// `Ok(None)` where none is asked for; an error after diagnostics.
    pub(super) fn build(
        config: Option<&Spanned<ClientAuthConfig>>,
        base: &Path,
        provider: &Arc<CryptoProvider>,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Result<Option<ClientAuth>, Told> {
        let Some(config) = config.filter(|config| config.mode != ClientAuthMode::Off) else {
            return Ok(None);
        };
        let watched = Watched::new(files(config, base), now);
        let loaded = Loaded::read(config, base, provider, now, subject).ok_or(Told)?;
        Ok(Some(ClientAuth {
            config: config.clone(),
            base: base.to_owned(),
            watched,
            loaded,
        }))
    }

    /// Reads the files again if they have changed. What was there stays unless all of the new is good.
    pub(super) fn renew(
        &mut self,
        provider: &Arc<CryptoProvider>,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Renewal {
        if !self.watched.has_changed(now) {
            return Renewal::None;
        }
        match Loaded::read(&self.config, &self.base, provider, now, subject) {
            None => Renewal::Refused,
            Some(loaded) if loaded.is_same(&self.loaded) => Renewal::None,
            Some(loaded) => {
                self.loaded = loaded;
                Renewal::Taken
            }
        }
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.loaded.verifier.clone()
    }
}

/// The diagnostics say why.
pub(super) struct Told;

impl Loaded {
    fn read(
        config: &Spanned<ClientAuthConfig>,
        base: &Path,
        provider: &Arc<CryptoProvider>,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Option<Loaded> {
        let (authorities, roots) = authorities(config, base, subject)?;
        let mut lists = Vec::new();
        let mut is_sound = true;
        let mut each = subject.key("crl");
        for (index, path) in config.crl.iter().enumerate() {
            let mut subject = each.index(index);
            match revocation_lists(path, base, &roots, provider) {
                Ok(read) => {
                    if read.iter().any(|list| is_late(list, now)) {
                        let what = "is past its nextUpdate: no certificate that it covers is good";
                        subject.warning(path.span, what);
                    }
                    lists.extend(read);
                }
                Err(error) => {
                    subject.error(path.span, error);
                    is_sound = false;
                }
            }
        }
        if !is_sound {
            return None;
        }
        let is_optional = config.mode == ClientAuthMode::Optional;
        match verifier(&roots, provider, lists.clone(), is_optional) {
            Ok(verifier) => Some(Loaded {
                authorities,
                lists,
                verifier: Arc::new(Verifier(verifier)),
            }),
            Err(error) => {
                subject.key("ca").error(config.ca.as_ref()?.span, error);
                None
            }
        }
    }

    fn is_same(&self, other: &Loaded) -> bool {
        self.authorities == other.authorities && self.lists == other.lists
    }
}

/// The authorities as they are written, and as they verify.
type Authorities = (Vec<CertificateDer<'static>>, Arc<RootCertStore>);

fn authorities(
    config: &Spanned<ClientAuthConfig>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Option<Authorities> {
    let Some(path) = &config.ca else {
        subject.error(config.span, "needs ca").help(
            "ca = \"…\" is the PEM file of the authorities that sign certificates of clients",
        );
        return None;
    };
    let mut subject = subject.key("ca");
    let authorities = match read_chain(base.join(&path.value)) {
        Ok(authorities) => authorities,
        Err(error) => {
            subject.error(path.span, error);
            return None;
        }
    };
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities.iter().enumerate() {
        if let Err(error) = roots.add(authority.clone()) {
            let what = format!("certificate {} cannot sign others: {error}", index + 1);
            subject.error(path.span, what);
            return None;
        }
    }
    Some((authorities, Arc::new(roots)))
}

/// The lists of one file, each of which a verifier can use.
fn revocation_lists(
    path: &Spanned<PathBuf>,
    base: &Path,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let lists = read_revocation_lists(base.join(&path.value)).map_err(|error| error.to_string())?;
    match verifier(roots, provider, lists.clone(), false) {
        Ok(_) => Ok(lists),
        Err(VerifierBuilderError::InvalidCrl(
            CertRevocationListError::ParseError | CertRevocationListError::Other(_),
        )) => Err("is no revocation list in DER or PEM".to_owned()),
        Err(VerifierBuilderError::InvalidCrl(error)) => Err(format!(
            "is a revocation list of a kind that cannot be used: {error:?}"
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    is_optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .with_crls(lists)
        .enforce_revocation_expiration();
    match is_optional {
        true => builder.allow_unauthenticated().build(),
        false => builder.build(),
    }
}

fn is_late(list: &CertificateRevocationListDer<'_>, now: i64) -> bool {
    let parsed = CertificateRevocationList::from_der(list);
    let next = parsed.ok().and_then(|(_, list)| list.next_update());
    next.is_some_and(|next| next.timestamp() <= now)
}

fn files(config: &ClientAuthConfig, base: &Path) -> Vec<PathBuf> {
    let named = config.ca.iter().chain(&config.crl);
    named.map(|path| base.join(&path.value)).collect()
}

/// Takes only certificates that can be put into words, too: what is verified is asked for its names afterwards,
/// and the engine panics on one that it cannot parse.
#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        match ClientCertificate::parse(end_entity, &[]) {
            Some(_) => Ok(verified),
            None => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
