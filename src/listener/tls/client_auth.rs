//! Certificates of clients: who signs them, which are revoked, and verifying them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
use super::fault::Fault;
use super::watch::Watched;
use crate::identity::{ClientCertificate, read_chain, read_revocation_lists};
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
    lists: Lists,
    verifier: Arc<Verifier>,
}

impl ClientAuth {
    /// `Ok(None)` where none is asked for; a fault after diagnostics.
    pub(super) fn build(
        config: Option<&Spanned<ClientAuthConfig>>,
        base: &Path,
        provider: &Arc<CryptoProvider>,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Result<Option<ClientAuth>, Fault> {
        let Some(config) = config.filter(|config| config.mode != ClientAuthMode::Off) else {
            return Ok(None);
        };
        let watched = Watched::new(files(config, base), now);
        let loaded = Loaded::read(config, base, provider, now, subject)?;
        Ok(Some(ClientAuth {
            config: config.clone(),
            base: base.to_owned(),
            watched,
            loaded,
        }))
    }

    /// Reads the files again if they have changed, or could not be read. What was there stays unless all of the new
    /// is good.
    pub(super) fn renew(
        &mut self,
        provider: &Arc<CryptoProvider>,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Renewal {
        if !self.watched.is_due(now) {
            return Renewal::None;
        }
        let before = subject.mark();
        let read = Loaded::read(&self.config, &self.base, provider, now, subject);
        let is_repeated = self.watched.is_repeated(read.as_ref().err());
        match read {
            Err(_) if is_repeated => {
                subject.unsay(before);
                Renewal::None
            }
            Err(_) => Renewal::Refused,
            Ok(loaded) if loaded.is_same(&self.loaded) => Renewal::None,
            Ok(loaded) => {
                self.loaded = loaded;
                Renewal::Taken
            }
        }
    }

    pub(super) fn verifier(&self) -> Arc<Verifier> {
        self.loaded.verifier.clone()
    }
}

impl Loaded {
    fn read(
        config: &Spanned<ClientAuthConfig>,
        base: &Path,
        provider: &Arc<CryptoProvider>,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Result<Loaded, Fault> {
        let (authorities, roots) = authorities(config, base, subject)?;
        let mut lists = Vec::new();
        let mut fault = None;
        let mut each = subject.key("crl");
        for (index, path) in config.crl.iter().enumerate() {
            let mut subject = each.index(index);
            let read = read_revocation_lists(base.join(&path.value));
            let read = read.map_err(|error| (Fault::from(&error), error.to_string()));
            match read.and_then(|lists| usable(lists, &roots, provider)) {
                Ok(read) => {
                    if read.iter().any(|list| is_late(list, now)) {
                        let what = "is past its nextUpdate: no certificate that it covers is good";
                        subject.warning(path.span, what);
                    }
                    lists.extend(read);
                }
                Err((kind, what)) => {
                    subject.error(path.span, what);
                    fault = Some(kind);
                }
            }
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        let is_optional = config.mode == ClientAuthMode::Optional;
        match verifier(&roots, provider, lists.clone(), is_optional) {
            Ok(inner) => Ok(Loaded {
                verifier: Arc::new(Verifier {
                    inner,
                    good_until: good_until(&lists),
                }),
                authorities,
                lists,
            }),
            Err(error) => {
                let span = config.ca.as_ref().map_or(config.span, |ca| ca.span);
                subject.key("ca").error(span, error);
                Err(Fault::Bad)
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
) -> Result<Authorities, Fault> {
    let Some(path) = &config.ca else {
        subject.error(config.span, "needs ca").help(
            "ca = \"…\" is the PEM file of the authorities that sign certificates of clients",
        );
        return Err(Fault::Bad);
    };
    let mut subject = subject.key("ca");
    let authorities = read_chain(base.join(&path.value)).map_err(|error| {
        subject.error(path.span, &error);
        Fault::from(&error)
    })?;
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities.iter().enumerate() {
        if let Err(error) = roots.add(authority.clone()) {
            let what = format!("certificate {} cannot sign others: {error}", index + 1);
            subject.error(path.span, what);
            return Err(Fault::Bad);
        }
    }
    Ok((authorities, Arc::new(roots)))
}

type Lists = Vec<CertificateRevocationListDer<'static>>;

/// The lists of one file, if a verifier can use each.
fn usable(
    lists: Lists,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Lists, (Fault, String)> {
    let what = match verifier(roots, provider, lists.clone(), false) {
        Ok(_) => return Ok(lists),
        Err(VerifierBuilderError::InvalidCrl(
            CertRevocationListError::ParseError | CertRevocationListError::Other(_),
        )) => "is no revocation list in DER or PEM".to_owned(),
        Err(VerifierBuilderError::InvalidCrl(error)) => {
            format!("is a revocation list of a kind that cannot be used: {error:?}")
        }
        Err(error) => error.to_string(),
    };
    Err((Fault::Bad, what))
}

fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    lists: Lists,
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
    next_update(list).is_some_and(|next| next <= now)
}

/// Unix time.
fn next_update(list: &CertificateRevocationListDer<'_>) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    Some(list.next_update()?.timestamp())
}

/// When the first of the lists is past its `nextUpdate`. One that does not say it is never trusted to be good.
fn good_until(lists: &[CertificateRevocationListDer<'_>]) -> i64 {
    let each = lists.iter();
    let each = each.map(|list| next_update(list).unwrap_or(i64::MIN));
    each.min().unwrap_or(i64::MAX)
}

fn files(config: &ClientAuthConfig, base: &Path) -> Vec<PathBuf> {
    let named = config.ca.iter().chain(&config.crl);
    named.map(|path| base.join(&path.value)).collect()
}

/// Takes only certificates that can be put into words, too: what is verified is asked for its names afterwards,
/// and the engine panics on one that it cannot parse.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    /// Unix time until which none of the lists is too old.
    good_until: i64,
}

impl Verifier {
    /// Whether a chain that was verified before, by these rules, is good still as far as the lists say. Nothing is
    /// verified again before one of them has become too old, and then only who is not covered by it comes in.
    pub(super) fn is_still_good(&self, chain: &[CertificateDer<'_>], now: i64) -> bool {
        if now < self.good_until {
            return true;
        }
        let ([leaf, others @ ..], Ok(now)) = (chain, u64::try_from(now)) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        self.inner.verify_client_cert(leaf, others, now).is_ok()
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
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
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
