use std::borrow::Cow;
use std::sync::Arc;

use http::StatusCode;
use pingora::http::RequestHeader;

use super::super::json::find;
use super::super::testing::plan;
use super::*;
use crate::facts::{Answers, Facts, Key, Scheme, View};
use crate::identity::Identity;

/// What the part `b` has answered; nobody else has.
struct Answered(&'static str, HeaderMap);

const B: usize = 1;

impl Answers for Answered {
    fn status(&self, part: usize) -> Option<StatusCode> {
        (part == B).then_some(StatusCode::CREATED)
    }

    fn header(&self, part: usize, name: &HeaderName) -> Option<&HeaderValue> {
        self.1.get(name).filter(|_| part == B)
    }

    fn body(&self, part: usize, path: &[Key]) -> Option<Cow<'_, str>> {
        find(self.0, path).filter(|_| part == B).map(Cow::Borrowed)
    }

    fn shaped(&self, part: usize) -> Option<Cow<'_, str>> {
        (part == B).then_some(Cow::Borrowed("\"shaped\""))
    }
}

const BODY: &str = r#"{"id":12345678901234567890123,"name":"a/b ?ü","dots":"..","empty":"","list":[1,{"x":true}],"line":"a\nb","no":null}"#;
const PATH: &str = "/api/4%202&x=1/r/e?page=2&twice=1&twice=2&lang=de%20%26+x";

fn make(toml: &str) -> Result<Outgoing, Reason> {
    let toml = format!(
        "parts.a = {{ upstream = \"u\", {toml} }}\nparts.b = {{ upstream = \"u\", path = \"/b\" }}"
    );
    let plan = plan(&toml).unwrap_or_else(|problems| panic!("{toml}: {problems:?}"));
    let mut request = RequestHeader::build("GET", PATH.as_bytes(), None).unwrap();
    request.append_header("accept-language", "de").unwrap();
    request.append_header("accept-language", "en").unwrap();
    let mut facts = Facts::new("2001:db8::7".parse().unwrap(), Scheme::Https);
    facts.captures.extend([(5, 14), (15, 18)]);
    facts.identity = Some(Arc::new(Identity {
        subject: "u1/?&x".into(),
        ..Identity::default()
    }));
    let mut headers = HeaderMap::new();
    headers.insert("x-total", "7".parse().unwrap());
    let answers = Answered(BODY, headers);
    let view = View {
        facts: &facts,
        request: &request,
    };
    plan.parts()[0].request.make(Gathered {
        view,
        answers: &answers,
    })
}

#[test]
fn what_stands_in_a_path_is_one_segment() {
    let check = |path: &str, expected: Result<&str, Reason>| {
        let made = make(&format!("path = '{path}'"));
        let target = made.as_ref().map(|made| made.target.as_str());
        assert_eq!(target, expected.as_ref().map(|it| *it), "{path}");
    };
    check("/x", Ok("/x"));
    check("/x?y=1", Ok("/x?y=1"));
    check("/{parts.b.body.name}/z", Ok("/a%2Fb%20%3F%C3%BC/z"));
    check("/{parts.b.body.id}", Ok("/12345678901234567890123"));
    check(
        "/{parts.b.body.list[0]}-{parts.b.body.list[1].x}",
        Ok("/1-true"),
    );
    check(
        "/{parts.b.status}/{parts.b.headers.x-total}/{parts.b}",
        Ok("/201/7/shaped"),
    );
    check("/{identity.subject}", Ok("/u1%2F%3F%26x"));
    check("/{client.ip}", Ok("/2001%3Adb8%3A%3A7"));
    // What the path has already is a segment, or several, as the route has it.
    check("/{path.id}/{path.rest}", Ok("/4%202&x=1/r/e"));
    // Behind the question mark nothing but a value.
    check(
        "/?a={path.id}&b={query.lang}",
        Ok("/?a=4%202%26x%3D1&b=de%20%26%20x"),
    );
    check(
        "/?{request.query}",
        Ok("/?page=2&twice=1&twice=2&lang=de%20%26+x"),
    );
    // What is nothing, or more than a segment, is asked for nobody.
    check("/{parts.b.body.dots}", Err(Reason::Unfit));
    check("/.{parts.b.body.dots}", Ok("/..."));
    check("/{parts.b.body.empty}", Err(Reason::Missing));
    check("/{parts.b.body.no}", Err(Reason::Missing));
    check("/{parts.b.body.nothing}", Err(Reason::Missing));
    check("/{parts.b.body.list}", Err(Reason::Unfit));
    check("/{parts.b.headers.x-nothing}", Err(Reason::Missing));
    check("/{query.nothing}", Err(Reason::Missing));
    check("/{query.twice}", Err(Reason::Missing));
    check("/{identity.plan}", Err(Reason::Missing));
}

#[test]
fn queries_and_headers_leave_out_what_the_client_has_not_sent() {
    let check = |toml: &str, expected: Result<&str, Reason>| {
        let made = make(toml);
        let said = made.map(|made| {
            let headers = made.headers.iter();
            let headers: Vec<_> = headers
                .map(|(name, value)| format!(" {name}:{}", value.to_str().unwrap()))
                .collect();
            format!("{}{}", made.target, headers.concat())
        });
        assert_eq!(said.as_deref(), expected.as_ref().map(|it| *it), "{toml}");
    };
    check(
        r#"path = "/", query = { b = "{query.page}", a = "{query.nothing}", "c d" = "x y{path.id}", e = "f&g" }"#,
        Ok("/?b=2&c%20d=x%20y4%202%26x%3D1&e=f%26g"),
    );
    check(
        r#"path = "/?z=1", query = { a = "{query.nothing}", b = "1" }"#,
        Ok("/?z=1&b=1"),
    );
    check(r#"path = "/", query = { a = "{query.nothing}" }"#, Ok("/"));
    check(
        r#"path = "/", query = { a = "{parts.b.body.empty}" }"#,
        Ok("/?a="),
    );
    check(
        r#"path = "/", query = { a = "{parts.b.body.nothing}" }"#,
        Err(Reason::Missing),
    );
    check(
        r#"path = "/", headers = { accept-language = "{headers.accept-language}", x-no = "is {headers.x-nothing}", x-id = "{parts.b.body.id}" }"#,
        Ok("/ accept-language:de, en x-id:12345678901234567890123"),
    );
    check(
        r#"path = "/", headers = { x = "{parts.b.body.line}" }"#,
        Err(Reason::Unfit),
    );
    check(
        r#"path = "/", headers = { x = "{identity.plan}" }"#,
        Err(Reason::Missing),
    );
}

#[test]
fn bodies_keep_types() {
    let check = |toml: &str, expected: Result<(&str, &str), Reason>| {
        let made = make(&format!("path = \"/\", method = \"POST\", {toml}"));
        let said = made.as_ref().map(|made| {
            let body = std::str::from_utf8(&made.body).unwrap();
            (body, made.headers[CONTENT_TYPE].to_str().unwrap())
        });
        assert_eq!(said, expected.as_ref().map(|it| *it), "{toml}");
    };
    let json = "application/json";
    check(
        r#"json = { id = "{parts.b.body.id}", list = ["{parts.b.body.list}"], text = "n{parts.b.body.id}" }"#,
        Ok((
            r#"{"id":12345678901234567890123,"list":[[1,{"x":true}]],"text":"n12345678901234567890123"}"#,
            json,
        )),
    );
    check(
        r#"json = { a = "{parts.b.body.nothing}", b = "{query.nothing}", c = "{parts.b.status}", d = "x{parts.b.body.list}", e = "{path.id}", f = "{parts.b.body.line}" }"#,
        Ok((
            r#"{"a":null,"b":null,"c":201,"d":null,"e":"4 2&x=1","f":"a\nb"}"#,
            json,
        )),
    );
    check(
        r#"body = "a={parts.b.body.line}\n{{x}}""#,
        Ok(("a=a\nb\n{x}", "text/plain; charset=utf-8")),
    );
    check(
        r#"body = "<a/>", headers = { content-type = "application/xml" }"#,
        Ok(("<a/>", "application/xml")),
    );
    check(r#"body = "{parts.b.body.list}""#, Err(Reason::Unfit));
}
