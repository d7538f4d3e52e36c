//! The ordered list of policies. Config keys, layers and pipelines derive from it.

use std::cell::Cell;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::pipeline::{Origin, Origins, Pipeline, Scope, Slot};
use super::{
    BuildScope, Hooks, Policy, acl, any_of, api_key, bandwidth, basic, cache, client_limit,
    compression, concurrency, cors, failed_authentications, fault, forward_auth, hmac,
    https_redirect, identity_token, introspection, ip_access, jwt, limit_fields, mtls, oidc, quota,
    rate_limit, request_headers, response_headers, security_headers, size_limits,
};
use crate::cache::Cache;
use crate::facts::Variables;
use crate::identity::Directory;
use crate::limits;
use crate::stores::Stores;
use crate::text::{Setting, Sources, Spanned, Subject};

/// What names and paths in policies stand for.
#[derive(Clone, Copy)]
pub struct References<'a> {
    pub sources: &'a Sources,
    pub identity: &'a Directory,
    pub limits: &'a limits::Room,
    pub cache: &'a Arc<Cache>,
    pub plans: &'a Arc<limits::Plans>,
    pub stores: &'a Stores,
    /// Whether requests may be made to fail on purpose.
    pub allows_faults: bool,
}

macro_rules! policies {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The `policies` table of a gateway, a listener or a route.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: Option<Box<Spanned<Setting<<$name::Policy as Policy>::Config>>>>,)+
        }

        /// The compiled policies of one scope, or of several laid over each other.
        #[derive(Clone, Default)]
        pub struct Layer {
            $($name: Slot<$name::Policy>,)+
            /// Whether what it does depends on files besides those of the configuration.
            pub reads_files: bool,
        }

        impl Layer {
            /// Compiles what one scope says. What cannot be compiled is left out, after diagnostics.
            pub fn build(
                config: &Config,
                scope: Scope,
                variables: Variables<'_>,
                references: References<'_>,
                subject: &mut Subject<'_>,
            ) -> Layer {
                let mut policies = subject.key("policies");
                let reads_files = Cell::new(false);
                let References { sources, identity, limits, cache, plans, stores, allows_faults } = references;
                let layer = Layer {
                    $($name: match &config.$name {
                        None => Slot::unsaid(),
                        Some(setting) => {
                            let origin = Origin { policy: $name::Policy::NAME, scope, span: setting.span, is_for_upstream: false };
                            match &setting.value {
                                Setting::Off => Slot::off(origin),
                                Setting::On(config) => {
                                    let subject = policies.key($name::Policy::NAME);
                                    let span = setting.span;
                                    let folder = sources.folder(span.source);
                                    let reads_files = &reads_files;
                                    let mut scope = BuildScope { subject, span, variables, identity, limits, cache, plans, stores, allows_faults, folder, reads_files };
                                    match $name::Policy::build(config, &mut scope) {
                                        Some(policy) => Slot::on(policy, origin),
                                        None => Slot::unsaid(),
                                    }
                                }
                            }
                        }
                    },)+
                    reads_files: false,
                };
                Layer { reads_files: reads_files.get(), ..layer }
            }

            /// This scope over a wider one: what it says replaces what the wider one says, policy by policy.
            pub fn over(&self, wider: &Layer) -> Layer {
                Layer {
                    $($name: self.$name.or(&wider.$name),)+
                    reads_files: self.reads_files || wider.reads_files,
                }
            }

            /// The hooks of every policy that is on, in order.
            /// `route` is the name of the route that has them.
            pub fn pipeline(&self, route: &str) -> Pipeline {
                let mut hooks = Hooks { route: route.into(), ..Hooks::default() };
                let mut origins = Origins::default();
                $(self.$name.claim(&mut hooks, &mut origins);)+
                Pipeline::new(hooks, origins)
            }
        }
    };
}

policies! {
    /// What makes browsers stricter with the responses.
    security_headers,
    /// Who may come in, by address.
    ip_access,
    /// How often an address may call.
    client_limit,
    /// Sends who comes by `http` to `https`.
    https_redirect,
    /// Which sites' scripts may read the responses.
    cors,
    /// How often an address may show credentials that are no good.
    failed_authentications,
    /// Who calls is proven by the certificate of the TLS handshake.
    mtls,
    /// Who calls is proven by a JSON Web Token.
    jwt,
    /// Who calls is proven by a signature of the request.
    hmac,
    /// Who calls is said by the server that gave the token out.
    introspection,
    /// A service decides.
    forward_auth,
    /// Who calls is proven by a key.
    api_key,
    /// Who calls is proven by a name and a password.
    basic,
    /// Who calls is proven by a login of the browser.
    oidc,
    /// Which of several authenticators have to prove who calls.
    any_of,
    /// What a caller must be, have or do to come in.
    acl,
    /// How many requests of a caller may be served at a time. Before what counts for longer: who is refused here is charged
    /// for nothing.
    concurrency,
    /// How often a caller may call.
    rate_limit,
    /// How much a caller may have in a day or a month.
    quota,
    /// How fast the bodies of a caller may flow.
    bandwidth,
    /// Makes requests slow, or makes them fail. Last of those that may keep a request from the upstream.
    fault,
    /// Keeps responses, and answers with them. Behind all that may refuse a request.
    cache,
    /// How clients are told of their limits.
    limit_fields,
    /// Compresses responses for clients that can decode them.
    compression,
    /// How long bodies may be.
    size_limits,
    /// A token for the upstream that says who calls.
    identity_token,
    /// Headers of the request that the upstream gets.
    request_headers,
    /// Headers of the response that the client gets.
    response_headers,
}
