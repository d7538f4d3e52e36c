//! Serving what is good of a configuration that has mistakes (`gateway.on_error = "quarantine"`).

use northgate::config::{compile, load_text, recompile};
use northgate::observability::Metrics;

use crate::harness::*;

const START: &str = r#"
[gateway]
on_error = "quarantine"

[upstreams.good]
endpoints = ["127.0.0.1:1"]

[routes.everything]
match = { path = "/{*rest}" }
respond = { status = 200, body = "everything" }
"#;

/// Objects with mistakes, one of each kind of mistake that can be kept to one object. Each has the route `/bad`.
const CONTAINED: [(&str, &str); 10] = [
    (
        "an unknown key",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nupstreem = \"good\"",
    ),
    (
        "a value of another type",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nupstream = \"good\"\ntimeout = 5",
    ),
    ("no action", "[routes.bad]\nmatch = { path = \"/bad\" }"),
    (
        "two actions",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nupstream = \"good\"\nrespond = { status = 200 }",
    ),
    (
        "a redirect to nowhere",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nredirect = { to = \"{no_such_thing}\" }",
    ),
    (
        "an unknown upstream",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nupstream = \"god\"",
    ),
    (
        "a policy of a bad shape",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nrespond = { status = 200 }\npolicies.ip_access = { alow = [] }",
    ),
    (
        "a policy that does not compile",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nrespond = { status = 200 }\npolicies.request_headers.set = { x-a = \"{path.no}\" }",
    ),
    (
        "an upstream of a bad shape",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nupstream = \"bad\"\n[upstreams.bad]\nendpoints = [\"?\"]",
    ),
    (
        "an upstream that does not compile",
        "[routes.bad]\nmatch = { path = \"/bad\" }\nupstream = \"bad\"\n[upstreams.bad]\nendpoints = [\"127.0.0.1:1\"]\ntls.ca = \"/no/such/file\"",
    ),
];

#[tokio::test]
async fn what_is_bad_answers_503_and_goes_to_nobody_else() {
    for (what, text) in CONTAINED {
        let gateway = Gateway::start(&format!("{START}\n{text}\n")).await;
        for protocol in [Protocol::Http1, Protocol::H2] {
            let client = gateway.client(protocol);
            let answer = client.send(get("/bad")).await;
            assert_eq!(answer.status, 503, "{what}");
            answer.assert_problem(503, "quarantined");
            let answer = client.send(get("/bad/below")).await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, "everything".to_owned())
            );
        }
        let call = get("/bad").header("content-type", "application/grpc");
        let answer = gateway.http2().send(call).await;
        assert_eq!(answer.header("grpc-status"), Some("14"), "{what}");
        let metrics = gateway.metrics().await;
        let is_counted = |kind: &str, count: usize| {
            metrics.contains(&format!(
                "northgate_config_quarantined{{kind=\"{kind}\"}} {count}\n"
            ))
        };
        let has_upstream = usize::from(text.contains("[upstreams.bad]"));
        assert!(is_counted("route", 1), "{what}: {metrics}");
        assert!(is_counted("upstream", has_upstream), "{what}: {metrics}");
        assert!(is_counted("listener", 0), "{what}: {metrics}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_bad_listener_is_not_opened_and_the_others_are() {
    let text = r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        [listeners.typo]
        bind = "127.0.0.1:0"
        protocolls = []
        [listeners.no-certificate]
        bind = "127.0.0.1:0"
        tls = { certificates = [{ cert = "/no/such.pem", key = { file = "/no/such.key" } }] }
        [listeners.bad-policy]
        bind = "127.0.0.1:0"
        policies.request_headers.set = { x-a = "{no.such}" }
        [routes.elsewhere]
        match = { path = "/elsewhere" }
        listeners = ["typo", "bad-policy"]
        respond = { status = 204 }
    "#;
    let gateway = Gateway::start(&format!("{START}\n{text}")).await;
    let answer = gateway.http1().send(get("/elsewhere")).await;
    assert_eq!(answer.text(), "everything");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("northgate_config_quarantined{kind=\"listener\"} 3\n"));
    gateway.stop().await;
}

#[test]
fn nobody_loses_a_listener_that_is_open() {
    let good = "[listeners.a]\nbind = \"127.0.0.1:0\"\n[listeners.b]\nbind = \"127.0.0.1:0\"\n";
    let mut loaded = load_text("a.toml", &format!("{START}\n{good}"));
    let metrics = Metrics::new();
    let before = compile(&mut loaded, &metrics).expect("it is good").snapshot;
    for mistake in [
        "protocolls = []\n",
        "policies.request_headers.set = { x-a = \"{no.such}\" }\n",
    ] {
        let mut loaded = load_text("a.toml", &format!("{START}\n{good}{mistake}"));
        let at_start = compile(&mut loaded, &metrics).expect("the other one is good");
        assert_eq!(at_start.quarantined.len(), 1, "{mistake}");
        let mut loaded = load_text("a.toml", &format!("{START}\n{good}{mistake}"));
        assert!(
            recompile(&mut loaded, &metrics, Some(&before)).is_none(),
            "{mistake}"
        );
    }
}

#[test]
fn what_cannot_be_kept_to_one_object_is_refused() {
    let listener = "[listeners.public]\nbind = \"127.0.0.1:0\"\n";
    let route = "[routes.a]\nrespond = { status = 200 }\n";
    let refused = [
        ("syntax", format!("{listener}[routes.a\n")),
        ("a matcher that is missing", format!("{listener}{route}")),
        ("a matcher of a bad shape", format!("{listener}{route}match = {{ pth = \"/\" }}\n")),
        ("a matcher that does not compile", format!("{listener}{route}match = {{ path = \"/{{a}}/{{a}}\" }}\n")),
        ("an unknown listener", format!("{listener}{route}match = {{}}\nlisteners = [\"publik\"]\n")),
        ("a bad name", format!("{listener}[routes.\"a b\"]\nmatch = {{}}\nrespond = {{ status = 200 }}\n")),
        ("an unknown section", format!("{listener}[rutes.a]\n")),
        ("a bad admin", format!("{listener}[admin]\nbind = \"0.0.0.0:1\"\n")),
        ("a missing include", listener.to_owned()),
        ("no good listener", "[listeners.a]\nbind = 1\n".to_owned()),
        ("no listener that compiles", "[listeners.a]\nbind = \"127.0.0.1:0\"\ntls = { certificates = [{ cert = \"/no.pem\", key = { file = \"/no.key\" } }] }\n".to_owned()),
        ("a shared address", "[listeners.a]\nbind = \"127.0.0.1:1\"\n[listeners.b]\nbind = \"127.0.0.1:1\"\n".to_owned()),
    ];
    for (what, text) in refused {
        let include = match what {
            "a missing include" => "include = [\"/no/such.toml\"]\n",
            _ => "",
        };
        let mut loaded = load_text("a.toml", &format!("{include}{START}\n{text}"));
        let compiled = compile(&mut loaded, &Metrics::new());
        assert!(compiled.is_none(), "{what}");
        assert!(loaded.diagnostics.has_errors(), "{what}");
    }
    let shared = "[gateway]\non_error = \"quarantine\"\npolicies.request_headers.set = { x-a = \"{no.such}\" }\n";
    let mut loaded = load_text("a.toml", &format!("{shared}{listener}"));
    assert!(
        compile(&mut loaded, &Metrics::new()).is_none(),
        "a shared policy"
    );
}

/// A route is in a table for each group of listeners that inherit the same policies.
#[tokio::test]
async fn a_route_without_a_way_in_is_bad_once_on_all_listeners() {
    let bad = r#"
        [routes.bad]
        match = { path = "/bad" }
        respond = { status = 200 }
        policies.acl = { roles = ["support"] }
    "#;
    let unknown = bad.replace("respond = { status = 200 }", "upstream = \"god\"");
    let listeners = r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        [listeners.other]
        bind = "127.0.0.1:0"
        policies.response_headers.set = { x-a = "1" }
    "#;
    for bad in [bad, &unknown] {
        let gateway = Gateway::start(&[START, listeners, bad].concat()).await;
        for listener in ["public", "other"] {
            let client = Client::of(gateway.address_of(listener), Protocol::Http1);
            let answer = client.send(get("/bad")).await;
            answer.assert_problem(503, "quarantined");
            assert_eq!(client.send(get("/good")).await.text(), "everything");
        }
        let metrics = gateway.metrics().await;
        assert!(metrics.contains("northgate_config_quarantined{kind=\"route\"} 1\n"));
        gateway.stop().await;
    }
    let refused = [
        &START.replace("on_error = \"quarantine\"", ""),
        listeners,
        bad,
    ]
    .concat();
    let mut loaded = load_text("a.toml", &refused);
    assert!(compile(&mut loaded, &Metrics::new()).is_none());
    assert_eq!(loaded.diagnostics.error_count(), 1, "it is told once");
}

#[test]
fn without_the_option_every_mistake_is_refused() {
    let start = START.replace("on_error = \"quarantine\"", "");
    for (what, text) in CONTAINED {
        let text = format!("{start}\n{text}\n[listeners.public]\nbind = \"127.0.0.1:0\"\n");
        let mut loaded = load_text("a.toml", &text);
        assert!(compile(&mut loaded, &Metrics::new()).is_none(), "{what}");
    }
}
