//! `[identity.forward_auth.NAME]`.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::identity::hmac::Component;
use crate::identity::{Capacity, ClientConfig, Url};
use crate::text::{
    Bounded, Duration, HeaderName, ParsedText, SizeUpTo, Spanned, parsed_text, quoted,
};

/// A service that is asked about each request.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ForwardAuthConfig")]
pub struct Config {
    /// Where it is asked. The request's own path is in `X-Forwarded-Uri` and not here.
    pub url: Spanned<Url>,
    /// The method that it is asked with: `"get"`, or `"same"` as the request has. Default `"get"`.
    #[serde(default)]
    pub method: Method,
    /// The headers of the request that it gets. The upstream does not get the credentials among them, but for cookies,
    /// unless the policy says `keep_credentials = true`. Default `["authorization", "cookie"]`.
    pub request_headers: Option<Vec<Spanned<HeaderName>>>,
    /// It gets bodies of up to this length, too, and a longer one is refused with 413. Needs `method = "same"`; at
    /// most 64 KiB. The request waits for its body then. Default: it gets none.
    pub body: Option<Spanned<SizeUpTo<64>>>,
    /// The headers of an answer that allows which the upstream gets. What a client sends under these names reaches no
    /// upstream, so none that credentials are read from can be among them. Default: none.
    #[serde(default)]
    pub response_headers: Vec<Spanned<HeaderName>>,
    /// The headers of an answer that refuses which the client gets, beside `Content-Type`. Default
    /// `["www-authenticate", "location", "set-cookie"]`.
    pub answer_headers: Option<Vec<Spanned<HeaderName>>>,
    /// Which headers of an answer that allows say who it is.
    #[serde(default)]
    pub identity: Fields,
    /// Remembers answers that allow. Default: it is asked about each request.
    pub remember: Option<Remember>,
    /// How many requests may wait for it, from 1 to 10,000. What comes beyond that waits for as long as
    /// `client.timeout`, and then gets 503, whatever `on_server_down` says. Default 256.
    #[serde(default = "places")]
    pub concurrent: Bounded<1, 10_000>,
    /// What becomes of a request where there is no connection to the service, no answer in time, or a 5xx: `"refuse"`
    /// with 503, or `"allow"`, as an anonymous caller and without any of `response_headers`. Default `"refuse"`.
    #[serde(default)]
    pub on_server_down: OnServerDown,
    /// How the service is asked.
    #[serde(default)]
    pub client: ClientConfig,
}

/// The method that a service is asked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ForwardAuthMethod")]
pub enum Method {
    #[default]
    Get,
    Same,
}

/// What to do where the service cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OnForwardAuthDown")]
pub enum OnServerDown {
    #[default]
    Refuse,
    Allow,
}

/// Headers that say who calls. Those with lists divide them by commas or spaces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ForwardAuthFields")]
pub struct Fields {
    /// Who it is. An answer that does not say counts as none. Default: nobody is named.
    pub subject: Option<HeaderName>,
    /// A name of `[consumers]`; an answer with another counts as none. Default: none.
    pub consumer: Option<HeaderName>,
    /// What it may do. Default: none.
    pub scopes: Option<HeaderName>,
    /// What it is. Default: none.
    pub roles: Option<HeaderName>,
    /// What it belongs to. Default: none.
    pub groups: Option<HeaderName>,
    /// What it has bought. Default: the consumer's.
    pub plan: Option<HeaderName>,
}

/// How answers that allow are remembered.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ForwardAuthRemember")]
pub struct Remember {
    /// What requests have to have in common for one answer to be for both: names of headers, `@method`,
    /// `@authority`, `@path`, `@query`, `@scheme`, `@target-uri` or `client.ip`. Whatever the service decides by has
    /// to be here: who differs in nothing else is let in by the answer for another.
    pub by: Spanned<Vec<KeyPart>>,
    /// For how long. Default `"10s"`.
    #[serde(default = "ten_seconds")]
    pub r#for: Duration,
    /// How many, from 1,000 to 100,000,000. Default 100,000.
    #[serde(default = "hundred_thousand")]
    pub answers: Capacity,
}

/// Something of a request that tells it from others.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyPart {
    Of(Component),
    ClientIp,
}

impl KeyPart {
    pub(super) fn is_field(&self, name: &http::HeaderName) -> bool {
        matches!(self, KeyPart::Of(Component::Field(it, _)) if it == name)
    }
}

impl FromStr for KeyPart {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyPart, String> {
        if text == "client.ip" {
            return Ok(KeyPart::ClientIp);
        }
        let component = Component::named(text).map(KeyPart::Of);
        component.ok_or_else(|| {
            format!(
                "must be client.ip, a component of requests such as \"@path\", or a header in lower case, got {}",
                quoted(text)
            )
        })
    }
}

impl ParsedText for KeyPart {
    const EXPECTED: &'static str = "client.ip, a component of requests or a header";
}

parsed_text!(
    KeyPart,
    "string",
    "^(client\\.ip|@[a-z-]+|[a-z0-9!#$%&'*+.^_`|~-]+)$",
    "`client.ip`, a component of requests by its name in RFC 9421, or a header in lower case."
);

fn places() -> Bounded<1, 10_000> {
    Bounded::new(256).expect("it is within the bounds")
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn hundred_thousand() -> Capacity {
    Capacity::new(100_000)
}
