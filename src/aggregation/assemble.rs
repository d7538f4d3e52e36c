//! The answer: the document, its status and the headers that fit it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderName, HeaderValue, StatusCode};

use super::freshness::{Strictest, entity_tag};
use super::json::{Kind, Node, name_of, write_members};
use super::layout::{DEGRADED, DEGRADED_PARTS, Entry, Layout, Place};
use super::merge::merge;
use super::plan::{Form, Plan};
use super::reason::Reason;
use super::run::{Outcome, Outcomes, Run};
use crate::facts::{Gathered, View};

/// Says which parts are missing and why: a list of RFC 9651 of their names, each with its reason, and `default` where that
/// stands for it: `cart;reason=timeout, tips;reason=status_503;default`.
pub const DEGRADED_HEADER: HeaderName = HeaderName::from_static("x-northgate-degraded");

/// What an aggregation has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Assembled {
    Whole(Whole),
    /// There is no answer, because of this part: 504 where nobody answered it in time, otherwise 502. Without a part it is the
    /// answer itself that is larger than it may be, or that its filter makes nothing of.
    Refused {
        status: StatusCode,
        part: Option<usize>,
        reason: Reason,
    },
}

/// An answer, with all that is said with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// Each once.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// The parts that have failed, and those that a stale answer stands for, in order. Where there are any, the answer is degraded.
    pub failures: Vec<(usize, Reason)>,
}

impl Assembled {
    /// No answer, and no part is to blame.
    fn without(reason: Reason) -> Assembled {
        Assembled::Refused {
            status: StatusCode::BAD_GATEWAY,
            part: None,
            reason,
        }
    }
}

impl Run {
    /// Makes the answer of what there is; what has not ended has failed for want of time. Nothing that comes out depends on
    /// the order in which parts have ended.
    pub fn finish(self, view: View<'_>) -> Assembled {
        self.into_outcomes().assemble(view)
    }
}

impl Outcomes {
    fn assemble(mut self, view: View<'_>) -> Assembled {
        self.cut_to_size();
        let plan = self.plan.clone();
        if let Some(refused) = self.refused() {
            return refused;
        }
        let body = match plan.answer() {
            Form::Object(layout) => self.object(layout),
            Form::Response(template) => {
                let gathered = Gathered {
                    view,
                    answers: &self,
                };
                template.gather(gathered).into()
            }
        };
        // Some that have come do not fit together.
        if let Some(refused) = self.refused() {
            return refused;
        }
        let failures = self.told();
        let body = match plan.filter() {
            None => body,
            Some(filter) => {
                let text = std::str::from_utf8(&body).unwrap_or_default();
                match filter.apply(text) {
                    Some(made) => made.into_bytes(),
                    None => return Assembled::without(Reason::Shape),
                }
            }
        };
        if body.len() > plan.limits.response_bytes.saturating_add(plan.overhead()) {
            return Assembled::without(Reason::TooLarge);
        }
        let body = match failures.is_empty() {
            true => body,
            false => self.with_failures(body, &failures),
        };
        Assembled::Whole(Whole {
            headers: self.headers(&body, &failures),
            body: body.into(),
            failures,
        })
    }

    /// Leaves as many parts as there is room for: those that are required first, and otherwise in their order.
    fn cut_to_size(&mut self) {
        let plan = self.plan.clone();
        let mut room = plan.limits.response_bytes;
        let in_turn = |is_required: bool| {
            let parts = plan.parts().iter().enumerate();
            parts.filter(move |(_, part)| part.is_required() == is_required)
        };
        for (part, _) in in_turn(true).chain(in_turn(false)) {
            let size = self.lands(part).map_or(0, str::len);
            let has_answered = matches!(self.all.get(part), Some(Some(Outcome::Answered(_))));
            match room.checked_sub(size) {
                Some(left) => room = left,
                None if has_answered => self.settle(part, Outcome::Failed(Reason::TooLarge)),
                None => room = 0,
            }
        }
    }

    /// What the answer lacks, in order: the parts that have failed, and those that something old stands for.
    pub(super) fn told(&self) -> Vec<(usize, Reason)> {
        let all = self.all.iter().enumerate();
        let told = all.filter_map(|(part, outcome)| match outcome {
            Some(Outcome::Failed(reason)) => Some((part, *reason)),
            Some(Outcome::Answered(it)) if it.is_stale() => Some((part, Reason::Stale)),
            _ => None,
        });
        told.collect()
    }

    /// The parts that have failed, in order.
    fn failures(&self) -> Vec<(usize, Reason)> {
        let all = self.all.iter().enumerate();
        let failed = all.filter_map(|(part, outcome)| match outcome {
            Some(Outcome::Failed(reason)) => Some((part, *reason)),
            _ => None,
        });
        failed.collect()
    }

    /// Where a part that is required has failed. Of several the first one that has not failed for another's sake is named.
    fn refused(&self) -> Option<Assembled> {
        let failures = self.failures();
        let is_required = |part: usize| {
            self.plan
                .parts()
                .get(part)
                .is_some_and(|it| it.is_required())
        };
        let mut required = failures.iter().filter(|(part, _)| is_required(*part));
        let by_itself = |(_, reason): &&&(usize, Reason)| !matches!(reason, Reason::Needs(_));
        let named = required.clone().find(|it| by_itself(&it));
        let (part, reason) = *named.or_else(|| required.next())?;
        let status = match self.is_timeout(reason) {
            true => StatusCode::GATEWAY_TIMEOUT,
            false => StatusCode::BAD_GATEWAY,
        };
        Some(Assembled::Refused {
            status,
            part: Some(part),
            reason,
        })
    }

    /// The object in which parts land. Those that do not fit where they should have failed then.
    fn object(&mut self, layout: &Layout) -> Vec<u8> {
        for part in &layout.fields {
            let is_object =
                |json: &str| matches!(super::json::kind(json), Kind::Object | Kind::Null);
            if !self.lands(*part).is_none_or(is_object) {
                self.settle(*part, Outcome::Failed(Reason::Shape));
            }
        }
        let bases = self.merged(layout);
        let size = (0..self.all.len()).filter_map(|part| self.lands(part));
        let size: usize = size.map(|json| json.len() + 64).sum();
        let mut out = Vec::with_capacity(size + 256);
        out.push(b'{');
        for part in &layout.fields {
            let own = self.lands(*part).map(Node::new);
            let merged = bases.iter().find(|(base, _)| base == part);
            let mut node = merged.map_or(own, |(_, node)| node.clone());
            if let Some(members) = node.as_mut().and_then(Node::members)
                && !members.is_empty()
            {
                separate(&mut out);
                write_members(members, &mut out);
            }
        }
        self.write(&layout.root, &bases, &mut out);
        out.push(b'}');
        out
    }

    /// The parts that others merge with, with these.
    fn merged(&mut self, layout: &Layout) -> Vec<(usize, Option<Node<'static>>)> {
        let mut bases: Vec<(usize, Option<Node<'static>>)> = Vec::new();
        for it in &layout.merges {
            let Some(json) = self.lands(it.part) else {
                continue;
            };
            let place = bases.iter().position(|(base, _)| *base == it.into);
            let place = place.unwrap_or_else(|| {
                let own = self.lands(it.into).map(|json| Node::new(json).into_owned());
                bases.push((it.into, own));
                bases.len() - 1
            });
            let value = Node::new(json).into_owned();
            let Some((_, base)) = bases.get_mut(place) else {
                continue;
            };
            if merge(base, &it.at, value, &it.how).is_some() {
                continue;
            }
            self.settle(it.part, Outcome::Failed(Reason::Shape));
            // A default that does not fit either is nothing.
            if let Some(default) = self.default(it.part) {
                let value = Node::new(default).into_owned();
                let _ = merge(base, &it.at, value, &it.how);
            }
        }
        bases
    }

    pub(super) fn write(
        &self,
        entries: &[Entry],
        bases: &[(usize, Option<Node<'static>>)],
        out: &mut Vec<u8>,
    ) {
        for entry in entries {
            match &entry.place {
                Place::Object(inner) => {
                    separate(out);
                    out.extend_from_slice(entry.key.as_bytes());
                    out.push(b'{');
                    self.write(inner, bases, out);
                    out.push(b'}');
                }
                Place::Part(part) => match bases.iter().find(|(base, _)| base == part) {
                    Some((_, None)) => {}
                    Some((_, Some(node))) => {
                        separate(out);
                        out.extend_from_slice(entry.key.as_bytes());
                        node.write(out);
                    }
                    None => {
                        if let Some(json) = self.lands(*part) {
                            separate(out);
                            out.extend_from_slice(entry.key.as_bytes());
                            out.extend_from_slice(json.as_bytes());
                        }
                    }
                },
            }
        }
    }

    /// The answer with what is missing in it. What is no object has no place for that: the header says it alone.
    fn with_failures(&self, mut body: Vec<u8>, failures: &[(usize, Reason)]) -> Vec<u8> {
        if let (Form::Response(_), _) | (_, Some(_)) = (self.plan.answer(), self.plan.filter()) {
            // What upstreams say of themselves in these words is not what the gateway says.
            let text = String::from_utf8(body).unwrap_or_default();
            let mut node = Node::new(&text);
            if let Some(members) = node.members() {
                members.retain(|(own, _)| ![DEGRADED, DEGRADED_PARTS].contains(&&*name_of(own)));
            }
            body = node.to_json().into_bytes();
        }
        if !body.starts_with(b"{") || body.pop() != Some(b'}') {
            return body;
        }
        separate(&mut body);
        body.extend_from_slice(self.said(failures).as_bytes());
        body.push(b'}');
        body
    }

    /// The fields of the answer that say what is missing.
    pub(super) fn said(&self, failures: &[(usize, Reason)]) -> String {
        let listed = failures.iter().map(|(part, reason)| {
            let mut one = serde_json::Map::new();
            one.insert("part".into(), name(&self.plan, *part).into());
            one.insert("reason".into(), reason.slug(&self.plan).into());
            if self.is_default(*part, *reason) {
                one.insert("default".into(), true.into());
            }
            serde_json::Value::Object(one)
        });
        let listed = serde_json::Value::Array(listed.collect());
        format!("\"{DEGRADED}\":true,\"{DEGRADED_PARTS}\":{listed}")
    }

    fn headers(&self, body: &[u8], failures: &[(usize, Reason)]) -> Vec<(HeaderName, HeaderValue)> {
        let mut strictest = Strictest::default();
        strictest.varies_by(self.plan.varies_by());
        if self.is_for_caller || self.plan.is_of_one_client() {
            strictest.is_for_caller();
        }
        for (part, outcome) in self.plan.parts().iter().zip(&self.all) {
            match outcome {
                Some(Outcome::Answered(it)) => {
                    strictest.add(it.status, &it.headers, part.names_the_caller());
                }
                _ if part.names_the_caller() => strictest.is_for_caller(),
                _ => {}
            }
        }
        let json = HeaderValue::from_static("application/json");
        let mut headers = vec![(CONTENT_TYPE, json)];
        if failures.is_empty() {
            headers.extend(entity_tag(body).map(|tag| (ETAG, tag)));
            let cache_control = strictest.cache_control();
            headers.extend(cache_control.map(|value| (CACHE_CONTROL, value)));
        } else {
            // What is missing now is not missing for whoever asks next.
            headers.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
            let said = HeaderValue::try_from(self.degraded(failures)).ok();
            headers.extend(said.map(|value| (DEGRADED_HEADER, value)));
        }
        headers.extend(strictest.vary().map(|value| (VARY, value)));
        headers
    }

    /// Whether its default stands for it.
    fn is_default(&self, part: usize, reason: Reason) -> bool {
        reason != Reason::Stale && self.default(part).is_some()
    }

    pub(super) fn degraded(&self, failures: &[(usize, Reason)]) -> String {
        let listed = failures.iter().map(|(part, reason)| {
            let name = name(&self.plan, *part);
            // A token begins with a letter.
            let is_token = name.starts_with(|first: char| first.is_ascii_alphabetic());
            let quote = if is_token { "" } else { "\"" };
            let default = match self.is_default(*part, *reason) {
                true => ";default",
                false => "",
            };
            let reason = reason.slug(&self.plan);
            format!("{quote}{name}{quote};reason={reason}{default}")
        });
        listed.collect::<Vec<_>>().join(", ")
    }
}

fn name(plan: &Plan, part: usize) -> &str {
    plan.parts().get(part).map_or("", |part| part.name())
}

/// A comma, where there is something in front already.
pub(super) fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
