//! Certificates and keys from PEM files, for whoever shows or believes one.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::text::{Secret, SecretError, Spanned, Subject, open_file};

/// Larger than any list of authorities or of revoked certificates that is of use.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Why a chain or a key cannot be had. Of a key nothing is told but the place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PemError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("there is no certificate in {}", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} is no PEM file: {}", path.display(), in_words(.source))]
    Malformed { path: PathBuf, source: pem::Error },
    #[error("there is no revocation list in {}", path.display())]
    NoRevocationList { path: PathBuf },
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
    let bytes = read_bytes(&path)?;
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

/// The revocation lists of a file, PEM or DER, at least one. Blocks on the file system.
pub(crate) fn read_revocation_lists(
    path: PathBuf,
) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    const SEQUENCE: u8 = 0x30;
    let bytes = read_bytes(&path)?;
    if bytes.first() == Some(&SEQUENCE) {
        return Ok(vec![bytes.into()]);
    }
    let read = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(lists) if lists.is_empty() => Err(PemError::NoRevocationList { path }),
        Ok(lists) => Ok(lists),
        Err(source) => Err(PemError::Malformed { path, source }),
    }
}

/// Blocks on the file system.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, PemError> {
    let failed = |source| PemError::Read {
        path: path.to_owned(),
        source,
    };
    let file = open_file(path).map_err(failed)?;
    let mut bytes = Vec::new();
    match file.take(LARGEST + 1).read_to_end(&mut bytes) {
        Ok(length) if length as u64 > LARGEST => {
            Err(failed(io::Error::other("it is larger than 64 MiB")))
        }
        Ok(_) => Ok(bytes),
        Err(source) => Err(failed(source)),
    }
}

/// The first private key of a secret. Blocks on the file system.
pub(crate) fn read_key(key: &Secret, base: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let secret = key.read(base)?;
    PrivateKeyDer::from_pem_slice(secret.expose()).map_err(|_| PemError::NoKey)
}

/// Warns where a key lies in a file that everybody on the machine can read.
pub(crate) fn warn_of_readers(key: &Spanned<Secret>, base: &Path, subject: &mut Subject<'_>) {
    const OTHERS_READ: u32 = 0o004;
    let Some(path) = key.path(base) else { return };
    let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.mode());
    if mode & OTHERS_READ != 0 {
        subject
            .warning(key.span, "can be read by everybody on this machine")
            .help(format!("chmod o-rwx {}", path.display()));
    }
}
