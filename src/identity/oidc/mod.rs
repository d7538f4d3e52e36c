//! Login of browsers at a provider of OpenID Connect: what is behind the policy `oidc` and the action `login`.
//!
//! In: cookies, and what the provider sends by the browser, by its token endpoint and by its back channel. Out: who a
//! session is of, and where a browser has to go next. Sessions are kept here or in a store; a browser holds a sealed
//! number and nothing else. This must never know which route a request has come by, and never say to a browser what
//! a provider has said.
//!
//! # One login
//! ```text
//!  browser ── GET /orders ─────────────► no session: a seed is drawn; state, nonce and verifier come from it
//!          ◄─ 302, the seed sealed in a cookie ── provider: login ── callback?state&code&iss
//!          ── GET callback ────────────► the cookie of this state opens; code + verifier ──► provider: tokens
//!                                        ID token: signature, iss, aud, azp, exp, nonce; claims ──► identity
//!          ◄─ 302 to /orders, a new session's id sealed in a cookie, the login's cookie gone
//! ```
//!
//! # One renewal
//! ```text
//!  due? ── one for all requests of this node, one for all nodes: a lock in the store
//!       ── refresh token ──► provider: new tokens ── kept at once, the old ones being spent
//!       ── ID token: as above, of the same person; userinfo, if asked ── claims replaced ── kept ── lock given back
//! ```
//! What ends a session ends it in the store first and in the memory of the node then, and nobody remembers a session that
//! he has begun to look up before.

mod build;
mod callback;
mod config;
mod cookie;
mod exchange;
mod logout;
mod memory;
mod metadata;
mod pending;
mod provider;
mod refresh;
mod renewal;
mod seal;
mod session;
mod sessions;
mod shared;
mod token;

pub use build::Provider;
pub use callback::{Failure, FailureKind};
pub use config::{ClientAuth, Config, OnStoreDown, SessionConfig};
pub use cookie::{Cookies, OwnCookies};
pub use provider::{Core, Looked, Settled, Step, is_target};
pub use session::{BrowserSession, SessionId};
