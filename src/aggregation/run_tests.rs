use proptest::prelude::*;

use super::super::testing::{end, failed, ok, plan, response, run, with_view};
use super::super::{Assembled, Whole};
use super::*;
use crate::response::Code;

#[test]
fn what_can_start_starts_and_the_rest_waits() {
    let toml = r#"
parts.cart = { upstream = "u", path = "/carts/{parts.profile.body.cart_id}" }
parts.news = { upstream = "u", path = "/news" }
parts.profile = { upstream = "u", path = "/users/{path.id}", required = true }
parts.tips = { upstream = "u", path = "/tips", headers = { x-cart = "{parts.cart.status}" }, when = 'parts.news.status == 200' }
"#;
    let plan = Arc::new(plan(toml).expect("no problem"));
    with_view(|view| {
        let mut run = Run::new(plan);
        let said = |asked: Vec<(usize, Outgoing)>| {
            let said = asked
                .iter()
                .map(|(part, out)| format!("{part} {}", out.target));
            said.collect::<Vec<_>>()
        };
        assert_eq!(said(run.start(view)), ["1 /news", "2 /users/7"]);
        assert_eq!(
            said(end(&mut run, 2, ok("{\"cart_id\":9}"), view)),
            ["0 /carts/9"]
        );
        assert_eq!(said(end(&mut run, 2, ok("{\"cart_id\":8}"), view)), [""; 0]);
        assert_eq!(said(end(&mut run, 0, ok("1"), view)), [""; 0]);
        assert!(!run.is_over());
        assert_eq!(said(end(&mut run, 1, ok("1"), view)), ["3 /tips"]);
        assert!(!run.is_over() && !run.has_failed());
        run.give_up();
        assert!(run.is_over() && !run.has_failed());
        assert_eq!(said(end(&mut run, 3, ok("1"), view)), [""; 0]);
        assert!(matches!(
            run.outcome(3),
            Some(Outcome::Failed(Reason::Budget))
        ));
        assert_eq!(said(end(&mut run, 99, ok("1"), view)), [""; 0]);
    });
}

#[test]
fn who_is_required_and_has_failed_ends_the_wait() {
    let toml = r#"
parts.a = { upstream = "u", path = "/a" }
parts.b = { upstream = "u", path = "/b" }
parts.c = { upstream = "u", path = "/{parts.b.body.id}", required = true }
"#;
    let plan = Arc::new(plan(toml).expect("no problem"));
    with_view(|view| {
        let mut run = Run::new(plan);
        run.start(view);
        end(&mut run, 1, failed(Reason::Timeout), view);
        assert!(run.has_failed() && !run.is_over());
        let assembled = run.finish(view);
        let status = StatusCode::GATEWAY_TIMEOUT;
        let (part, reason) = (Some(2), Reason::Needs(1));
        assert_eq!(
            assembled,
            Assembled::Refused {
                status,
                part,
                reason
            }
        );
    });
}

/// A part of a graph that was drawn: whom it needs among those before it, by its request or by its condition; what it means
/// that it has failed; and how it ends.
#[derive(Clone, Debug)]
struct Drawn {
    needs: Vec<(usize, bool)>,
    contract: usize,
    merges: bool,
    ended: usize,
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let one = (
        prop::collection::vec((0..8_usize, any::<bool>()), 0..3),
        0..4_usize,
        any::<bool>(),
        0..9_usize,
    );
    let one = one.prop_map(|(needs, contract, merges, ended)| Drawn {
        needs,
        contract,
        merges,
        ended,
    });
    prop::collection::vec(one, 1..8)
}

/// Names are in another order than the graph's.
fn name(place: usize) -> String {
    format!("p{}", (place * 5 + 3) % 8)
}

fn toml_of(parts: &[Drawn], limit: usize) -> String {
    let mut toml = format!("limits = {{ response_bytes = \"{limit}B\" }}\n");
    for (place, part) in parts.iter().enumerate() {
        let needs = part.needs.iter().filter(|(other, _)| *other < place);
        let (hard, soft): (Vec<_>, Vec<_>) = needs.partition(|(_, is_hard)| *is_hard);
        let path: String = hard
            .iter()
            .map(|(other, _)| format!("/{{parts.{}.body.id}}", name(*other)))
            .collect();
        let when: Vec<_> = soft
            .iter()
            .map(|(other, _)| format!("parts.{}.body.id < 5", name(*other)))
            .collect();
        let when = match when.is_empty() {
            true => String::new(),
            false => format!(", when = '{}'", when.join(" || ")),
        };
        let contract = [
            "",
            ", required = true",
            ", default = { id = 3 }",
            ", default = { id = 9 }",
        ];
        let merges = match part.merges && place > 0 {
            true => format!(", at = \"{}.list\", merge = \"concat\"", name(0)),
            false => String::new(),
        };
        toml += &format!(
            "parts.{} = {{ upstream = \"u\", path = \"/x{path}\"{when}{}{merges} }}\n",
            name(place),
            contract[part.contract],
        );
    }
    toml
}

fn ended(number: usize) -> Option<Ended> {
    Some(match number {
        0 => return None,
        1 => failed(Reason::Timeout),
        2 => failed(Reason::Failure(Code::UpstreamReset)),
        3 => response(500, &[], "{}"),
        4 => ok("no JSON"),
        5 => response(200, &["cache-control: max-age=5", "vary: a"], "{\"id\":1}"),
        6 => response(
            200,
            &["cache-control: private", "vary: b"],
            "{\"id\":8,\"list\":[1]}",
        ),
        7 => ok("[1,2]"),
        _ => ok("{\"id\":\"..\"}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the graph is and however its parts end, the answer is the same in whatever order they do.
    #[test]
    fn order_makes_no_difference(
        parts in drawn(),
        limit in prop_oneof![Just(20_usize), Just(4000)],
        orders in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 8), 4),
    ) {
        let toml = toml_of(&parts, limit);
        let plan = Arc::new(plan(&toml).unwrap_or_else(|problems| panic!("{toml}: {problems:?}")));
        // Parts go by the order of their names.
        let mut places: Vec<usize> = (0..parts.len()).collect();
        places.sort_by_key(|place| name(*place));
        let answers: Vec<_> = places.iter().map(|place| ended(parts[*place].ended)).collect();
        let mut found: Vec<(Assembled, Vec<_>)> = Vec::new();
        for order in &orders {
            let mut order = order.iter().cycle();
            let choose = |open: usize| order.next().expect("it has no end").index(open);
            let (run, mut asked) = run(&plan, &answers, choose);
            asked.sort_by_key(|(part, _)| *part);
            let mut once = asked.clone();
            once.dedup_by_key(|(part, _)| *part);
            prop_assert_eq!(once.len(), asked.len(), "something was asked for twice");
            found.push((with_view(|view| run.finish(view)), asked));
        }
        prop_assert!(found.windows(2).all(|two| two[0] == two[1]), "{}: {:?}", toml, found);
        match &found[0].0 {
            Assembled::Refused { part, reason, status } => {
                let part = part.expect("no answer is too large by itself");
                prop_assert!(plan.parts()[part].is_required());
                prop_assert!(*status == 504 || !reason.is_timeout());
            }
            Assembled::Whole(Whole { body, failures, headers }) => {
                let json: serde_json::Value = serde_json::from_slice(body).expect("it is JSON");
                prop_assert_eq!(json.get("degraded").is_some(), !failures.is_empty());
                prop_assert!(failures.iter().all(|(part, _)| !plan.parts()[*part].is_required()));
                let is_kept = headers.iter().any(|(name, _)| *name == http::header::ETAG);
                prop_assert_eq!(is_kept, failures.is_empty());
            }
        }
    }
}

/// What lands nowhere is not kept until the end, and nobody waits for it.
#[test]
fn what_is_made_of_a_part_fits_into_an_answer() {
    let toml = r#"
limits = { response_bytes = "64B" }
parts.a = { upstream = "u", path = "/a", jq = '[.[] | "long enough" | ., .]' }
parts.b = { upstream = "u", path = "/{parts.a.status}" }
"#;
    let plan = Arc::new(plan(toml).expect("no problem"));
    for (body, fits) in [("[1,2]", true), ("[1,2,3]", false)] {
        with_view(|view| {
            let mut run = Run::new(plan.clone());
            run.start(view);
            let asked = end(&mut run, 0, ok(body), view);
            assert_eq!(asked.len(), usize::from(fits), "{body}");
            let is_too_large = matches!(run.outcome(0), Some(Outcome::Failed(Reason::TooLarge)));
            assert_eq!(is_too_large, !fits, "{body}");
        });
    }
}
