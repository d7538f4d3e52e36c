//! `[identity.oidc.NAME]` as written.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::{ClientConfig, MappingConfig, Url};
use crate::text::{Bounded, Duration, Name, Secret, Spanned};

/// Browser login at a provider of OpenID Connect.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OidcConfig")]
pub struct Config {
    /// The provider as it calls itself, byte for byte. Its other addresses and its keys are found from here
    /// (`/.well-known/openid-configuration`). Keys are asked for in the background every 5 minutes, or more often where the
    /// provider says so, and used for 6 hours at most while it gives no good answer.
    pub issuer: Spanned<Url>,
    /// The gateway's name at the provider.
    pub client_id: Spanned<String>,
    /// What proves to the provider that the gateway is it. Default: nothing does, a public client.
    pub client_secret: Option<Spanned<Secret>>,
    /// How the secret is shown. Default `"basic"`.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Where the provider sends browsers back to, as it is registered there. A route with `login` must serve it, and
    /// logins begin at its host alone. Beside it, in the same folder, are `login`, `logout`, `userinfo` and
    /// `backchannel-logout`.
    pub callback_url: Spanned<Url>,
    /// Asked for besides `openid`; `offline_access` is what most providers give refresh tokens for. Default: none.
    #[serde(default)]
    pub scopes: Vec<Spanned<String>>,
    /// Further parameters of the request for a login, such as `prompt` or `audience`. Default: none.
    #[serde(default)]
    pub parameters: BTreeMap<String, Spanned<String>>,
    /// Whether the claims of the userinfo endpoint are asked for at a login, too. Default `false`: those of the ID
    /// token are enough. They are asked for again with each renewal of the tokens.
    #[serde(default)]
    pub userinfo: bool,
    /// Where browsers go after a logout: a path of this host, or a URL that is registered at the provider. Default `"/"`.
    pub after_logout: Option<Spanned<String>>,
    /// Where sessions are and how long they last.
    #[serde(default)]
    pub session: SessionConfig,
    /// Which claims say what of the person.
    #[serde(default)]
    pub claims: MappingConfig,
    /// How many logins may end at the same time, from 1 to 10,000, and beside them how many sessions be renewed: both ask
    /// the provider. What comes beyond that waits for as long as `client.timeout`, and is then answered 503. Default 64.
    #[serde(default = "sixty_four")]
    pub concurrent: Bounded<1, 10_000>,
    /// How the provider is asked.
    #[serde(default)]
    pub client: ClientConfig,
}

fn sixty_four() -> Bounded<1, 10_000> {
    Bounded::new(64).expect("it is within the bounds")
}

/// How a client shows its secret (OpenID Connect Core section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `client_secret_basic`: in the `Authorization` header.
    #[default]
    Basic,
    /// `client_secret_post`: in the body.
    Post,
}

/// Sessions of one provider.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "OidcSessionConfig")]
pub struct SessionConfig {
    /// What cookies and stored sessions are sealed with: secrets of at least 32 bytes, from `openssl rand -base64 32`.
    /// The first seals and all open, so a new one is put first and the old one removed after `lifetime`. Default: one
    /// that is drawn at the start, so that sessions end with the process.
    pub keys: Vec<Spanned<Secret>>,
    /// A session ends after so long without a request. Default `"1h"`.
    pub idle: Option<Duration>,
    /// A session ends after so long whatever happens. Default `"12h"`.
    pub lifetime: Option<Spanned<Duration>>,
    /// How many sessions a node remembers; beyond, those that were not used for the longest time end, or have to be asked
    /// for at the store again. Default 20000.
    pub most: Option<NonZeroU32>,
    /// The store that keeps them for several gateways. Default: none, each process has its own.
    pub store: Option<Spanned<Name>>,
    /// How long a node believes in a session of the store without asking again: so long may it go unnoticed that it has
    /// ended at another node. Default `"5s"`.
    pub remember: Option<Duration>,
    /// What becomes of requests with a session while the store cannot be asked. Default `"refuse"`.
    pub on_store_down: OnStoreDown,
}

/// What becomes of requests with a session while the store cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreDown {
    /// They are answered 503.
    #[default]
    Refuse,
    /// Sessions that the node remembers go on as long as they may; a logout at another node goes unnoticed. The others
    /// are answered 503.
    Remembered,
}
