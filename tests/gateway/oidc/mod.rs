//! `oidc` and `login`: browsers log in at a real provider.

mod attacks;
mod broken_store;
mod browser;
mod exchanges;
mod flow;
mod forged_tokens;
mod logout;
mod renewal;
mod sessions;
mod shared;
mod thief;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

/// Where browsers believe the gateway to be. What they send to it is sent to its real address.
pub const HOST: &str = "app.test";
pub const ORIGIN: &str = "https://app.test";
pub const SESSION: &str = "__Host-northgate-main";

pub const KEY: &str = "one key of at least 32 bytes, and no other";

const CONFIG: &str = r#"
    [identity.oidc.main]
    issuer = "$issuer"
    client_id = "web"
    client_secret = { file = "$folder/secret" }
    callback_url = "https://app.test/oauth/callback"
    scopes = ["email"]
    session = $session
    $more

    [upstreams.shop]
    endpoints = ["$shop"]

    [gateway.policies.request_headers.set]
    x-who = "{identity.subject}"
    x-roles = "{identity.roles}"

    [routes.login]
    match = { path = "/oauth/{*rest}" }
    login = "main"

    [routes.account]
    match = { path = "/account/{*rest}" }
    upstream = "shop"
    policies.oidc = { providers = ["main"] }

    [routes.public]
    match = { path = "/public" }
    upstream = "shop"
    policies.oidc = { providers = ["main"], anonymous = "allow" }
"#;

/// Lines of a request's header.
pub type Lines<'a> = &'a [(&'a str, &'a str)];

/// A shop behind a gateway, and the provider that its people log in at.
pub struct Shop {
    pub provider: Provider,
    pub origin: Origin,
    pub gateway: Gateway,
    pub folder: TempDir,
}

/// What [`Shop::with`] changes.
#[derive(Default)]
pub struct Change<'a> {
    /// `session = …`; without it, with [`KEY`].
    pub session: Option<&'a str>,
    /// Lines of `[identity.oidc.main]` and below.
    pub more: &'a str,
    /// Sections.
    pub sections: &'a str,
}

impl Shop {
    pub async fn open() -> Shop {
        Shop::with(Change::default()).await
    }

    pub async fn with(change: Change<'_>) -> Shop {
        let provider = Provider::start().await;
        provider.configure(client()).await;
        let folder = tempfile::tempdir().expect("a folder");
        for (name, secret) in [("secret", "web-secret"), ("key", KEY)] {
            std::fs::write(folder.path().join(name), secret).expect("a file");
        }
        let origin = Origin::http1(|seen| text(format!("for {:?}", seen.header("x-who"))));
        let gateway = draft(&provider, &origin, &folder, &change).start().await;
        Shop {
            provider,
            origin,
            gateway,
            folder,
        }
    }

    /// Another gateway of the same shop.
    pub async fn again(&self, change: Change<'_>) -> Gateway {
        let draft = draft(&self.provider, &self.origin, &self.folder, &change);
        draft.start().await
    }

    /// Has the gateway serve another configuration.
    pub async fn reload(&mut self, change: Change<'_>) {
        let draft = draft(&self.provider, &self.origin, &self.folder, &change);
        draft.apply(&mut self.gateway).await.expect("it is good");
    }
}

fn draft(provider: &Provider, origin: &Origin, folder: &TempDir, change: &Change<'_>) -> Draft {
    let session = change
        .session
        .unwrap_or("{ keys = [{ file = \"$folder/key\" }] }");
    let toml = CONFIG
        .replace("$session", session)
        .replace("$more", change.more);
    Gateway::draft(&format!("{toml}\n{}", change.sections))
        .with("issuer", provider.issuer())
        .with("folder", folder.path().display())
        .with("shop", origin)
}

/// The gateway as a client of the provider.
pub fn client() -> Value {
    json!({ "clients": [{
        "client_id": "web",
        "client_secret": "web-secret",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": ["https://app.test/oauth/callback"],
        "post_logout_redirect_uris": ["https://app.test/"],
        "scope": "openid email offline_access",
    }] })
}

/// What a browser keeps: cookies by host.
#[derive(Clone, Default)]
pub struct Browser {
    pub cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let key = (HOST.to_owned(), name.to_owned());
        self.cookies.get(&key).map(String::as_str)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.cookies
            .insert((HOST.to_owned(), name.to_owned()), value.to_owned());
    }

    /// The names of the cookies of logins that have begun.
    pub fn begun(&self) -> Vec<String> {
        let names = self.cookies.keys().map(|(_, name)| name.clone());
        names.filter(|name| name.contains("-login-")).collect()
    }

    /// Sends a request with the host's cookies, and takes those of the answer.
    pub async fn send(&mut self, client: &Client, host: &str, ask: Ask) -> Answer {
        let own = self.cookies.iter().filter(|((of, _), _)| of == host);
        let line: Vec<_> = own
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let mut ask = ask.host(host);
        if !line.is_empty() {
            ask = ask.header("cookie", &line.join("; "));
        }
        let answer = client.send(ask).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().expect("ASCII");
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').expect("a cookie");
            let key = (host.to_owned(), name.to_owned());
            let is_over = attributes.contains("Max-Age=0") || attributes.contains("1970");
            match is_over {
                true => drop(self.cookies.remove(&key)),
                false => drop(self.cookies.insert(key, value.to_owned())),
            }
        }
        answer
    }

    /// Opens a page of the gateway, as by a link.
    pub async fn open(&mut self, gateway: &Gateway, target: &str) -> Answer {
        let ask = get(target)
            .header("accept", "text/html,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-site", "same-origin");
        self.send(&gateway.http1(), HOST, ask).await
    }

    /// What a script of a page asks for.
    pub async fn fetch(&mut self, gateway: &Gateway, target: &str) -> Answer {
        let ask = get(target).header("sec-fetch-mode", "cors");
        self.send(&gateway.http1(), HOST, ask).await
    }

    /// Goes where the gateway sends it, logs in at the provider, and gives the target of the callback.
    pub async fn log_in_at(&mut self, provider: &Provider, sent: &Answer, who: &str) -> String {
        let host = provider.address().to_string();
        let mut next = location(sent).to_owned();
        for _ in 0..10 {
            if let Some(target) = next.strip_prefix(ORIGIN) {
                return target.to_owned();
            }
            let target = next
                .strip_prefix(provider.issuer())
                .unwrap_or(&next)
                .to_owned();
            let mut answer = self.send(&provider.client(), &host, get(&target)).await;
            if answer.status == 200 {
                let form = post(&target, format!("login={who}&password=password"))
                    .header("content-type", "application/x-www-form-urlencoded");
                answer = self.send(&provider.client(), &host, form).await;
            }
            next = location(&answer).to_owned();
        }
        panic!("the login goes on for ever: {next}");
    }

    /// Opens a page, logs in on the way, and gives the page.
    pub async fn log_in(&mut self, shop: &Shop, target: &str, who: &str) -> Answer {
        let sent = self.open(&shop.gateway, target).await;
        assert_eq!(sent.status, 302, "{sent:?}");
        let callback = self.log_in_at(&shop.provider, &sent, who).await;
        let back = self.open(&shop.gateway, &callback).await;
        assert_eq!(back.status, 303, "{back:?}");
        let target = location(&back)
            .strip_prefix(ORIGIN)
            .expect("our own page")
            .to_owned();
        self.open(&shop.gateway, &target).await
    }
}

#[track_caller]
pub fn location(answer: &Answer) -> &str {
    let location = answer.header("location");
    location.unwrap_or_else(|| panic!("it leads nowhere: {answer:?}"))
}

/// The parameters of a URL's query.
pub fn query(url: &str) -> BTreeMap<String, String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}
