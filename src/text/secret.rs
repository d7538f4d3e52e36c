//! Secrets: the configuration says where they are, never what they are.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read as _};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Where a secret is kept; the configuration never holds the secret itself.
// Even the place prints as `***`, so that no log of a configuration helps anyone look for it.
#[derive(Clone, PartialEq, Eq, Hash, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[schemars(!remote)]
pub enum Secret {
    /// A file that holds nothing else; relative to the folder of the configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential, as given by `LoadCredential=`.
    Credential(String),
}

/// Why a secret cannot be had. Names the place, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than 1 MiB, which is no secret", path.display())]
    TooLarge { path: PathBuf },
    #[error("the secret is empty")]
    Empty,
    #[error("the environment variable {name:?} is not set")]
    NotSet { name: String },
    #[error(
        "there are no credentials: systemd sets CREDENTIALS_DIRECTORY for services with LoadCredential="
    )]
    NoCredentials,
    #[error("a credential is named by a plain file name, not {name:?}")]
    CredentialName { name: String },
}

const LARGEST: u64 = 1 << 20;

impl Secret {
    /// Reads it anew each time, so that a reload sees a rotated secret. Blocks on the file system.
    ///
    /// `base` is the folder of the configuration file. One newline at the end is not part of the secret, since
    /// editors and `echo` add it.
    pub fn read(&self, base: &Path) -> Result<SecretValue, SecretError> {
        self.read_with(base, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref())
    }

    fn read_with(
        &self,
        base: &Path,
        credentials: Option<&OsStr>,
    ) -> Result<SecretValue, SecretError> {
        let bytes = match self.path_with(base, credentials)? {
            Place::File(path) => read_file(path)?,
            Place::Variable(name) => match std::env::var_os(name) {
                Some(value) => value.into_vec(),
                None => {
                    return Err(SecretError::NotSet {
                        name: name.to_owned(),
                    });
                }
            },
        };
        SecretValue::new(bytes)
    }

    /// The file that it is kept in, if it is kept in one: for seeing when it changes.
    pub fn path(&self, base: &Path) -> Option<PathBuf> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        match self.path_with(base, credentials.as_deref()) {
            Ok(Place::File(path)) => Some(path),
            Ok(Place::Variable(_)) | Err(_) => None,
        }
    }

    fn path_with(
        &self,
        base: &Path,
        credentials: Option<&OsStr>,
    ) -> Result<Place<'_>, SecretError> {
        match self {
            Secret::File(path) => Ok(Place::File(base.join(path))),
            Secret::Env(name) => Ok(Place::Variable(name)),
            Secret::Credential(name) => {
                // A slash or dots would leave the directory and read any file of the host.
                if name.is_empty() || name.contains(['/', '\0']) || name == "." || name == ".." {
                    return Err(SecretError::CredentialName { name: name.clone() });
                }
                let folder = credentials
                    .filter(|folder| !folder.is_empty())
                    .ok_or(SecretError::NoCredentials)?;
                Ok(Place::File(Path::new(folder).join(name)))
            }
        }
    }
}

/// Where to look.
enum Place<'a> {
    File(PathBuf),
    Variable(&'a str),
}

fn read_file(path: PathBuf) -> Result<Vec<u8>, SecretError> {
    let mut bytes = Vec::new();
    let read =
        super::open_file(&path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 > LARGEST => Err(SecretError::TooLarge { path }),
        Ok(_) => Ok(bytes),
        Err(source) => Err(SecretError::Read { path, source }),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret itself. It has no `Display`, its `Debug` is `***`, and only [`SecretValue::expose`] gives it away,
/// so that a search for that word finds every use.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Box<[u8]>);

impl SecretValue {
    fn new(mut bytes: Vec<u8>) -> Result<Self, SecretError> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        // An empty key or password is a file that was created but not yet written, and would let anyone in.
        if bytes.is_empty() {
            Err(SecretError::Empty)
        } else {
            Ok(SecretValue(bytes.into()))
        }
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The reader recognises this name and keeps both the value and its line out of what it says.
pub(super) const PRIVATE: &str = "$northgate::Private";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(PRIVATE, Reference(PhantomData))
    }
}

struct Reference(PhantomData<Secret>);

impl<'de> Visitor<'de> for Reference {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }: secrets are not written in the configuration")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Secret, D::Error> {
        Secret::deserialize(deserializer)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Secret, E> {
        Err(E::custom(format_args!(
            "must be {}",
            &self as &dyn serde::de::Expected
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("northgate-secret-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder to test in");
        folder
    }

    fn check(content: &[u8], expected: Option<&[u8]>) {
        let value = SecretValue::new(content.to_vec()).ok();
        assert_eq!(value.as_ref().map(SecretValue::expose), expected);
    }

    #[test]
    fn one_newline_is_trimmed() {
        check(b"key", Some(b"key"));
        check(b"key\n", Some(b"key"));
        check(b"key\r\n", Some(b"key"));
        check(b"key\n\n", Some(b"key\n"));
        check(b"\xff\x00", Some(b"\xff\x00"));
        check(b"", None);
        check(b"\n", None);
    }

    #[test]
    fn files_are_relative_and_bounded() {
        let base = folder("file");
        std::fs::write(base.join("key"), "s3cret\n").expect("a file to read");
        std::fs::write(base.join("big"), vec![b'x'; (1 << 20) + 1]).expect("a file to refuse");
        let read = |path: &str| Secret::File(path.into()).read(&base);
        assert_eq!(read("key").expect("it is there").expose(), b"s3cret");
        assert!(matches!(read("big"), Err(SecretError::TooLarge { .. })));
        assert!(matches!(read("none"), Err(SecretError::Read { .. })));
        std::fs::remove_dir_all(base).expect("the folder is ours");
    }

    #[test]
    fn variables() {
        let read = |name: &str| Secret::Env(name.to_owned()).read(Path::new("/"));
        assert!(read("PATH").is_ok());
        assert!(matches!(
            read("NORTHGATE_NO_SUCH_VARIABLE"),
            Err(SecretError::NotSet { .. })
        ));
    }

    #[test]
    fn credentials_stay_in_their_folder() {
        let base = folder("credential");
        std::fs::write(base.join("key"), "c").expect("a file to read");
        let read = |name: &str, folder| {
            Secret::Credential(name.to_owned()).read_with(Path::new("/"), folder)
        };
        let here = Some(base.as_os_str());
        assert_eq!(read("key", here).expect("it is there").expose(), b"c");
        assert!(matches!(read("key", None), Err(SecretError::NoCredentials)));
        for name in ["../key", "/etc/passwd", "", ".", "..", "a/b"] {
            assert!(
                matches!(read(name, here), Err(SecretError::CredentialName { .. })),
                "{name}"
            );
        }
        std::fs::remove_dir_all(base).expect("the folder is ours");
    }

    #[test]
    fn never_prints() {
        let value = SecretValue::new(b"hunter2".to_vec()).expect("not empty");
        assert_eq!(
            format!("{value:?} {:?}", Secret::Env("KEY".to_owned())),
            "*** ***"
        );
    }
}
