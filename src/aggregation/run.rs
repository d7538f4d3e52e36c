//! One request's aggregation on its way: what is asked for next, and how each part has ended.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::answer::{Answer, Ended};
use super::json::find;
use super::plan::{Contract, Plan};
use super::reason::Reason;
use super::request::Outgoing;
use crate::facts::{Answers, Gathered, Key, View};

/// How a part has ended.
#[derive(Debug)]
pub enum Outcome {
    Answered(Box<Answer>),
    Failed(Reason),
    /// It was not wanted.
    LeftOut,
}

/// One request's aggregation. It is told how asking has ended and says what to ask for next; all that it knows of time is the
/// order of that, and nothing that comes out depends on it.
#[derive(Debug)]
pub struct Run {
    plan: Arc<Plan>,
    outcomes: Outcomes,
    /// Those that have been asked for and have not ended.
    under_way: usize,
}

/// How the parts have ended; `None` for those that have not.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) plan: Arc<Plan>,
    pub(super) all: Vec<Option<Outcome>>,
    /// Parts are told who calls by something else than their requests.
    pub(super) is_for_caller: bool,
}

impl Plan {
    /// What it comes to that asking for a part has ended so. Where [`is_slow`](super::Shape::is_slow) says so it takes long.
    pub fn read(&self, part: usize, ended: Ended) -> Outcome {
        let Some(compiled) = self.parts().get(part) else {
            return Outcome::LeftOut;
        };
        match ended {
            Ended::Failed(reason) => Outcome::Failed(reason),
            Ended::Complete {
                status,
                headers,
                body,
            } => match Answer::read(compiled, &self.limits, (status, headers, body)) {
                Ok(answer) => Outcome::Answered(Box::new(answer)),
                Err(reason) => Outcome::Failed(reason),
            },
        }
    }
}

impl Run {
    pub fn new(plan: Arc<Plan>) -> Run {
        let all = plan.parts().iter().map(|_| None).collect();
        Run {
            outcomes: Outcomes {
                plan: plan.clone(),
                all,
                is_for_caller: false,
            },
            plan,
            under_way: 0,
        }
    }

    /// What to ask for at once: parts by their places, and their requests. To be called once.
    pub fn start(&mut self, view: View<'_>) -> Vec<(usize, Outgoing)> {
        let graph = self.plan.graph();
        let first = (0..self.plan.parts().len()).filter(|part| graph.needs(*part).is_empty());
        self.begin(first.collect(), view)
    }

    /// What to ask for now that this part has ended. One that has ended already, or was given up, changes nothing.
    pub fn end(&mut self, part: usize, outcome: Outcome, view: View<'_>) -> Vec<(usize, Outgoing)> {
        if !matches!(self.outcomes.all.get(part), Some(None)) {
            return Vec::new();
        }
        self.under_way = self.under_way.saturating_sub(1);
        self.outcomes.settle(part, outcome);
        self.begin(self.ready_behind(part), view)
    }

    /// Ends all that have not ended yet: since there is no time left, or since there is no answer any more, whatever they say. Their
    /// requests are to be cancelled.
    pub fn give_up(&mut self) {
        let has_failed = self.has_failed();
        for outcome in &mut self.outcomes.all {
            outcome.get_or_insert_with(|| match has_failed {
                true => Outcome::LeftOut,
                false => Outcome::Failed(Reason::Budget),
            });
        }
        self.under_way = 0;
    }

    /// Parts are told who calls by something else than their requests, as policies do: then the answer is for nobody else.
    pub fn is_for_caller(&mut self) {
        self.outcomes.is_for_caller = true;
    }

    /// Whether nothing is under way. Then everything has ended.
    pub fn is_over(&self) -> bool {
        self.under_way == 0
    }

    /// Whether there cannot be an answer any more, whatever comes: then the rest need not be waited for.
    pub fn has_failed(&self) -> bool {
        let parts = self.plan.parts().iter().zip(&self.outcomes.all);
        parts.into_iter().any(|(part, outcome)| {
            part.is_required() && matches!(outcome, Some(Outcome::Failed(_)))
        })
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// How a part has ended; `None` while it has not.
    pub fn outcome(&self, part: usize) -> Option<&Outcome> {
        self.outcomes.all.get(part)?.as_ref()
    }

    pub(super) fn outcomes_mut(&mut self) -> &mut Outcomes {
        &mut self.outcomes
    }

    pub(super) fn into_outcomes(mut self) -> Outcomes {
        self.give_up();
        self.outcomes
    }

    /// Those that have waited for this part, and now for nobody any more.
    fn ready_behind(&self, part: usize) -> Vec<usize> {
        let graph = self.plan.graph();
        let has_ended = |part: &usize| matches!(self.outcomes.all.get(*part), Some(Some(_)));
        let is_ready = |part: &&usize| graph.needs(**part).iter().all(has_ended);
        graph.wakes(part).iter().filter(is_ready).copied().collect()
    }

    /// Begins parts that wait for nobody. Those that end without being asked for may let others begin.
    fn begin(&mut self, mut ready: Vec<usize>, view: View<'_>) -> Vec<(usize, Outgoing)> {
        let mut asked = Vec::with_capacity(ready.len());
        while let Some(part) = ready.pop() {
            match self.outcomes.begin(part, view) {
                Ok(outgoing) => asked.push((part, outgoing)),
                Err(outcome) => {
                    self.outcomes.settle(part, outcome);
                    ready.extend(self.ready_behind(part));
                }
            }
        }
        self.under_way += asked.len();
        asked.sort_by_key(|(part, _)| *part);
        asked
    }
}

impl Outcomes {
    pub(super) fn settle(&mut self, part: usize, outcome: Outcome) {
        if let Some(place) = self.all.get_mut(part) {
            *place = Some(outcome);
        }
    }

    /// The request of a part, all that it waits for having ended; or how the part has ended without being asked for.
    fn begin(&self, part: usize, view: View<'_>) -> Result<Outgoing, Outcome> {
        let gathered = Gathered {
            view,
            answers: self,
        };
        let Some(compiled) = self.plan.parts().get(part) else {
            return Err(Outcome::LeftOut);
        };
        // Who is not wanted does not fail, whatever became of others.
        let is_wanted = compiled.when().map(|when| when.gather(gathered));
        if let Some(Ok(false)) = is_wanted {
            return Err(Outcome::LeftOut);
        }
        let without = |wanted: fn(&Outcome) -> bool| {
            let mut inputs = compiled.inputs().iter();
            inputs.find(|input| {
                let outcome = self.all.get(**input).and_then(Option::as_ref);
                outcome.is_some_and(wanted) && self.default(**input).is_none()
            })
        };
        if let Some(input) = without(|outcome| matches!(outcome, Outcome::Failed(_))) {
            return Err(Outcome::Failed(Reason::Needs(*input)));
        }
        if without(|outcome| matches!(outcome, Outcome::LeftOut)).is_some() {
            return Err(Outcome::LeftOut);
        }
        if let Some(Err(_)) = is_wanted {
            return Err(Outcome::Failed(Reason::Condition));
        }
        compiled.request.make(gathered).map_err(Outcome::Failed)
    }

    /// What lands of a part, as JSON: what is made of its answer, or its default. `None` where it has neither, or has not ended.
    pub(super) fn lands(&self, part: usize) -> Option<&str> {
        match self.all.get(part)?.as_ref()? {
            Outcome::Answered(answer) => Some(answer.shaped()),
            Outcome::Failed(_) | Outcome::LeftOut => self.default(part),
        }
    }

    pub(super) fn default(&self, part: usize) -> Option<&str> {
        match self.plan.parts().get(part)?.contract() {
            Contract::Default(json) => Some(json),
            Contract::Required | Contract::Optional => None,
        }
    }

    /// Whether somebody waits for nothing less than all of its time, and for whom a failure of this part is one of time.
    pub(super) fn is_timeout(&self, reason: Reason) -> bool {
        match reason {
            Reason::Needs(part) => match self.all.get(part) {
                // Who needs whom has no ring.
                Some(Some(Outcome::Failed(reason))) => self.is_timeout(*reason),
                _ => false,
            },
            reason => reason.is_timeout(),
        }
    }

    fn answer(&self, part: usize) -> Option<&Answer> {
        match self.all.get(part)?.as_ref()? {
            Outcome::Answered(answer) => Some(answer),
            _ => None,
        }
    }
}

impl Answers for Outcomes {
    fn status(&self, part: usize) -> Option<StatusCode> {
        Some(self.answer(part)?.status)
    }

    fn header(&self, part: usize, name: &HeaderName) -> Option<&HeaderValue> {
        self.answer(part)?.headers.get(name)
    }

    fn body(&self, part: usize, path: &[Key]) -> Option<Cow<'_, str>> {
        let json = match self.all.get(part)?.as_ref()? {
            Outcome::Answered(answer) => answer.body(),
            Outcome::Failed(_) | Outcome::LeftOut => self.default(part)?,
        };
        find(json, path).map(Cow::Borrowed)
    }

    fn shaped(&self, part: usize) -> Option<Cow<'_, str>> {
        self.lands(part).map(Cow::Borrowed)
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
