//! The credentials of the demo, which are made on the machine that it runs on and are nowhere else.
//!
//! Two files in a folder of the user's own, `northgate-demo` below `$XDG_STATE_HOME` or `~/.local/state`: the key that
//! the shop signs tokens with, and the API key of its consumer. Whichever command comes first makes them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::identity::api_key::{self, KeyHash, Prefix};

/// What the shop says of itself in tokens, and whom they are for; as in `conf/shop.toml`.
pub(super) const ISSUER: &str = "http://127.0.0.1:8001";
pub(super) const AUDIENCE: &str = "shop";

/// Signs tokens of the shop.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    kid: String,
}

impl Signer {
    pub(super) fn open() -> io::Result<Signer> {
        Signer::in_folder(&folder()?)
    }

    fn in_folder(folder: &Path) -> io::Result<Signer> {
        let bytes = kept(&folder.join("token-key"), || {
            let pair = Ed25519KeyPair::generate().map_err(|_| io::Error::other("no randomness"))?;
            let document = pair.to_pkcs8().map_err(|_| io::Error::other("no key"))?;
            Ok(Zeroizing::new(document.as_ref().to_vec()))
        })?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes)
            .map_err(|_| io::Error::other(format!("{} holds no key", folder.display())))?;
        let sha256 = digest(&SHA256, pair.public_key().as_ref());
        let kid = URL_SAFE_NO_PAD.encode(sha256.as_ref().get(..9).unwrap_or_default());
        Ok(Signer { pair, kid })
    }

    /// The key set that tokens are verified with (RFC 8037).
    pub(super) fn key_set(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": x,
        }] })
    }

    /// A JWT with these claims.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": self.kid });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut token = format!("{}.{}", part(&header), part(claims));
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature.as_ref()));
        token
    }
}

/// The API key of the shop's consumer.
pub(super) fn api_key() -> io::Result<Zeroizing<String>> {
    api_key_in(&folder()?)
}

fn api_key_in(folder: &Path) -> io::Result<Zeroizing<String>> {
    let path = folder.join("api-key");
    let bytes = kept(&path, || {
        let key = api_key::make(&Prefix::default()).map_err(io::Error::other)?;
        Ok(Zeroizing::new(key.text.as_bytes().to_vec()))
    })?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.is_empty() => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(io::Error::other(format!("{} holds no key", path.display()))),
    }
}

/// What the demo's configuration says of the consumer that has the key.
pub(super) fn consumer(key: &str) -> String {
    let hash = KeyHash::of(key.as_bytes());
    format!(
        "\n[consumers.checkout]                     # `northgate demo` made it on this machine\napi_keys = [{{ hash = \"{hash}\", id = \"demo\" }}]\nscopes = [\"payments:write\"]\n"
    )
}

fn folder() -> io::Result<PathBuf> {
    let var = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = var("XDG_STATE_HOME").or_else(|| Some(var("HOME")?.join(".local/state")));
    let state = state.ok_or_else(|| {
        io::Error::other(
            "the demo keeps its keys in your home, and HOME does not say where that is",
        )
    })?;
    Ok(state.join("northgate-demo"))
}

/// What the file holds; where there is none, what is made for it. Of two processes that make it at the same time, both
/// have what one has made.
fn kept(
    path: &Path,
    make: impl FnOnce() -> io::Result<Zeroizing<Vec<u8>>>,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read.map_err(named),
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(named)?;
    let draft = path.with_extension(format!("{:016x}.part", rand::random::<u64>()));
    let bytes = make()?;
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft);
    let written = file.and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    // A link, unlike a new name, replaces nothing.
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(named(error)),
        _ => read(path).map_err(named),
    }
}

/// A file that others can read keeps no secret.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = crate::text::open_file(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "others may read it; remove it, and it is made anew",
        ));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    io::Read::read_to_end(&mut io::Read::take(file, 4096), &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_was_made_is_kept_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("state/northgate-demo");
        let all: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                (
                    Signer::in_folder(&below).expect("it is made"),
                    api_key_in(&below),
                )
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .map(|it| it.join().expect("it ends"))
                .collect()
        });
        let mut made = all.iter().map(|(signer, key)| {
            let key = key.as_ref().expect("it is made");
            (signer.key_set(), key.to_string())
        });
        let first = made.next().expect("one of four");
        assert!(made.all(|other| other == first) && first.1.starts_with("ng_"));
        let files = fs::read_dir(&below).expect("a folder").flatten();
        let modes = files.map(|file| file.metadata().expect("a file").mode() & 0o777);
        assert_eq!(modes.collect::<Vec<_>>(), [0o600, 0o600]);
        assert_eq!(
            fs::metadata(&below).expect("a folder").mode() & 0o777,
            0o700
        );
        let key = below.join("api-key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let error = api_key_in(&below)
            .expect_err("others may read it")
            .to_string();
        assert!(error.contains("others may read it"), "{error}");
    }

    #[test]
    fn tokens_are_signed_by_the_key_of_the_set() {
        let folder = tempfile::tempdir().expect("a folder");
        let signer = Signer::in_folder(folder.path()).expect("it is made");
        let token = signer.sign(&json!({ "sub": "7" }));
        let (message, signature) = token.rsplit_once('.').expect("three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        let set = signer.key_set();
        let key = set["keys"][0]["x"].as_str().expect("a key");
        let key = URL_SAFE_NO_PAD.decode(key).expect("base64");
        let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key);
        assert!(key.verify(message.as_bytes(), &signature).is_ok());
    }
}
