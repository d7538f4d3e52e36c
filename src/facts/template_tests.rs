use std::sync::Arc;

use super::*;
use crate::facts::{RequestId, Scheme};
use crate::identity::Identity;

fn facts() -> Facts {
    let mut facts = Facts::new("192.0.2.7".parse().unwrap(), Scheme::Https);
    facts.request_id = RequestId::from_random([0xab; 16]);
    facts.captures.push((8, 10));
    facts
}

fn render(text: &str, facts: &Facts) -> Result<Option<String>, TemplateError> {
    let names = [Box::from("id")];
    let template = Template::compile(text, Variables::Target(&names))?;
    let mut request = RequestHeader::build("GET", b"/orders/42?a=1", None).unwrap();
    request.insert_header("host", "shop.example:80").unwrap();
    let mut out = Vec::new();
    Ok(template
        .render(
            View {
                facts,
                request: &request,
            },
            &mut out,
        )
        .map(|()| String::from_utf8(out).unwrap()))
}

#[test]
fn variables_stand_for_facts() {
    let check = |text: &str, expected: &str| {
        assert_eq!(render(text, &facts()), Ok(Some(expected.into())), "{text}")
    };
    check("plain", "plain");
    check("", "");
    check("/v1/{id}/x", "/v1/42/x");
    check("/v1/{path.id}", "/v1/42");
    check("{client.ip}", "192.0.2.7");
    check(
        "{request.method} {request.scheme}://{request.host}{request.path}?{request.query}",
        "GET https://shop.example:80/orders/42?a=1",
    );
    check("{{id}}", "{id}");
    check("{request.id}", &"ab".repeat(16));
}

#[test]
fn an_absent_fact_makes_no_text() {
    assert_eq!(render("a{identity.subject}", &facts()), Ok(None));
    let claims = serde_json::json!({ "tenant": "acme", "level": 3, "groups": ["a"] });
    let mut known = facts();
    known.identity = Some(Arc::new(Identity {
        subject: "u1".into(),
        claims: claims.as_object().unwrap().clone(),
        ..Identity::default()
    }));
    assert_eq!(
        render(
            "{identity.subject}/{identity.tenant}/{identity.level}",
            &known
        ),
        Ok(Some("u1/acme/3".into()))
    );
    assert_eq!(render("{identity.plan}", &known), Ok(None));
    assert_eq!(render("{identity.nothing}", &known), Ok(None));
}

#[test]
fn mistakes_are_found_at_load() {
    let check = |text: &str, at: Range<usize>, problem: TemplateProblem, help: &str| {
        let error = render(text, &facts()).expect_err(text);
        let said = error.help.as_deref().unwrap_or("");
        assert_eq!((error.at, error.problem, said), (at, problem, help));
    };
    let variable = |name: &str| TemplateProblem::UnknownVariable(name.into());
    let parameter = |name: &str| TemplateProblem::UnknownParameter(name.into());
    check("a{id", 1..4, TemplateProblem::Unclosed, "");
    check("id}", 2..3, TemplateProblem::Unopened, "");
    check("{path.x}", 0..8, parameter("x"), "it has `{id}`");
    check("/{di}", 1..5, parameter("di"), "did you mean `{id}`?");
    check(
        "{client.pi}",
        0..11,
        variable("client.pi"),
        "did you mean `{client.ip}`?",
    );
    check(
        "{client.certificate.fingerprnt}",
        0..31,
        variable("client.certificate.fingerprnt"),
        "did you mean `{client.certificate.fingerprint}`?",
    );
    let all = "known are `{id}`, `{client.ip}`, `{request.id}`, `{request.method}`, `{request.scheme}`, \
               `{request.host}`, `{request.path}`, `{request.query}`, `{trace.id}`, `{client.certificate.FIELD}` and \
               `{identity.NAME}`";
    check("{}", 0..2, variable(""), all);
    check("é\nb", 2..3, TemplateProblem::Control, "");
    let names = [Box::from("id")];
    let check = |text: &str, variables: Variables<'_>, problem: TemplateProblem, help: &str| {
        let error = Template::compile(text, variables).expect_err(text);
        let said = error.help.as_deref().unwrap_or("");
        assert_eq!((error.problem, said), (problem, help));
    };
    check(
        "{path.id}",
        Variables::Shared,
        TemplateProblem::CaptureOutsideRoute("id".into()),
        "",
    );
    check(
        "{id}",
        Variables::Route(&names),
        variable("id"),
        "write `{path.id}`",
    );
    check(
        "{path.x}",
        Variables::Route(&[]),
        parameter("x"),
        "its path has no parameters at all",
    );
}

#[test]
fn a_stand_in_takes_the_place_of_variables() {
    let template = Template::compile("{request.host}:80{{", Variables::Shared).unwrap();
    assert_eq!(template.with_stand_in("x"), "x:80{");
}
