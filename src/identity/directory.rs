//! All kinds of authenticators: the section `[identity]`, and what is compiled from it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::issuer::{self, Issuer};
use super::{Consumers, Entry, api_key, basic, forward_auth, hmac, introspection, jwt, mtls, oidc};
use crate::observability::Metrics;
use crate::stores::Stores;
use crate::text::{Diagnostics, Fingerprint, Name, Span, Spanned, Subject, nearest};

/// One way of proving who calls. The type that implements it is the provider, compiled from its configuration.
pub trait Kind: Sized + Send + Sync + 'static {
    /// The key below `identity`, and the name of the policy.
    const NAME: &'static str;
    /// What users write below `[identity.KIND.NAME]`. Unknown keys are refused.
    type Config: DeserializeOwned + JsonSchema + PartialEq + Clone + Debug;
    /// What all providers of the kind need of the consumers, such as an index over their keys.
    type Credentials: Debug + Default + Send + Sync;

    /// Compiles what consumers have of its credentials; it is called whether or not a provider is configured. What
    /// cannot be compiled is left out, after diagnostics. `subject` is `consumers`.
    fn credentials(
        entries: &[Entry<'_>],
        reads: Reads<'_>,
        subject: &mut Subject<'_>,
    ) -> Self::Credentials;

    /// Takes over of the credentials `before` a reload what must outlive it, whatever providers there are.
    fn resume(_credentials: &mut Self::Credentials, _before: &Self::Credentials) {}

    /// Compiles a provider. `None` after diagnostics.
    fn build(config: &Self::Config, context: &mut Build<'_, Self>) -> Option<Self>;

    /// What a policy gets that names no provider where none is configured. `None`: one has to be configured.
    fn usual() -> Option<Self::Config> {
        None
    }

    /// Called once, on the gateway's runtime, when the provider is about to serve. What goes on in the background
    /// begins here, and ends with the provider: it holds a [`Weak`](std::sync::Weak).
    fn start(self: &Arc<Self>) {}
}

/// What a provider is compiled with.
pub struct Build<'a, K: Kind> {
    /// `identity.KIND.NAME`.
    pub subject: Subject<'a>,
    /// All of its configuration.
    pub span: Span,
    pub name: &'a Arc<str>,
    pub credentials: &'a Arc<K::Credentials>,
    pub consumers: &'a Arc<Consumers>,
    pub metrics: &'a Metrics,
    pub stores: &'a Stores,
    /// The one that had its name before this reload.
    pub before: Option<&'a Arc<K>>,
    folder: &'a Path,
    reads: Reads<'a>,
}

impl<'a, K: Kind> Build<'a, K> {
    /// The folder of the file that configures it, which paths in there are relative to. Who asks for it reads files,
    /// and is compiled anew with each reload, since these may have changed.
    pub fn folder(&self) -> &'a Path {
        self.reads.files();
        self.folder
    }
}

/// Keeps whether files are read.
#[derive(Clone, Copy)]
pub struct Reads<'a>(&'a Cell<bool>);

impl Reads<'_> {
    /// Files besides those of the configuration are read: everything is compiled anew with each reload.
    pub fn files(self) {
        self.0.set(true);
    }
}

/// The providers of one kind, by name, in order.
#[derive(Debug)]
pub struct Providers<K: Kind> {
    named: BTreeMap<Box<str>, Option<Arc<K>>>,
    usual: Option<Arc<K>>,
    credentials: Arc<K::Credentials>,
}

impl<K: Kind> Default for Providers<K> {
    fn default() -> Providers<K> {
        Providers {
            named: BTreeMap::new(),
            usual: None,
            credentials: Arc::default(),
        }
    }
}

impl<K: Kind> Providers<K> {
    /// Those that a policy names; where it names none, the only one. Empty after diagnostics.
    pub fn resolve(
        &self,
        names: &[Spanned<Name>],
        span: Span,
        subject: &mut Subject<'_>,
    ) -> Vec<Arc<K>> {
        if names.is_empty() {
            return self.only(span, subject).into_iter().collect();
        }
        let mut list = subject.key("providers");
        let named = names.iter().enumerate();
        let found = named.map(|(index, name)| self.named(name, &mut list.index(index)));
        let found: Vec<_> = found.collect();
        let found: Option<_> = found.into_iter().collect();
        found.unwrap_or_default()
    }

    /// The provider of this name. `None` after a diagnostic, or where the provider itself has mistakes.
    pub fn named(&self, name: &Spanned<Name>, subject: &mut Subject<'_>) -> Option<Arc<K>> {
        if let Some(provider) = self.named.get(name.as_str()) {
            return provider.clone();
        }
        let what = format!("there is no [identity.{}.{}]", K::NAME, name.value);
        let problem = subject.error(name.span, what);
        let known = self.named.keys().map(|name| &**name);
        if let Some(near) = nearest(name, known) {
            problem.help(format!("did you mean {near:?}?"));
        }
        None
    }

    /// Every provider that is configured and has no mistakes.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Arc<K>)> {
        let named = self.named.iter();
        named.filter_map(|(name, provider)| Some((&**name, provider.as_ref()?)))
    }

    /// As [`Providers::all`], and the one that nobody has configured.
    pub fn each(&self) -> impl Iterator<Item = &Arc<K>> {
        self.named.values().flatten().chain(&self.usual)
    }

    fn only(&self, span: Span, subject: &mut Subject<'_>) -> Option<Arc<K>> {
        let mut named = self.named.values();
        match (named.next(), named.next()) {
            (Some(provider), None) => provider.clone(),
            (None, _) => {
                if self.usual.is_none() {
                    let what =
                        format!("there is no [identity.{}.NAME] to prove who calls", K::NAME);
                    subject.error(span, what);
                }
                self.usual.clone()
            }
            (Some(_), Some(_)) => {
                let names: Vec<_> = self.named.keys().map(|name| format!("{name:?}")).collect();
                let what = format!("must name providers, since there are {}", self.named.len());
                subject.error(span, what).help(format!(
                    "write providers = [{}], or some of them",
                    names.join(", ")
                ));
                None
            }
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<K>> {
        self.named.get(name)?.as_ref()
    }

    fn build(
        configs: &BTreeMap<Name, Spanned<K::Config>>,
        before: Option<&Providers<K>>,
        surroundings: &Surroundings<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Providers<K> {
        let Surroundings {
            entries,
            consumers,
            metrics,
            stores,
            folder,
            root,
            reads,
        } = *surroundings;
        let mut credentials =
            K::credentials(entries, reads, &mut Subject::new(diagnostics, "consumers"));
        if let Some(before) = before {
            K::resume(&mut credentials, &before.credentials);
        }
        let credentials = Arc::new(credentials);
        let mut identity = Subject::new(diagnostics, "identity");
        let mut kind = identity.key(K::NAME);
        let mut build = |name: &str, config: &K::Config, span, before| {
            let name = Arc::from(name);
            let mut context = Build {
                subject: kind.key(&name),
                span,
                name: &name,
                credentials: &credentials,
                consumers,
                metrics,
                stores,
                before,
                folder,
                reads,
            };
            K::build(config, &mut context).map(Arc::new)
        };
        let mut named = BTreeMap::new();
        for (name, config) in configs {
            let same = before.and_then(|before| before.find(name));
            named.insert(
                name.as_str().into(),
                build(name, &config.value, config.span, same),
            );
        }
        let usual = K::usual().filter(|_| named.is_empty()).and_then(|config| {
            let same = before.and_then(|before| before.usual.as_ref());
            build(USUAL, &config, root, same)
        });
        Providers {
            named,
            usual,
            credentials,
        }
    }

    fn start(&self) {
        self.each().for_each(K::start);
    }
}

/// What a provider is called that nobody has configured.
const USUAL: &str = "usual";

/// What is the same for all kinds.
struct Surroundings<'a> {
    entries: &'a [Entry<'a>],
    consumers: &'a Arc<Consumers>,
    metrics: &'a Metrics,
    stores: &'a Stores,
    folder: &'a Path,
    root: Span,
    reads: Reads<'a>,
}

/// What the configuration says about identities.
pub struct Definitions<'d> {
    /// `[identity]`.
    pub config: Option<&'d Config>,
    /// That paths in `[identity]` are relative to.
    pub folder: &'d Path,
    /// The place of what nobody has written.
    pub root: Span,
    pub entries: Vec<Entry<'d>>,
    pub metrics: &'d Metrics,
    pub stores: &'d Stores,
    /// Of all of it.
    pub written: Fingerprint,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// How callers prove who they are: by kind, and then by name, `[identity.jwt.main]`. Policies of the kinds'
        /// names use them.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        #[schemars(rename = "IdentityConfig")]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: BTreeMap<Name, Spanned<<$name::Provider as Kind>::Config>>,)+
            /// The gateway's own tokens for upstreams.
            pub issuer: Option<issuer::Config>,
        }

        /// Everything that proves who calls. Immutable; it belongs to a snapshot.
        #[derive(Debug, Default)]
        pub struct Directory {
            $(pub $name: Providers<$name::Provider>,)+
            pub consumers: Arc<Consumers>,
            /// What tells upstreams who calls.
            pub issuer: Arc<Issuer>,
            /// What it was compiled from; `None` where files were read, which may have changed.
            pub written: Option<Fingerprint>,
        }

        impl Directory {
            /// Compiles all of it; what is defined as it was `before` is what was before. What cannot be compiled is
            /// left out, after diagnostics.
            pub fn build(
                definitions: &Definitions<'_>,
                before: Option<&Arc<Directory>>,
                diagnostics: &mut Diagnostics,
            ) -> Arc<Directory> {
                let is_same = |it: &&Arc<Directory>| it.written == Some(definitions.written);
                if let Some(same) = before.filter(is_same) {
                    return same.clone();
                }
                let reads = Cell::new(false);
                let nothing = Config::default();
                let config = definitions.config.unwrap_or(&nothing);
                let consumers = Arc::new(Consumers::of(&definitions.entries));
                let surroundings = Surroundings {
                    entries: &definitions.entries,
                    consumers: &consumers,
                    metrics: definitions.metrics,
                    stores: definitions.stores,
                    folder: definitions.folder,
                    root: definitions.root,
                    reads: Reads(&reads),
                };
                let errors = diagnostics.error_count();
                $(let $name = Providers::build(
                    &config.$name, before.map(|it| &it.$name), &surroundings, diagnostics,
                );)+
                let issuer = config.issuer.as_ref();
                if issuer.is_some_and(issuer::Config::reads_files) {
                    reads.set(true);
                }
                let mut subject = Subject::new(diagnostics, "identity");
                let issuer = Arc::new(Issuer::build(
                    &issuer.cloned().unwrap_or_default(),
                    definitions.folder,
                    before.map(|before| &*before.issuer),
                    &mut subject.key("issuer"),
                ));
                // Had it mistakes, nobody would tell of them again.
                let is_whole = diagnostics.error_count() == errors && !reads.get();
                Arc::new(Directory {
                    $($name,)+
                    written: is_whole.then_some(definitions.written),
                    consumers,
                    issuer,
                })
            }

            /// Whether there is a provider of this name, with its kind before it: `jwt.main`.
            pub fn has(&self, provider: &str) -> bool {
                let (kind, name) = provider.split_once('.').unwrap_or_default();
                match kind {
                    $(stringify!($name) => self.$name.find(name).is_some(),)+
                    _ => false,
                }
            }

            /// Takes all providers into service; on the gateway's runtime, once.
            pub fn start(&self) {
                $(self.$name.start();)+
            }
        }
    };
}

kinds! {
    /// The certificates that clients show in the TLS handshake.
    mtls,
    /// JSON Web Tokens.
    jwt,
    /// Signatures of requests (RFC 9421).
    hmac,
    /// Servers that are asked about tokens (RFC 7662).
    introspection,
    /// Services that are asked about requests.
    forward_auth,
    /// Keys of consumers.
    api_key,
    /// Names and passwords of consumers.
    basic,
    /// Providers of OpenID Connect that browsers log in at.
    oidc,
}
