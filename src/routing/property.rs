//! The table against the rules: the trie must find what a scan over all routes, with [`Precedence`] as the
//! only judge, finds.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::host;
use super::{
    Captures, Lookup, Matcher, MethodSet, PathTemplate, Precedence, Reason, RequestParts, Table,
    TableBuilder, ValueMatch,
};

#[derive(Clone, Debug)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
}

impl Request {
    fn parts(&self) -> RequestParts<'_> {
        let Self {
            host,
            path,
            query,
            method,
            headers,
        } = self;
        RequestParts {
            host,
            path,
            query: query.as_deref(),
            method,
            headers,
        }
    }
}

fn method() -> impl Strategy<Value = Method> {
    select(vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::from_bytes(b"PURGE").expect("a token"),
    ])
}

/// Few words, so that routes and requests meet often.
fn template() -> impl Strategy<Value = PathTemplate> {
    let segments = vec(select(vec!["a", "b", "{}"]), 0..4);
    let last = select(vec!["/", "", "", "/{*rest}", "/{*}"]);
    (segments, last).prop_map(|(segments, last)| {
        let mut text = String::new();
        for (position, segment) in segments.iter().enumerate() {
            let segment = segment.replace("{}", &format!("{{p{position}}}"));
            text.push_str(&format!("/{segment}"));
        }
        match last {
            "/{*}" if text.is_empty() => PathTemplate::any(),
            "/{*}" | "" => {
                PathTemplate::parse(if text.is_empty() { "/" } else { &text }).expect("made well")
            }
            last => PathTemplate::parse(&format!("{text}{last}")).expect("made well"),
        }
    })
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        select(vec!["x", "x y"]).prop_map(|text| ValueMatch::Exact(text.into())),
        Just(ValueMatch::Prefix("x".into())),
        Just(ValueMatch::regex("x.*|y").expect("a regex")),
        any::<bool>().prop_map(ValueMatch::Present),
    ]
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let hosts = vec(
        select(vec![
            ("a.b.c", false),
            ("b.c", true),
            ("b.c", false),
            ("c", true),
        ]),
        0..3,
    );
    let methods = vec(method(), 0..3);
    let headers = vec((select(vec!["h", "i"]), value()), 0..3);
    let query = vec((select(vec!["q", "r"]), value()), 0..3);
    (hosts, template(), methods, headers, query).prop_map(
        |(hosts, path, methods, headers, query)| {
            let mut matcher = Matcher::builder().path(path);
            for host in hosts {
                matcher = matcher.host(host);
            }
            for method in methods {
                matcher = matcher.method(method);
            }
            for (name, value) in headers {
                matcher = matcher.header(HeaderName::from_static(name), value);
            }
            for (name, value) in query {
                matcher = matcher.query(name, value);
            }
            matcher.build()
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let host = select(vec![
        "a.b.c",
        "A.B.C.:80",
        "b.c",
        "x.y.b.c",
        "c",
        "d.c",
        "d",
        "",
    ]);
    let path = prop_oneof![
        9 => vec(select(vec!["/a", "/b", "/c", "/"]), 1..5).prop_map(|segments| segments.concat()),
        1 => select(vec!["*", ""]).prop_map(str::to_owned),
    ];
    let query = option::of(select(vec![
        "",
        "q=x",
        "q=x+y&r",
        "r=y&q=x%20y",
        "q=z&q=y",
        "%71=x&r=x",
    ]));
    let headers = vec(
        (select(vec!["h", "i"]), select(vec!["x", "y", "x y", "z"])),
        0..3,
    );
    (host, path, query, method(), headers).prop_map(|(host, path, query, method, fields)| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        Request {
            host: host.to_owned(),
            path,
            query: query.map(str::to_owned),
            method,
            headers,
        }
    })
}

type Routes = Vec<(String, Matcher)>;

fn routes() -> impl Strategy<Value = Routes> {
    vec(matcher(), 0..40).prop_map(|matchers| {
        matchers
            .into_iter()
            .enumerate()
            .map(|(index, matcher)| (format!("r{index:02}"), matcher))
            .collect()
    })
}

fn table(routes: &Routes) -> Table<String> {
    let mut builder = TableBuilder::new();
    for (name, matcher) in routes {
        builder.insert(name, matcher.clone(), name.clone());
    }
    builder.build()
}

/// The rules, taken literally.
fn scan(routes: &Routes, request: &RequestParts<'_>) -> Lookup<'static, String> {
    let host = host::normalise(request.host);
    let mut allowed = MethodSet::EMPTY;
    let mut matching: Vec<(Precedence<'_>, &Matcher)> = Vec::new();
    for (name, matcher) in routes {
        match matcher.judge(name, &host, request) {
            Ok(precedence) => matching.push((precedence, matcher)),
            Err(Reason::Method {
                allowed: methods, ..
            }) if matcher.accepts_fields(request) => {
                allowed.insert_all(&methods);
            }
            Err(_) => {}
        }
    }
    match matching
        .into_iter()
        .max_by_key(|(precedence, _)| precedence.clone())
    {
        Some((precedence, matcher)) => {
            let captures: Captures = matcher.path().capture(request.path).expect("it matched");
            Lookup::Found(
                Box::leak(Box::new(precedence.leaf.name.0.to_owned())),
                captures,
            )
        }
        None if allowed.is_empty() => Lookup::NotFound,
        None => Lookup::MethodNotAllowed(allowed),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn the_trie_finds_what_a_scan_finds(routes in routes(), requests in vec(request(), 20)) {
        let table = table(&routes);
        for request in &requests {
            prop_assert_eq!(table.find(&request.parts()), scan(&routes, &request.parts()), "{:?}", request);
        }
    }

    #[test]
    fn insertion_order_never_matters(routes in routes().prop_shuffle(), requests in vec(request(), 20)) {
        let mut sorted = routes.clone();
        sorted.sort_by(|(name, _), (other, _)| name.cmp(other));
        let (shuffled, sorted) = (table(&routes), table(&sorted));
        for request in &requests {
            prop_assert_eq!(shuffled.find(&request.parts()), sorted.find(&request.parts()), "{:?}", request);
            prop_assert_eq!(shuffled.explain(&request.parts()), sorted.explain(&request.parts()), "{:?}", request);
        }
        prop_assert_eq!(shuffled.shadowed(), sorted.shadowed());
    }

    #[test]
    fn parameters_of_segments_never_matter(
        routes in routes(),
        requests in vec((request(), vec(select(vec!["", ";", ";x", ";a=b;c", ";.."]), 6)), 20),
    ) {
        let table = table(&routes);
        for (request, parameters) in requests {
            let mut spelled = request.clone();
            let segments = request.path.split('/').zip(&parameters);
            let segments = segments.map(|(name, parameters)| match name {
                "" => String::new(),
                name => format!("{name}{parameters}"),
            });
            spelled.path = segments.collect::<Vec<_>>().join("/");
            let (plain, found) = (table.find(&request.parts()), table.find(&spelled.parts()));
            match (&plain, &found) {
                (Lookup::Found(name, captures), Lookup::Found(other, others)) => {
                    prop_assert_eq!(name, other, "{:?}", spelled);
                    let matcher = &routes.iter().find(|(it, _)| it == *name).expect("it won").1;
                    let names = matcher.path().captures().iter().map(|name| &**name);
                    let rests = names.filter(|name| *name == "rest").count();
                    let whole = captures.len() - rests;
                    prop_assert!(captures.values(&request.path).take(whole).eq(others.values(&spelled.path).take(whole)));
                }
                (plain, found) => prop_assert_eq!(plain, found, "{:?}", spelled),
            }
            prop_assert_eq!(found, scan(&routes, &spelled.parts()), "{:?}", spelled);
        }
    }

    #[test]
    fn shadowed_routes_never_win(routes in routes(), requests in vec(request(), 20)) {
        let table = table(&routes);
        let shadowed: Vec<&str> = table.shadowed().iter().map(|shadow| shadow.name).collect();
        for request in &requests {
            if let Lookup::Found(name, _) = table.find(&request.parts()) {
                prop_assert!(!shadowed.contains(&&**name), "{} wins {:?}", name, request);
            }
        }
    }

    #[test]
    fn no_input_panics(host in "\\PC*", path in "(/[a{}*.%ü]*)*|\\PC*", query in option::of("[q=&%+0-9a-fü]*")) {
        let mut builder = TableBuilder::new();
        for text in ["/{a}/{*rest}", &path] {
            if let Ok(template) = PathTemplate::parse(text) {
                let matcher = Matcher::builder().host((&*host, true)).path(template);
                builder.insert(text, matcher.query("q", ValueMatch::Exact("ü".into())).build(), ());
            }
        }
        let headers = HeaderMap::new();
        let request = RequestParts { host: &host, path: &path, query: query.as_deref(), method: &Method::GET, headers: &headers };
        let table = builder.build();
        let _ = table.find(&request);
        let _ = table.explain(&request);
    }
}
