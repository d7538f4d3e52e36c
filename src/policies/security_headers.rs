//! `security_headers`: what makes browsers stricter with the responses.
//!
//! ```toml
//! [listeners.public.policies.security_headers]
//! hsts = { max_age = "730d", include_subdomains = true, preload = true }
//! frame_options = "DENY"
//! content_security_policy = "default-src 'self'; frame-ancestors 'none'"
//! ```
//!
//! `security_headers = {}` sends `Strict-Transport-Security: max-age=31536000` to who came by `https`,
//! `X-Content-Type-Options: nosniff`, `X-Frame-Options: SAMEORIGIN` and
//! `Referrer-Policy: strict-origin-when-cross-origin`; each of them can be switched off, as `frame_options = "off"`.
//! Those that depend on what a site loads and who may load it (`content_security_policy`, `permissions_policy` and
//! the two of `cross_origin_…`) are sent only where they are given, because a guess would break pages.
//!
//! A header that the upstream has set stays as it is, on the ground that it knows its pages better; so does one that
//! `response_headers` has set. With `override = true` these here win. They are also added to the replies of the
//! gateway itself.
//!
//! Browsers keep what `hsts` tells them: to take it back, send
//! `response_headers = { set = { strict-transport-security = "max-age=0" } }` for as long as it lasted.

use std::sync::Arc;

use http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{BuildScope, Hooks, OnResponse};
use crate::facts::{Scheme, View};
use crate::text::{Duration, Setting, Spanned, Subject};

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What makes browsers stricter with the responses.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `Strict-Transport-Security` (RFC 6797), for who came by `https`: browsers then use nothing else for the host,
    /// on none of its ports. Default: `{}`.
    pub hsts: Setting<Hsts>,
    /// `X-Content-Type-Options`. Default: `"nosniff"`.
    pub content_type_options: Setting<ContentTypeOptions>,
    /// `X-Frame-Options`: who may show the pages in a frame. Default: `"SAMEORIGIN"`. To name sites, write
    /// `frame-ancestors` into `content_security_policy`, beside which browsers ignore this one.
    pub frame_options: Setting<FrameOptions>,
    /// `Referrer-Policy`: what other sites learn of where their visitors come from. Default:
    /// `"strict-origin-when-cross-origin"`.
    pub referrer_policy: Setting<ReferrerPolicy>,
    /// `Content-Security-Policy`. May go over several lines. Default: not sent.
    pub content_security_policy: Option<Spanned<String>>,
    /// `Permissions-Policy`: `"camera=(), geolocation=(self)"`. May go over several lines. Default: not sent.
    pub permissions_policy: Option<Spanned<String>>,
    /// `Cross-Origin-Opener-Policy`. Default: not sent.
    pub cross_origin_opener_policy: Setting<OpenerPolicy>,
    /// `Cross-Origin-Resource-Policy`: who may load what is not asked for by CORS. Default: not sent.
    pub cross_origin_resource_policy: Setting<ResourcePolicy>,
    /// Whether what the upstream says in these headers is replaced. Default: no, it stays.
    pub r#override: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hsts: Setting::On(Hsts::default()),
            content_type_options: Setting::On(ContentTypeOptions::Nosniff),
            frame_options: Setting::On(FrameOptions::SameOrigin),
            referrer_policy: Setting::On(ReferrerPolicy::StrictOriginWhenCrossOrigin),
            content_security_policy: None,
            permissions_policy: None,
            cross_origin_opener_policy: Setting::Off,
            cross_origin_resource_policy: Setting::Off,
            r#override: false,
        }
    }
}

/// `Strict-Transport-Security`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hsts {
    /// How long browsers keep to it after each response. Default: `"365d"`.
    pub max_age: Option<Spanned<Duration>>,
    /// Whether it is for every host below this one as well. Default: no.
    pub include_subdomains: bool,
    /// Whether browsers may ship it, which hardly can be taken back. It takes `include_subdomains` and a `max_age` of
    /// a year or more. Default: no.
    pub preload: Option<Spanned<bool>>,
}

macro_rules! keywords {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $word_doc:literal])* $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
        pub enum $name { $($(#[doc = $word_doc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            fn value(self) -> HeaderValue {
                HeaderValue::from_static(match self { $($name::$variant => $word,)+ })
            }
        }
    };
}

keywords! {
    /// `X-Content-Type-Options`.
    ContentTypeOptions { Nosniff = "nosniff", }
}

keywords! {
    /// `X-Frame-Options` (RFC 7034).
    FrameOptions { Deny = "DENY", SameOrigin = "SAMEORIGIN", }
}

keywords! {
    /// `Referrer-Policy`.
    ReferrerPolicy {
        NoReferrer = "no-referrer",
        NoReferrerWhenDowngrade = "no-referrer-when-downgrade",
        SameOrigin = "same-origin",
        Origin = "origin",
        StrictOrigin = "strict-origin",
        OriginWhenCrossOrigin = "origin-when-cross-origin",
        StrictOriginWhenCrossOrigin = "strict-origin-when-cross-origin",
        UnsafeUrl = "unsafe-url",
    }
}

keywords! {
    /// `Cross-Origin-Opener-Policy`.
    OpenerPolicy {
        UnsafeNone = "unsafe-none",
        SameOriginAllowPopups = "same-origin-allow-popups",
        SameOrigin = "same-origin",
        NoopenerAllowPopups = "noopener-allow-popups",
    }
}

keywords! {
    /// `Cross-Origin-Resource-Policy`.
    ResourcePolicy { SameSite = "same-site", SameOrigin = "same-origin", CrossOrigin = "cross-origin", }
}

/// Adds the headers, which are made at load.
#[derive(Debug)]
pub struct Policy {
    headers: Box<[(HeaderName, HeaderValue)]>,
    hsts: Option<HeaderValue>,
    overrides: bool,
}

impl super::Policy for Policy {
    const NAME: &'static str = "security_headers";
    type Config = Config;

    fn build(config: &Config, scope: &mut BuildScope<'_>) -> Option<Policy> {
        let before = scope.subject.error_count();
        let hsts = config.hsts.as_ref().on();
        let hsts = hsts.map(|hsts| hsts.value(&mut scope.subject.key("hsts")));
        let mut written = |key, text: &Option<Spanned<String>>| {
            let text = text.as_ref()?;
            in_one_line(text, &mut scope.subject.key(key))
        };
        let policy = written("content_security_policy", &config.content_security_policy);
        let permissions = written("permissions_policy", &config.permissions_policy);
        let options = config.content_type_options.on();
        let frame = config.frame_options.on();
        let referrer = config.referrer_policy.on();
        let opener = config.cross_origin_opener_policy.on();
        let resource = config.cross_origin_resource_policy.on();
        let headers = [
            (
                X_CONTENT_TYPE_OPTIONS,
                options.map(ContentTypeOptions::value),
            ),
            (X_FRAME_OPTIONS, frame.map(FrameOptions::value)),
            (REFERRER_POLICY, referrer.map(ReferrerPolicy::value)),
            (CONTENT_SECURITY_POLICY, policy),
            (PERMISSIONS_POLICY, permissions),
            (OPENER_POLICY, opener.map(OpenerPolicy::value)),
            (RESOURCE_POLICY, resource.map(ResourcePolicy::value)),
        ];
        let headers = headers.into_iter();
        (scope.subject.error_count() == before).then_some(Policy {
            headers: headers
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            hsts,
            overrides: config.r#override,
        })
    }

    fn hooks(self: &Arc<Self>, hooks: &mut Hooks) {
        hooks.on_response(self.clone());
    }
}

impl Hsts {
    fn value(&self, subject: &mut Subject<'_>) -> HeaderValue {
        let max_age = self.max_age.as_ref().map_or(YEAR, |max_age| max_age.value);
        let preload = self.preload.filter(|preload| preload.value);
        if let Some(preload) = preload.filter(|_| !self.include_subdomains || max_age < YEAR) {
            let what = "needs include_subdomains = true and a max_age of a year or more";
            let mut subject = subject.key("preload");
            let problem = subject.error(preload.span, what);
            problem.help("browsers' lists take no other: https://hstspreload.org");
        }
        let subdomains = if self.include_subdomains {
            "; includeSubDomains"
        } else {
            ""
        };
        let preload = if preload.is_some() { "; preload" } else { "" };
        let seconds = max_age.as_std().as_secs();
        let value = format!("max-age={seconds}{subdomains}{preload}");
        HeaderValue::try_from(value).expect("it is ASCII")
    }
}

/// A long value as people write it, over several lines.
fn in_one_line(text: &Spanned<String>, subject: &mut Subject<'_>) -> Option<HeaderValue> {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        subject.error(text.span, "is empty").help("leave it out");
        return None;
    }
    match HeaderValue::from_str(&line) {
        Ok(value) if line.is_ascii() => Some(value),
        _ => {
            subject.error(text.span, "is not allowed in a header value");
            None
        }
    }
}

impl OnResponse for Policy {
    fn on_response(&self, headers: &mut HeaderMap, view: View<'_>) {
        for (name, value) in &self.headers {
            self.set(headers, name, value);
        }
        // RFC 6797 section 7.2: never over plain HTTP, where anybody could say it.
        if let Some(hsts) = &self.hsts
            && view.facts.scheme == Scheme::Https
        {
            self.set(headers, &STRICT_TRANSPORT_SECURITY, hsts);
        }
    }
}

impl Policy {
    fn set(&self, headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
        if self.overrides || !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
}
