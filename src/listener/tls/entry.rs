//! One entry of `certificates`: loading it, and loading it again when its files have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;

use super::config::CertificateConfig;
use super::fault::Fault;
use super::ocsp::Staple;
use super::validity::{DAY, Validity};
use super::watch::Watched;
use crate::identity::{read_bytes, read_chain, read_key, warn_of_readers};
use crate::text::{HostPattern, Secret, Spanned, Subject};

/// Browsers take nothing that is good for more than 398 days.
const SELF_SIGNED_FOR: i64 = 365 * DAY;

/// A certificate with its key, and the files that they came from.
pub(super) struct Entry {
    config: Spanned<CertificateConfig>,
    base: PathBuf,
    watched: Watched,
    loaded: Loaded,
    is_stapled: bool,
}

/// What a look at the files has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Nothing new.
    None,
    Taken,
    /// The diagnostics say why.
    Refused,
    /// The files are as they were, but the OCSP response has become too old.
    Unstapled,
}

/// All that belongs together, from one reading.
struct Loaded {
    names: Vec<String>,
    key: CertifiedKey,
    validity: Validity,
    staple: Option<Staple>,
}

impl Entry {
    /// `None` after diagnostics.
    pub(super) fn build(
        config: &Spanned<CertificateConfig>,
        base: &Path,
        provider: &CryptoProvider,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Option<Entry> {
        let watched = Watched::new(files(config, base), now);
        let loaded = Loaded::read(config, base, provider, now, subject).ok()?;
        Some(Entry {
            config: config.clone(),
            base: base.to_owned(),
            watched,
            is_stapled: loaded.is_stapled(now),
            loaded,
        })
    }

    /// Reads the files again if they have changed, or could not be read. What was there stays unless all of the new
    /// is good.
    pub(super) fn renew(
        &mut self,
        provider: &CryptoProvider,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Renewal {
        let was_stapled = self.is_stapled;
        let mut renewal = Renewal::None;
        if self.watched.is_due(now) {
            let before = subject.mark();
            let read = Loaded::read(&self.config, &self.base, provider, now, subject);
            let is_repeated = self.watched.is_repeated(read.as_ref().err());
            match read {
                Err(_) if is_repeated => subject.unsay(before),
                Err(_) => renewal = Renewal::Refused,
                Ok(loaded) if loaded.is_same(&self.loaded) => {}
                Ok(loaded) => {
                    self.loaded = loaded;
                    renewal = Renewal::Taken;
                }
            }
        }
        self.is_stapled = self.loaded.is_stapled(now);
        match renewal {
            Renewal::None if was_stapled && !self.is_stapled => Renewal::Unstapled,
            renewal => renewal,
        }
    }

    /// The DNS names that the leaf is for.
    pub(super) fn names(&self) -> &[String] {
        &self.loaded.names
    }

    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        let mut key = self.loaded.key.clone();
        if self.is_stapled {
            key.ocsp = self.loaded.staple.as_ref().map(|staple| staple.der.clone());
        }
        Arc::new(key)
    }

    pub(super) fn validity(&self) -> Validity {
        self.loaded.validity
    }

    /// What it is called in metrics and logs: its file, or the first of the names that it was made for.
    pub(super) fn label(&self) -> String {
        match (&self.config.cert, self.config.self_signed.first()) {
            (Some(cert), _) => cert.display().to_string(),
            (None, Some(name)) => name.to_string(),
            (None, None) => String::new(),
        }
    }
}

impl Loaded {
    fn read(
        config: &Spanned<CertificateConfig>,
        base: &Path,
        provider: &CryptoProvider,
        now: i64,
        subject: &mut Subject<'_>,
    ) -> Result<Loaded, Fault> {
        let (chain, key) = pair(config, base, now, subject)?;
        let leaf = chain.first().ok_or(Fault::Bad)?.clone();
        let key = match CertifiedKey::from_der(chain, key, provider) {
            Ok(key) => key,
            Err(rustls::Error::InconsistentKeys(_)) => {
                subject.error(config.span, "key is not the key of the certificate in cert");
                return Err(Fault::Bad);
            }
            Err(error) => {
                subject.error(config.span, error);
                return Err(Fault::Bad);
            }
        };
        let Ok((_, leaf)) = X509Certificate::from_der(&leaf) else {
            subject.error(config.span, "the certificate in cert cannot be parsed");
            return Err(Fault::Bad);
        };
        let validity = Validity::of(&leaf);
        if config.cert.is_some()
            && let Some(warning) = validity.warning(now)
        {
            subject.warning(config.span, format!("the certificate {warning}"));
        }
        let staple = match &config.ocsp {
            None => None,
            Some(path) => Some(staple(path, base, leaf.raw_serial(), now, subject)?),
        };
        Ok(Loaded {
            names: dns_names(&leaf),
            key,
            validity,
            staple,
        })
    }

    fn is_stapled(&self, now: i64) -> bool {
        let staple = self.staple.as_ref();
        staple.is_some_and(|staple| staple.is_fresh(now))
    }

    /// The key is the certificate's, so it needs no look of its own.
    fn is_same(&self, other: &Loaded) -> bool {
        self.key.cert == other.key.cert && self.staple == other.staple
    }
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads or makes a pair. A fault after diagnostics.
fn pair(
    config: &Spanned<CertificateConfig>,
    base: &Path,
    now: i64,
    subject: &mut Subject<'_>,
) -> Result<Pair, Fault> {
    let what = match (&config.cert, &config.key, &*config.self_signed) {
        (Some(cert), Some(key), []) => return read_pair(cert, key, base, subject),
        (None, None, [_, ..]) if config.ocsp.is_some() => "has ocsp beside self_signed",
        (None, None, [_, ..]) => return make_pair(config, now, subject).ok_or(Fault::Bad),
        (Some(_), None, []) => "has cert without key",
        (None, Some(_), []) => "has key without cert",
        (None, None, []) => "is empty",
        _ => "has self_signed beside cert or key",
    };
    subject
        .error(config.span, what)
        .help("write either cert and key, or self_signed");
    Err(Fault::Bad)
}

/// Both are looked at, so that both are told of. Of two faults either will do: what is bad must change before
/// anything is taken up, and all is read again then.
fn read_pair(
    cert: &Spanned<PathBuf>,
    key: &Spanned<Secret>,
    base: &Path,
    subject: &mut Subject<'_>,
) -> Result<Pair, Fault> {
    let chain = read_chain(base.join(&cert.value)).map_err(|error| {
        subject.key("cert").error(cert.span, &error);
        Fault::from(&error)
    });
    let mut subject = subject.key("key");
    let read = read_key(&key.value, base).map_err(|error| {
        subject.error(key.span, &error);
        Fault::from(&error)
    })?;
    warn_of_readers(key, base, &mut subject);
    Ok((chain?, read))
}

fn make_pair(
    config: &Spanned<CertificateConfig>,
    now: i64,
    subject: &mut Subject<'_>,
) -> Option<Pair> {
    // A certificate has an IPv6 address without the brackets of a URL.
    let name = |host: &HostPattern| host.to_string().replace(['[', ']'], "");
    let names: Vec<String> = config.self_signed.iter().map(name).collect();
    make(names, now)
        .map_err(|error| {
            subject.key("self_signed").error(config.span, error);
        })
        .ok()
}

fn make(names: Vec<String>, now: i64) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    // Whose clock is a little behind can use it, too.
    let times = [now - DAY, now + SELF_SIGNED_FOR].map(ASN1Time::from_timestamp);
    if let [Ok(begin), Ok(end)] = times {
        (params.not_before, params.not_after) = (begin.to_datetime(), end.to_datetime());
    }
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((vec![certificate.der().clone()], key.into()))
}

fn staple(
    path: &Spanned<PathBuf>,
    base: &Path,
    serial: &[u8],
    now: i64,
    subject: &mut Subject<'_>,
) -> Result<Staple, Fault> {
    let mut subject = subject.key("ocsp");
    let der = read_bytes(&base.join(&path.value)).map_err(|error| {
        subject.error(path.span, &error);
        Fault::from(&error)
    })?;
    match Staple::parse(der, serial) {
        Ok(staple) => {
            if !staple.is_fresh(now) {
                subject.warning(path.span, "is past its nextUpdate and is not stapled");
            }
            Ok(staple)
        }
        Err(error) => {
            subject.error(path.span, error);
            Err(Fault::Bad)
        }
    }
}

fn files(config: &CertificateConfig, base: &Path) -> Vec<PathBuf> {
    let named = [&config.cert, &config.ocsp].into_iter().flatten();
    let named = named.map(|path| base.join(&path.value));
    let key = config.key.as_ref().and_then(|key| key.path(base));
    named.chain(key).collect()
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(dns).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::watch::now;
    use super::*;
    use crate::text::{Diagnostics, Sources, Span};

    /// What is said of a chain and a key, each in a file of its own.
    fn said(chain: &str, key: &str) -> Vec<String> {
        said_of(chain, key, 0o600)
    }

    fn said_of(chain: &str, key: &str, mode: u32) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let span = Span::start_of(Sources::new().add("t.toml", ""));
        let config = CertificateConfig {
            cert: Some(Spanned::new(file("a.pem", chain), span)),
            key: Some(Spanned::new(Secret::File(file("a.key", key)), span)),
            ..CertificateConfig::default()
        };
        let mut diagnostics = Diagnostics::new();
        let mut subject = Subject::new(&mut diagnostics, "tls");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = Spanned::new(config, span);
        let read = Entry::build(&config, folder.path(), &provider, now(), &mut subject);
        assert_eq!(read.is_none(), diagnostics.has_errors());
        let folder = format!("{}/", folder.path().display());
        let messages = diagnostics.iter();
        messages
            .map(|one| one.message.replace(&folder, ""))
            .collect()
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_told_apart() {
        let make = || rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (one, other) = (make(), make());
        let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        assert_eq!(said(&chain, &key), Vec::<String>::new());
        let another = other.signing_key.serialize_pem();
        assert_eq!(
            said(&chain, &another),
            ["tls: key is not the key of the certificate in cert"]
        );
        assert_eq!(
            said(&key, &chain),
            [
                "tls.cert: there is no certificate in a.pem",
                "tls.key: there is no private key in it; it must be a PEM file with one"
            ]
        );
        let broken = chain.replace("-----END CERTIFICATE-----", "");
        assert_eq!(
            said(&broken, &key),
            ["tls.cert: a.pem is no PEM file: a section in it has no END line"]
        );
        let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(
            said(&(chain + hollow), &key),
            ["tls.cert: certificate 2 in a.pem cannot be parsed"]
        );
    }

    #[test]
    fn what_is_good_and_should_be_better_is_warned_of() {
        let key = KeyPair::generate().unwrap();
        let chain = |from: i64, to: i64| {
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            let at = |days| ASN1Time::from_timestamp(now() + days * DAY).unwrap();
            params.not_before = at(from).to_datetime();
            params.not_after = at(to).to_datetime();
            params.self_signed(&key).unwrap().pem()
        };
        let check = |chain: &str, mode: u32, expected: &str| {
            let said = said_of(chain, &key.serialize_pem(), mode).join("; ");
            let is_same = said.is_empty() == expected.is_empty() && said.starts_with(expected);
            assert!(is_same, "{said}");
        };
        check(&chain(-10, 80), 0o600, "");
        check(&chain(-10, 80), 0o640, "");
        check(
            &chain(-10, 80),
            0o644,
            "tls.key can be read by everybody on this machine",
        );
        check(&chain(-85, 5), 0o600, "tls: the certificate expires on 2");
        check(
            &chain(-90, -1),
            0o600,
            "tls: the certificate has expired on 2",
        );
        check(
            &chain(1, 90),
            0o600,
            "tls: the certificate is not good before 2",
        );
    }
}
