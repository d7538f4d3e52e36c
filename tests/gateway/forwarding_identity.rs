//! What upstreams are told of who calls, and that nobody else tells them.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};

use northgate::identity::api_key::{KeyHash, Prefix, make};

use crate::harness::*;

fn certificate(authority: &Authority, name: &str) -> Certificate {
    authority.issue_with(&[], |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params
            .subject_alt_names
            .push(SanType::DnsName(name.try_into().unwrap()));
    })
}

const GATEWAY: &str = r#"
    [listeners.tls]
    bind = "127.0.0.1:0"
    tls = { certificates = [$entry], client_auth = { mode = "optional", ca = "$ca" } }
    [listeners.clear]
    bind = "127.0.0.1:0"

    [consumers.acme]
    certificates = [{ dns = "acme.test" }]
    roles = ["partner", "pay er"]
    [consumers.small]
    certificates = [{ dns = "small.test" }]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.known]
    match = { path = "/known" }
    upstream = "shop"
    policies.mtls = { anonymous = "allow", forward = { x-user-id = "subject", x-user-roles = "roles", X_Odd-Name = "plan" } }

    [routes.templates]
    match = { path = "/templates" }
    upstream = "shop"
    policies.mtls = { anonymous = "allow" }
    policies.request_headers.set = { x-who = "{identity.subject}", x-plain = "of the route" }

    [routes.public]
    match = { path = "/public" }
    upstream = "shop"

    [routes.by-header]
    match = { path = "/public", headers = { x-user-id = "admin" } }
    upstream = "shop"
    rewrite = { path = "/forged" }
"#;

/// What is reserved, as servers that make `_` of everything see it.
const RESERVED: [&str; 4] = ["x_user_id", "x_user_roles", "x_odd_name", "x_who"];

fn folded(name: &str) -> String {
    let fold = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte.to_ascii_lowercase())
        } else {
            '_'
        }
    };
    name.bytes().map(fold).collect()
}

/// Every header by which an origin could have been told who calls.
fn told(seen: &Seen) -> Vec<String> {
    let names = seen
        .headers
        .keys()
        .filter(|name| RESERVED.contains(&&*folded(name.as_str())));
    let mut told: Vec<_> = names
        .map(|name| format!("{name}: {}", seen.headers[name].to_str().unwrap_or("?")))
        .collect();
    told.sort_unstable();
    told
}

async fn start(authority: &Authority, origin: &Origin, protocol: Protocol) -> Gateway {
    let server = authority.issue(&["shop.test"]);
    Gateway::draft(GATEWAY)
        .with("entry", server.entry())
        .with("ca", authority.path())
        .with("shop", origin)
        .with("protocol", protocol)
        .start()
        .await
}

#[tokio::test]
async fn upstreams_are_told_who_calls() {
    over_each_pair(|pair| async move {
        let authority = Authority::new();
        let origin = Origin::speaking(pair.origin, |_| text("served"));
        let gateway = start(&authority, &origin, pair.origin).await;
        let acme = certificate(&authority, "acme.test");
        let small = certificate(&authority, "small.test");
        let callers = [
            (authority.client_config(), vec![], vec![]),
            (
                authority.client_config_with(&acme),
                vec!["x-user-id: acme", "x-user-roles: partner pay%20er"],
                vec!["x-who: acme"],
            ),
            (
                authority.client_config_with(&small),
                vec!["x-user-id: small"],
                vec!["x-who: small"],
            ),
        ];
        for (config, forwarded, templates) in callers {
            let address = gateway.address_of("tls");
            let client = Client::over_tls(address, pair.client, "shop.test", config);
            for (path, expected) in [
                ("/known", forwarded),
                ("/templates", templates),
                ("/public", vec![]),
            ] {
                let forged = RESERVED.into_iter().fold(get(path), |ask, name| {
                    let ask = ask.header(&name.replace('_', "-"), "forged");
                    ask.header(name, "forged")
                });
                assert_eq!(client.send(forged).await.status, 200);
                let seen = origin.seen().pop().unwrap();
                assert_eq!(told(&seen), expected, "{path} {pair:?}");
                let plain = seen.header("x-plain");
                assert_eq!(plain, (path == "/templates").then_some("of the route"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_header_of_credentials_can_be_written_and_is_still_read_elsewhere() {
    let key = make(&Prefix::default()).expect("randomness").text;
    let toml = r#"
        [consumers.acme]
        api_keys = ["$key"]
        [identity.api_key.main]
        header = "authorization"
        scheme = "Bearer"
        [upstreams.shop]
        endpoints = ["$shop"]
        [routes.writes]
        match = { path = "/writes" }
        upstream = "shop"
        policies.api_key = { anonymous = "allow", keep_credentials = true }
        policies.request_headers.set = { authorization = "{identity.subject}" }
        [routes.reads]
        match = { path = "/reads" }
        upstream = "shop"
        policies.api_key = {}
        [routes.open]
        match = { path = "/open" }
        upstream = "shop"
    "#;
    let origin = Origin::http1(|_| text("served"));
    let gateway = Gateway::draft(toml)
        .with("key", KeyHash::of(key.as_bytes()))
        .with("shop", &origin)
        .start()
        .await;
    let client = gateway.http1();
    let good = format!("Bearer {}", &*key);
    for (path, shown, told) in [
        ("/writes", &*good, Some("acme")),
        // Another scheme is no credential here, and the upstream would take it for what the gateway says.
        ("/writes", "Basic forged", None),
        ("/reads", &*good, None),
        ("/open", "Basic of the client", Some("Basic of the client")),
    ] {
        let answer = client.send(get(path).header("authorization", shown)).await;
        assert_eq!(answer.status, 200, "{path}");
        let seen = origin.seen().pop().unwrap();
        assert_eq!(seen.header("authorization"), told, "{path} {shown}");
    }
    client
        .send(get("/reads"))
        .await
        .assert_problem(401, "unauthenticated");
}

/// What a client of HTTP/1.1 can write to have an origin believe that somebody calls.
const ATTACKS: [(&str, &str); 32] = [
    ("the name itself", "x-user-id: forged"),
    ("in upper case", "X-USER-ID: forged"),
    ("in mixed case", "X-User-Id: forged"),
    ("with underscores", "x_user_id: forged"),
    ("with one underscore", "x-user_id: forged"),
    ("with the other underscore", "x_user-id: forged"),
    ("with underscores in upper case", "X_USER_ID: forged"),
    ("with points", "x.user.id: forged"),
    ("with other signs", "x~user+id: forged"),
    ("twice", "x-user-id: forged\r\nx-user-id: forged"),
    ("in two spellings", "x-user-id: forged\r\nX_User_Id: forged"),
    ("without a value", "x-user-id:"),
    ("with spaces for a value", "x-user-id:   \t "),
    ("joined by commas", "x-user-id: a, forged"),
    ("not ASCII", "x-user-id: f\u{f6}rged"),
    ("roles", "x-user-roles: forged"),
    ("a name that is odd itself", "X_Odd-Name: forged"),
    ("the plain form of an odd name", "x-odd-name: forged"),
    ("another form of an odd name", "x_odd_name: forged"),
    ("what a template says elsewhere", "X-Who: forged"),
    ("what a template says, otherwise written", "X_Who: forged"),
    (
        "named by Connection",
        "connection: x-user-id\r\nx-user-id: forged",
    ),
    (
        "named by Connection, otherwise written",
        "connection: x_user_id\r\nx_user_id: forged",
    ),
    (
        "named by Keep-Alive",
        "keep-alive: x-user-id\r\nx-user-id: forged",
    ),
    (
        "named by Trailer",
        "trailer: x-user-id\r\nx-user-id: forged",
    ),
    ("behind a fold", "x-a: b\r\n x-user-id: forged"),
    ("with a space before the colon", "x-user-id : forged"),
    ("with a tab before the colon", "x-user-id\t: forged"),
    ("behind a bare line feed", "x-a: b\nx-user-id: forged"),
    ("with a letter that is not ASCII", "x-us\u{e9}r-id: forged"),
    (
        "with an upgrade",
        "connection: upgrade\r\nupgrade: websocket\r\nx-user-id: forged",
    ),
    (
        "with an upgrade that is named",
        "connection: upgrade, x-user-id\r\nupgrade: x\r\nx-user-id: forged",
    ),
];

#[tokio::test]
async fn no_client_says_who_calls_over_http1() {
    let authority = Authority::new();
    let origin = Origin::http1(|_| text("served"));
    let gateway = start(&authority, &origin, Protocol::Http1).await;
    let address = gateway.address_of("clear");
    let mut served = 0;
    for (what, lines) in ATTACKS {
        for path in [
            "/public",
            "/templates",
            "/known",
            "http://shop.test/public",
            "/nowhere",
        ] {
            for version in ["1.1", "1.0"] {
                let before = origin.seen().len();
                let ask =
                    format!("GET {path} HTTP/{version}\r\nhost: shop.test\r\n{lines}\r\n\r\n");
                // Each byte of a character below 256.
                let ask: Vec<u8> = ask
                    .chars()
                    .map(|it| u8::try_from(u32::from(it)).unwrap())
                    .collect();
                let mut client = RawClient::connect(address).await;
                client.send(ask).await;
                let answer = client.read_until("\r\n\r\n").await;
                assert!(answer.starts_with("HTTP/1."), "{what} {path}: {answer}");
                for seen in origin.seen().iter().skip(before) {
                    assert_eq!(told(seen), [""; 0], "{what} {path}");
                    let says = |value: &http::HeaderValue| value.as_bytes().ends_with(b"rged");
                    assert!(!seen.headers.values().any(says), "{what} {path}: {seen:?}");
                    served += 1;
                }
            }
        }
    }
    // It is no answer to refuse everything.
    assert!(served > 150, "{served} reached the origin");
}

#[tokio::test]
async fn no_client_says_who_calls_over_http2() {
    over_each_pair(|pair| async move {
        if pair.client == Protocol::Http1 {
            return;
        }
        let authority = Authority::new();
        let origin = Origin::speaking(pair.origin, |_| text("served"));
        let gateway = start(&authority, &origin, pair.origin).await;
        let client = Client::of(gateway.address_of("clear"), Protocol::H2);
        let names = [
            "x-user-id",
            "x_user_id",
            "x-user_id",
            "x.user.id",
            "x~user!id",
            "x-user-roles",
            "x_user_roles",
            "x-odd-name",
            "x_odd_name",
            "x_odd-name",
            "x-who",
            "x_who",
        ];
        for name in names {
            for value in ["forged", "", "a, forged"] {
                let ask = get("/public").header(name, value).header(name, value);
                assert_eq!(client.send(ask).await.status, 200, "{name}");
                let seen = origin.seen().pop().unwrap();
                assert_eq!(told(&seen), [""; 0], "{name}");
                assert_eq!(seen.target, "/public", "no route is found by it");
            }
        }
    })
    .await;
}

/// Trailers could be taken for headers by who joins the two.
#[tokio::test]
async fn no_client_says_who_calls_in_trailers() {
    let authority = Authority::new();
    for protocol in [Protocol::Http1, Protocol::H2] {
        let origin = Origin::speaking(protocol, |_| text("served"));
        let gateway = start(&authority, &origin, protocol).await;
        let address = gateway.address_of("clear");
        let ask = "POST /public HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\
                   trailer: x-user-id\r\nconnection: close\r\n\r\n2\r\nok\r\n0\r\n\
                   x-user-id: forged\r\nX_User_Id: forged\r\n\r\n";
        let answer = RawClient::exchange(address, ask).await;
        for seen in origin.seen() {
            assert_eq!(told(&seen), [""; 0], "{answer}");
        }
        let (chunks, body) = channel();
        let ask = request("POST", "/public").body(body);
        let client = Client::of(address, Protocol::H2);
        let sending = async {
            chunks.send("ok").await;
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-user-id", "forged".parse().unwrap());
            chunks.trailers(trailers).await;
        };
        let (answer, ()) = tokio::join!(client.try_send(ask), sending);
        let seen = origin.seen().pop().unwrap();
        assert_eq!(told(&seen), [""; 0], "{answer:?}");
    }
}

/// A reload that takes routes over that are defined as before takes over what they reserve, and what is defined no
/// more is reserved no more.
#[tokio::test]
async fn reloads_know_what_is_reserved() {
    let authority = Authority::new();
    let server = authority.issue(&["shop.test"]);
    let origin = Origin::http1(|_| text("served"));
    let draft = |text: &str| {
        Gateway::draft(text)
            .with("entry", server.entry())
            .with("ca", authority.path())
            .with("shop", &origin)
            .with("protocol", Protocol::Http1)
    };
    let mut gateway = draft(GATEWAY).start().await;
    let client = Client::of(gateway.address_of("clear"), Protocol::Http1);
    let reaches = async |client: &Client| {
        let ask = get("/public").header("x-user-id", "a").header("x-who", "b");
        assert_eq!(client.send(ask).await.status, 200);
        let seen = origin.seen().pop().unwrap();
        let has = |name: &str| seen.headers.contains_key(name);
        (has("x-user-id"), has("x-who"))
    };
    assert_eq!(reaches(&client).await, (false, false));
    let more = format!(
        "{GATEWAY}\n[routes.more]\nmatch = {{ path = \"/more\" }}\nrespond = {{ status = 200 }}"
    );
    draft(&more).apply(&mut gateway).await.unwrap();
    assert_eq!(client.send(get("/more")).await.status, 200);
    assert_eq!(reaches(&client).await, (false, false));
    let less = GATEWAY.replace("x-who = \"{identity.subject}\", ", "");
    draft(&less).apply(&mut gateway).await.unwrap();
    assert_eq!(reaches(&client).await, (false, true));
}
