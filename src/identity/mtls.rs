//! The certificate of the TLS handshake as a credential.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use schemars::JsonSchema;
use serde::Deserialize;

use super::directory::Reads;
use super::{Build, CertificateField, ClientCertificate, Consumer, Entry, Identity, Kind};
use crate::text::{Span, Subject};

/// `[identity.mtls.NAME]`: whose certificates prove what.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "MtlsConfig")]
pub struct Config {
    /// What a certificate proves that the listener's authorities have signed and no consumer has. Default `"refuse"`.
    pub strangers: Strangers,
}

/// What a certificate of no consumer proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strangers {
    /// Nothing.
    #[default]
    Refuse,
    /// That the caller is the certificate's subject.
    Allow,
}

/// One thing that tells a consumer's certificate; exactly one of the keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ConsumerCertificate")]
pub struct Certificate {
    /// SHA-256 of the whole certificate, in hexadecimal, with or without colons: this very certificate.
    pub fingerprint: Option<Box<str>>,
    /// An alternative name that is a URI, such as a SPIFFE id.
    pub uri: Option<Box<str>>,
    /// An alternative name that is a DNS name, in any case of letters.
    pub dns: Option<Box<str>>,
    /// An alternative name that is a mail address.
    pub email: Option<Box<str>>,
    /// The whole subject, as RFC 4514 writes it: `"CN=billing,O=Acme,C=DE"`.
    pub subject: Option<Box<str>>,
}

/// By what a certificate is told, in the order in which it is looked at: the most exact first.
const FIELDS: [CertificateField; 5] = [
    CertificateField::Fingerprint,
    CertificateField::Uri,
    CertificateField::Dns,
    CertificateField::Email,
    CertificateField::Subject,
];

impl Certificate {
    /// The keys that are there, by their places in [`FIELDS`], in the form in which certificates have their texts.
    fn names(&self) -> impl Iterator<Item = (usize, String)> {
        let fingerprint = self.fingerprint.as_deref();
        let fingerprint = fingerprint.map(|text| text.replace(':', "").to_ascii_lowercase());
        let own = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let dns = self.dns.as_deref().map(str::to_ascii_lowercase);
        let all = [
            fingerprint,
            own(&self.uri),
            dns,
            own(&self.email),
            own(&self.subject),
        ];
        let all = all.into_iter().enumerate();
        all.filter_map(|(field, text)| Some((field, text?)))
    }
}

/// Something for each of [`FIELDS`].
type ByField<T> = [HashMap<Box<str>, T, RandomState>; FIELDS.len()];

/// Whose certificates are whose.
#[derive(Debug, Default)]
pub struct Owners(ByField<Arc<Consumer>>);

/// Proves consumers by their certificates. A look-up is a hash and no allocation for each name in the certificate.
#[derive(Debug)]
pub struct Provider {
    name: Arc<str>,
    known: ByField<Arc<Identity>>,
    strangers: Strangers,
}

impl Provider {
    /// Whom the certificate proves; `None` where it is nobody's.
    pub fn identify(&self, certificate: &ClientCertificate) -> Option<Arc<Identity>> {
        let mut fields = FIELDS.into_iter().zip(&self.known);
        let known = fields.find_map(|(field, known)| {
            let mut names = certificate.names(field);
            names.find_map(|name| {
                let is_dns = field == CertificateField::Dns;
                let in_lower_case = || known.get(&*name.to_ascii_lowercase());
                known
                    .get(name)
                    .or_else(|| in_lower_case().filter(|_| is_dns))
            })
        });
        known.cloned().or_else(|| self.stranger(certificate))
    }

    fn stranger(&self, certificate: &ClientCertificate) -> Option<Arc<Identity>> {
        if self.strangers == Strangers::Refuse {
            return None;
        }
        Some(Arc::new(Identity {
            subject: certificate.subject().into(),
            credential: certificate
                .names(CertificateField::Fingerprint)
                .next()
                .map(Into::into),
            authenticator: Self::NAME,
            provider: self.name.clone(),
            ..Identity::default()
        }))
    }
}

impl Kind for Provider {
    const NAME: &'static str = "mtls";
    type Config = Config;
    type Credentials = Owners;

    fn credentials(entries: &[Entry<'_>], _: Reads<'_>, subject: &mut Subject<'_>) -> Owners {
        let mut owners = Owners::default();
        let mut places: HashMap<(usize, String), Span> = HashMap::new();
        for entry in entries
            .iter()
            .filter(|entry| !entry.config.certificates.is_empty())
        {
            let mut subject = subject.key(&entry.consumer.name);
            let mut subject = subject.key("certificates");
            for (index, certificate) in entry.config.certificates.iter().enumerate() {
                let mut subject = subject.index(index);
                let names: Vec<_> = certificate.names().collect();
                let [(field, text)] = names.as_slice() else {
                    let what = "must have exactly one of fingerprint, uri, dns, email and subject";
                    subject.error(certificate.span, what);
                    continue;
                };
                if *field == 0 && !is_sha256(text) {
                    let what =
                        "must be 64 hexadecimal digits, as of `openssl x509 -fingerprint -sha256`";
                    subject.key("fingerprint").error(certificate.span, what);
                    continue;
                }
                if let Some(first) = places.insert((*field, text.clone()), certificate.span) {
                    subject
                        .error(certificate.span, "is of two consumers")
                        .also(first, "first here");
                    continue;
                }
                owners.0[*field].insert(text.as_str().into(), entry.consumer.clone());
            }
        }
        owners
    }

    fn build(config: &Config, context: &mut Build<'_, Provider>) -> Option<Provider> {
        let identity = |text: &str, consumer: &Arc<Consumer>| {
            let mut identity = Identity::of_consumer(consumer, Self::NAME, context.name);
            identity.credential = Some(text.into());
            Arc::new(identity)
        };
        let known = context.credentials.0.each_ref().map(|owners| {
            let owners = owners.iter();
            owners
                .map(|(text, consumer)| (text.clone(), identity(text, consumer)))
                .collect()
        });
        Some(Provider {
            name: context.name.clone(),
            known,
            strangers: config.strangers,
        })
    }

    fn usual() -> Option<Config> {
        Some(Config::default())
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
