//! How the API server of Kubernetes is asked, and as whom.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{Config, Kubeconfig};

use super::error::Error;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// Where the credentials are. They are read for each watch anew, so that what is rotated is used with the next one.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// `None` in a pod.
    kubeconfig: Option<PathBuf>,
    context: Option<Box<str>>,
}

/// A client, the server that it asks, and the namespace of whoever asks.
pub(super) struct Opened {
    pub(super) client: kube::Client,
    pub(super) server: String,
    pub(super) namespace: String,
}

/// Why a kubeconfig cannot be used.
pub(super) enum Unusable {
    Context(String),
    Other(String),
}

impl Access {
    /// `base` is the folder that file paths are relative to.
    pub(super) fn new(config: &super::Config, base: &Path) -> Access {
        let context = config.context.as_ref();
        Access {
            kubeconfig: config
                .kubeconfig
                .as_ref()
                .map(|path| base.join(&path.value)),
            context: context.map(|context| context.value.as_str().into()),
        }
    }

    pub(super) async fn open(&self) -> Result<Opened, Error> {
        let access = self.clone();
        let read = tokio::task::spawn_blocking(move || access.read());
        let config = read.await.map_err(|_| Error::Ended)??;
        let (server, namespace) = (server(&config), config.default_namespace.clone());
        let client = kube::Client::try_from(config).map_err(Error::Api)?;
        Ok(Opened {
            client,
            server,
            namespace,
        })
    }

    /// The server that is asked now, where it is known. Blocks on the file system.
    pub(super) fn server(&self) -> Option<String> {
        let config = match &self.kubeconfig {
            Some(path) => of_kubeconfig(path, self.context.as_deref()).ok(),
            None => Config::incluster().ok(),
        };
        config.as_ref().map(server)
    }

    /// Blocks on the file system.
    fn read(&self) -> Result<Config, Error> {
        let mut config = match &self.kubeconfig {
            Some(path) => of_kubeconfig(path, self.context.as_deref()).map_err(|unusable| {
                let (Unusable::Context(problem) | Unusable::Other(problem)) = unusable;
                Error::Access(problem.into())
            })?,
            None => Config::incluster()
                .map_err(|error| Error::Access(format!("this is not a pod: {error}").into()))?,
        };
        if let Some(path) = config.auth_info.token_file.take() {
            config.auth_info.token = Some(token(Path::new(&path))?.into());
        }
        config.connect_timeout = Some(CONNECT);
        // The answers have deadlines of their own, and who asks tries again by itself.
        config.default_retry = false;
        config.proxy_url = None;
        Ok(config)
    }
}

/// Without a password that may stand before its name.
fn server(config: &Config) -> String {
    let url = config.cluster_url.to_string();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url,
    }
}

/// Editors and `echo` add a newline, which is no part of it.
fn token(path: &Path) -> Result<String, Error> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|error| {
        Error::Access(format!("cannot read {}: {error}", path.display()).into())
    })?;
    Ok(text.trim().to_owned())
}

/// Reads a kubeconfig. Blocks on the file system.
pub(super) fn of_kubeconfig(path: &Path, context: Option<&str>) -> Result<Config, Unusable> {
    let other = |problem: String| Unusable::Other(problem);
    // For words that are like those of other files.
    std::fs::metadata(path)
        .map_err(|error| other(format!("cannot read {}: {error}", path.display())))?;
    let mut read = Kubeconfig::read_from(path).map_err(|error| other(error.to_string()))?;
    if let Some(context) = context {
        if !read.contexts.iter().any(|it| it.name == context) {
            let names = read.contexts.iter().map(|it| it.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            let file = path.display();
            return Err(Unusable::Context(format!(
                "must be a context of {file}, which has: {names}; got {context:?}"
            )));
        }
        read.current_context = Some(context.to_owned());
    }
    if has_proxy(&read) {
        return Err(other("has a proxy-url, and proxies are not used".into()));
    }
    let config = Config::try_from(read).map_err(|error| other(error.to_string()))?;
    let auth = &config.auth_info;
    if auth.exec.is_some() || auth.auth_provider.is_some() {
        return Err(other(
            "would have a program executed that knows the credentials, which the sandbox does not allow; give it a \
             token, tokenFile or client-certificate"
                .into(),
        ));
    }
    Ok(config)
}

/// Whether the cluster of the current context is behind one.
fn has_proxy(read: &Kubeconfig) -> bool {
    let current = read.current_context.as_ref();
    let context = read.contexts.iter().find(|it| Some(&it.name) == current);
    let Some(context) = context.and_then(|it| it.context.as_ref()) else {
        return false;
    };
    let cluster = read.clusters.iter().find(|it| it.name == context.cluster);
    let cluster = cluster.and_then(|it| it.cluster.as_ref());
    cluster.is_some_and(|it| it.proxy_url.as_deref().is_some_and(|url| !url.is_empty()))
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(path) = &self.kubeconfig else {
            return f.write_str("in whose cluster this runs");
        };
        write!(f, "by {}", path.display())?;
        match &self.context {
            Some(context) => write!(f, " context {context}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The beginning of the problem, if there is one.
    fn check(cluster: Value, user: Value, context: Option<&str>, expected: Option<&str>) {
        let text = json!({
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        });
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, text.to_string()).expect("writable");
        let problem = match of_kubeconfig(&path, context) {
            Ok(_) => None,
            Err(Unusable::Context(problem) | Unusable::Other(problem)) => Some(problem),
        };
        let problem = problem.as_deref();
        match expected {
            None => assert_eq!(problem, None),
            Some(expected) => assert!(problem.expect(expected).contains(expected), "{problem:?}"),
        }
    }

    #[test]
    fn kubeconfigs() {
        let here = || json!({"server": "https://127.0.0.1:6443"});
        let token = || json!({"token": "t"});
        check(here(), token(), None, None);
        check(here(), token(), Some("here"), None);
        check(
            here(),
            token(),
            Some("there"),
            Some("which has: here; got \"there\""),
        );
        let exec =
            json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}});
        check(here(), exec, None, Some("would have a program executed"));
        let proxy = json!({"server": "https://127.0.0.1:6443", "proxy-url": "http://127.0.0.1:1"});
        check(proxy, token(), None, Some("has a proxy-url"));
        check(json!({}), token(), None, Some("url is missing"));
        let missing = of_kubeconfig(Path::new("/nonexistent"), None);
        assert!(
            matches!(missing, Err(Unusable::Other(problem)) if problem.starts_with("cannot read /nonexistent: "))
        );
    }

    #[test]
    fn tokens_are_without_their_newline() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "t.o.k\n").expect("writable");
        assert_eq!(token(&path).expect("a token"), "t.o.k");
    }
}
