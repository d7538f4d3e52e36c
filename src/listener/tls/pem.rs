//! Certificates and keys from PEM files. The upstream room reads its own with these, too.

use std::io;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::text::{Secret, SecretError};

/// Why a chain or a key cannot be had. Of a key nothing is told but the place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PemError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("there is no certificate in {}", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} is no PEM file: {}", path.display(), in_words(.source))]
    Malformed { path: PathBuf, source: pem::Error },
    #[error("certificate {number} in {} cannot be parsed", path.display())]
    Certificate { path: PathBuf, number: usize },
    #[error("{0}")]
    Secret(#[from] SecretError),
    #[error("there is no private key in it; it must be a PEM file with one")]
    NoKey,
}

/// The library shows the bytes of a line as a list of numbers.
fn in_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section in it has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line in it is malformed",
        pem::Error::Base64Decode(_) => "a section in it is not base64",
        _ => "it cannot be parsed",
    }
}

/// The certificates of a file, at least one. Blocks on the file system.
pub(crate) fn read_chain(path: PathBuf) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(PemError::Read { path, source }),
    };
    let read = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain = match read {
        Ok(chain) if chain.is_empty() => return Err(PemError::NoCertificate { path }),
        Ok(chain) => chain,
        Err(source) => return Err(PemError::Malformed { path, source }),
    };
    // Pingora panics on a certificate that it cannot parse, so what reaches it must have been parsed before.
    let is_bad =
        |one: &CertificateDer<'_>| rustls::server::ParsedCertificate::try_from(one).is_err();
    match chain.iter().position(is_bad) {
        Some(index) => Err(PemError::Certificate {
            path,
            number: index + 1,
        }),
        None => Ok(chain),
    }
}

/// The first private key of a secret. Blocks on the file system.
pub(crate) fn read_key(key: &Secret, base: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let secret = key.read(base)?;
    PrivateKeyDer::from_pem_slice(secret.expose()).map_err(|_| PemError::NoKey)
}
