//! An answer that goes out as its parts come, where the route wants that (`stream`).
//!
//! It begins when nothing that is still to come can undo it: every part that is required is there. From then on each field of the
//! answer goes out once all parts in it have ended, and what is missing is said at the end. So what comes out is the same whatever
//! the order is, but for the order of the fields; and where not all of it fits, those are left out that come last.

use super::assemble::separate;
use super::layout::{Entry, Layout, Place};
use super::plan::{Form, Plan};
use super::reason::Reason;
use super::run::{Outcome, Outcomes, Run};

/// How much of an answer has gone out.
#[derive(Debug)]
pub struct Stream {
    /// By the fields of the answer.
    is_sent: Vec<bool>,
    has_begun: bool,
    has_fields: bool,
    /// Bytes for parts that are not required.
    room: usize,
}

impl Plan {
    fn layout(&self) -> Option<&Layout> {
        match self.answer() {
            Form::Object(layout) if self.streams => Some(layout),
            _ => None,
        }
    }
}

impl Run {
    /// Where its answer can begin to go out before all of it is there: all that is required is, and fits.
    pub fn stream(&self) -> Option<Stream> {
        let plan = self.plan();
        let layout = plan.layout().filter(|_| !self.is_over())?;
        let mut room = plan.limits.response_bytes;
        let mut required = (plan.parts().iter().enumerate()).filter(|(_, it)| it.is_required());
        let fit = required.all(|(part, _)| match self.outcome(part) {
            Some(Outcome::Answered(answer)) => match room.checked_sub(answer.shaped().len()) {
                Some(left) => {
                    room = left;
                    true
                }
                None => false,
            },
            Some(Outcome::LeftOut) => true,
            Some(Outcome::Failed(_)) | None => false,
        });
        fit.then(|| Stream {
            is_sent: vec![false; layout.root.len()],
            has_begun: false,
            has_fields: false,
            room,
        })
    }

    /// What goes out now; nothing where that is so.
    pub fn send(&mut self, stream: &mut Stream) -> Vec<u8> {
        let plan = self.plan().clone();
        let mut out = vec![b'{'];
        if let Some(layout) = plan.layout() {
            self.outcomes_mut().send(layout, stream, &mut out);
        }
        stream.go(out)
    }

    /// The end of it, and what the log says where something is missing, as [`DEGRADED_HEADER`](super::DEGRADED_HEADER) would. What has not ended has
    /// failed for want of time.
    pub fn close(self, mut stream: Stream) -> (Vec<u8>, Option<String>) {
        let plan = self.plan().clone();
        let mut outcomes = self.into_outcomes();
        let mut out = vec![b'{'];
        if let Some(layout) = plan.layout() {
            outcomes.send(layout, &mut stream, &mut out);
        }
        let told = outcomes.told();
        if !told.is_empty() {
            separate(&mut out);
            out.extend_from_slice(outcomes.said(&told).as_bytes());
        }
        let mut out = stream.go(out);
        out.push(b'}');
        let degraded = (!told.is_empty()).then(|| outcomes.degraded(&told));
        (out, degraded)
    }
}

impl Stream {
    /// `out` are fields, with a brace in front of them.
    fn go(&mut self, mut out: Vec<u8>) -> Vec<u8> {
        let has_fields = out.len() > 1;
        match (self.has_begun, self.has_fields, has_fields) {
            (false, ..) => {}
            (true, true, true) => {
                if let Some(first) = out.first_mut() {
                    *first = b',';
                }
            }
            (true, false, _) | (true, true, false) => drop(out.drain(..1)),
        }
        self.has_begun = true;
        self.has_fields |= has_fields;
        out
    }
}

impl Outcomes {
    fn send(&mut self, layout: &Layout, stream: &mut Stream, out: &mut Vec<u8>) {
        for (entry, is_sent) in layout.root.iter().zip(&mut stream.is_sent) {
            let mut parts = Vec::new();
            parts_of(entry, &mut parts);
            let has_ended = |part: &usize| matches!(self.all.get(*part), Some(Some(_)));
            if *is_sent || !parts.iter().all(has_ended) {
                continue;
            }
            *is_sent = true;
            for part in parts {
                let is_required = (self.plan.parts().get(part)).is_some_and(|it| it.is_required());
                let Some(size) = self.lands(part).map(str::len).filter(|_| !is_required) else {
                    continue;
                };
                let has_answered = matches!(self.all.get(part), Some(Some(Outcome::Answered(_))));
                match stream.room.checked_sub(size) {
                    Some(left) => stream.room = left,
                    None if has_answered => {
                        self.settle(part, Outcome::Failed(Reason::TooLarge));
                        let size = self.lands(part).map_or(0, str::len);
                        stream.room = stream.room.saturating_sub(size);
                    }
                    None => stream.room = 0,
                }
            }
            self.write(std::slice::from_ref(entry), &[], out);
        }
    }
}

fn parts_of(entry: &Entry, parts: &mut Vec<usize>) {
    match &entry.place {
        Place::Part(part) => parts.push(*part),
        Place::Object(inner) => inner.iter().for_each(|entry| parts_of(entry, parts)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::testing::{end, failed, ok, plan, with_view};
    use super::super::{Assembled, Ended};
    use super::*;

    const HOME: &str = r#"
stream = true
limits = { response_bytes = "64B" }
parts.a = { upstream = "u", path = "/a", required = true }
parts.b = { upstream = "u", path = "/b", at = "in.b" }
parts.c = { upstream = "u", path = "/c", at = "in.c", default = [] }
parts.d = { upstream = "u", path = "/d" }
"#;

    /// What goes out at each end of a part, and at the end of all.
    fn sent(ends: &[(usize, Ended)]) -> (Vec<String>, Option<String>) {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        with_view(|view| {
            let mut run = Run::new(Arc::new(plan(HOME).unwrap()));
            run.start(view);
            let (mut stream, mut sent) = (run.stream(), Vec::new());
            for (part, ended) in ends {
                end(&mut run, *part, ended.clone(), view);
                stream = stream.or_else(|| run.stream());
                sent.push(
                    stream
                        .as_mut()
                        .map_or_else(String::new, |it| text(run.send(it))),
                );
            }
            let (last, degraded) = run.close(stream.expect("it has begun"));
            sent.push(text(last));
            (sent, degraded)
        })
    }

    #[test]
    fn fields_go_out_when_all_in_them_is_there() {
        let (all, degraded) = sent(&[(3, ok("4")), (0, ok("1")), (1, ok("2")), (2, ok("3"))]);
        let expected = ["", "{\"a\":1,\"d\":4", "", ",\"in\":{\"b\":2,\"c\":3}", "}"];
        assert_eq!(all, expected);
        assert_eq!(degraded, None);
        let (all, degraded) = sent(&[(0, ok("1")), (2, failed(Reason::Timeout))]);
        let expected = concat!(
            ",\"in\":{\"c\":[]},\"degraded\":true,\"degraded_parts\":[",
            "{\"part\":\"b\",\"reason\":\"budget\"},{\"default\":true,\"part\":\"c\",\"reason\":\"timeout\"},",
            "{\"part\":\"d\",\"reason\":\"budget\"}]}"
        );
        assert_eq!(all, ["{\"a\":1", "", expected]);
        let said = "b;reason=budget, c;reason=timeout;default, d;reason=budget";
        assert_eq!(degraded.as_deref(), Some(said));
    }

    #[test]
    fn what_is_left_out_leaves_no_comma() {
        let without = HOME.replace("path = \"/a\"", "path = \"/a\", when = \"false\"");
        with_view(|view| {
            let mut run = Run::new(Arc::new(plan(&without).unwrap()));
            run.start(view);
            let mut stream = run.stream().expect("nothing is waited for");
            assert_eq!(run.send(&mut stream), b"{");
            assert_eq!(run.send(&mut stream), b"");
            end(&mut run, 3, ok("4"), view);
            assert_eq!(run.send(&mut stream), b"\"d\":4");
            end(&mut run, 1, ok("2"), view);
            end(&mut run, 2, ok("3"), view);
            assert_eq!(run.close(stream).0, b",\"in\":{\"b\":2,\"c\":3}}");
        });
    }

    #[test]
    fn it_begins_with_what_is_required_and_only_where_that_fits() {
        with_view(|view| {
            let mut run = Run::new(Arc::new(plan(HOME).unwrap()));
            run.start(view);
            assert!(run.stream().is_none());
            end(&mut run, 0, ok(&format!("\"{}\"", "x".repeat(70))), view);
            assert!(run.stream().is_none(), "it does not fit");
            let mut run = Run::new(Arc::new(plan(HOME).unwrap()));
            run.start(view);
            for part in 0..4 {
                end(&mut run, part, ok("1"), view);
            }
            assert!(run.stream().is_none(), "all of it is there");
        });
        let (all, degraded) = sent(&[(0, ok("1")), (3, ok(&format!("\"{}\"", "x".repeat(70))))]);
        assert_eq!(all[1], "", "there is no room for it");
        assert!(degraded.unwrap().contains("d;reason=too_large"));
        for other in [
            "jq = \".\"",
            "response = \"{parts.a}\"",
            "parts.e = { upstream = \"u\", path = \"/e\", at = \".\", pick = [\"x\"] }",
        ] {
            let toml = HOME.replace("stream = true", &format!("stream = true\n{other}"));
            let toml = toml
                .replace(", at = \"in.b\"", "")
                .replace(", at = \"in.c\"", "");
            let problems = plan(&toml).unwrap_err();
            assert!(problems[0].contains("stream"), "{other}: {problems:?}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_comes_out_at_once(
            ends in proptest::collection::vec((0_usize..4, 0_u8..3), 0..8),
        ) {
            let ended = |part: usize, how: u8| match how {
                _ if part == 0 => ok("1"),
                0 => failed(Reason::Timeout),
                _ => ok(&format!("{{\"n\":{how}}}")),
            };
            let mut ends: Vec<_> = ends.iter().map(|(part, how)| (*part, ended(*part, *how))).collect();
            ends.push((0, ok("1")));
            let is_whole = (0..4).all(|part| ends.iter().any(|(own, _)| *own == part));
            if !is_whole {
                let (all, _) = sent(&ends);
                let streamed: Value = serde_json::from_str(&all.concat()).unwrap();
                let at_once = with_view(|view| {
                    let toml = HOME.replace("stream = true", "");
                    let mut run = Run::new(Arc::new(plan(&toml).unwrap()));
                    run.start(view);
                    for (part, ended) in ends {
                        end(&mut run, part, ended, view);
                    }
                    match run.finish(view) {
                        Assembled::Whole(whole) => serde_json::from_slice(&whole.body).unwrap(),
                        refused => json!({ "refused": format!("{refused:?}") }),
                    }
                });
                prop_assert_eq!(streamed, at_once);
            }
        }
    }
}
