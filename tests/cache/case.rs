//! One case: what is asked, what the origin says to it, and what has to come of it.
//!
//! Fields are written as lines, `name: value`. In them, and in bodies, `{self}` is the path of the case, `{now-60}` and
//! `{now+60}` are HTTP dates of the moment, `{start-60}` of when the case began, and `{asctime+60}` and `{rfc850+60}`
//! are the obsolete forms of RFC 9110 section 5.6.7.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::harness::Protocol;

/// What a failure means. The letters of RFC 2119, where reusing what may be reused counts as a SHOULD: a cache that
/// never does is no cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Must,
    Should,
    /// Left open by the RFCs; what is expected is Northgate's choice.
    May,
}

#[derive(Clone, Debug)]
pub struct Case {
    /// The first segment of its path, and so all its own.
    pub id: String,
    pub section: &'static str,
    pub kind: Kind,
    pub steps: Vec<Step>,
    /// Where it can be asked over one protocol only.
    pub only: Option<Protocol>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub pause: Duration,
    pub method: &'static str,
    /// Follows the path of the case.
    pub suffix: String,
    pub host: &'static str,
    pub fields: Vec<String>,
    pub body: Option<&'static str>,
    /// How many clients ask at once.
    pub copies: usize,
    pub reply: Reply,
    pub expected: Expected,
}

/// What the origin says to all that it is asked during a step.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub fields: Vec<String>,
    /// `None` is a text that no other step has.
    pub body: Option<String>,
    /// Whose value, as the origin sees it, is the body.
    pub echo: Option<&'static str>,
    /// Who asks under no condition has a 200 in the place of a 304.
    pub is_to_conditions: bool,
    pub delay: Duration,
    pub interim: Option<&'static str>,
    pub ending: Ending,
}

/// How a reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a `Content-Length`.
    Whole,
    Chunked,
    /// With the end of the connection, which is all that HTTP/1.0 has.
    Closed,
    /// In the middle of a body whose length was told.
    CutLength,
    /// Without the last chunk.
    CutChunked,
    /// The connection is reset in mid body.
    Reset,
    /// Instead of a reply, the connection is closed.
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Expected {
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub is_not: Option<u16>,
    /// The step whose reply is reused; else the last one that was fetched.
    pub of: Option<usize>,
    pub body: Option<String>,
    pub has: Vec<String>,
    pub lacks: Vec<String>,
    pub sees: Vec<String>,
    pub sees_not: Vec<String>,
    pub age: Option<RangeInclusive<u64>>,
    /// In the gateway's member of `Cache-Status`: `hit`, or `fwd=stale`.
    pub told: Vec<&'static str>,
    pub untold: Vec<&'static str>,
    /// A word that is nowhere in the answer.
    pub free_of: Option<&'static str>,
    /// How often the origin is asked, where that matters.
    pub times: Option<RangeInclusive<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The origin is asked, and the client has what it said.
    Fetched,
    /// The origin is not asked; the client has what was said before.
    Reused,
    /// The origin is asked whether what is stored is still good; the client has what is stored.
    Validated,
    /// As `Reused`, and the origin is asked behind the client's back.
    Refreshing,
    /// As `Reused`, whether or not the origin was asked first.
    Stale,
    /// The origin is not asked, and nothing is said of the body.
    Local,
    /// The client gets no whole response, or an error.
    Broken,
    /// Only what is said beside it counts.
    Any,
}

pub fn must(id: impl Into<String>, section: &'static str) -> Case {
    Case::new(id.into(), section, Kind::Must)
}

pub fn should(id: impl Into<String>, section: &'static str) -> Case {
    Case::new(id.into(), section, Kind::Should)
}

pub fn may(id: impl Into<String>, section: &'static str) -> Case {
    Case::new(id.into(), section, Kind::May)
}

/// Fetched with these fields, it is reused.
pub fn reuse(id: impl Into<String>, section: &'static str, fields: &[&str]) -> Case {
    should(id, section).get().says(fields).get().reused()
}

/// Fetched with these fields, it is not reused without asking.
pub fn no_reuse(id: impl Into<String>, section: &'static str, fields: &[&str]) -> Case {
    must(id, section).get().says(fields).get().fetched()
}

impl Case {
    fn new(id: String, section: &'static str, kind: Kind) -> Case {
        Case {
            id,
            section,
            kind,
            steps: Vec::new(),
            only: None,
        }
    }

    pub fn over(mut self, protocol: Protocol) -> Case {
        self.only = Some(protocol);
        self
    }

    pub fn of_kind(mut self, kind: Kind) -> Case {
        self.kind = kind;
        self
    }

    /// A next step. Until something else is said, the origin is asked, and answers 200.
    pub fn ask(mut self, method: &'static str) -> Case {
        self.steps.push(Step {
            pause: Duration::ZERO,
            method,
            suffix: String::new(),
            host: "shop.test",
            fields: Vec::new(),
            body: None,
            copies: 1,
            reply: Reply {
                status: 200,
                fields: Vec::new(),
                body: None,
                echo: None,
                is_to_conditions: false,
                delay: Duration::ZERO,
                interim: None,
                ending: Ending::Whole,
            },
            expected: Expected {
                outcome: Outcome::Fetched,
                status: None,
                is_not: None,
                of: None,
                body: None,
                has: Vec::new(),
                lacks: Vec::new(),
                sees: Vec::new(),
                sees_not: Vec::new(),
                age: None,
                told: Vec::new(),
                untold: Vec::new(),
                free_of: None,
                times: None,
            },
        });
        self
    }

    pub fn get(self) -> Case {
        self.ask("GET")
    }

    pub fn head(self) -> Case {
        self.ask("HEAD")
    }

    fn change(mut self, change: impl FnOnce(&mut Step)) -> Case {
        change(self.steps.last_mut().expect("a step was begun"));
        self
    }

    fn expect(self, change: impl FnOnce(&mut Expected)) -> Case {
        self.change(|step| change(&mut step.expected))
    }

    fn reply(self, change: impl FnOnce(&mut Reply)) -> Case {
        self.change(|step| change(&mut step.reply))
    }
}

/// What is asked.
impl Case {
    pub fn after(self, milliseconds: u64) -> Case {
        self.change(|step| step.pause = Duration::from_millis(milliseconds))
    }

    pub fn at(self, suffix: impl Into<String>) -> Case {
        self.change(|step| step.suffix = suffix.into())
    }

    pub fn host(self, host: &'static str) -> Case {
        self.change(|step| step.host = host)
    }

    pub fn with(self, field: impl Into<String>) -> Case {
        self.change(|step| step.fields.push(field.into()))
    }

    pub fn sending(self, body: &'static str) -> Case {
        self.change(|step| step.body = Some(body))
    }

    pub fn copies(self, copies: usize) -> Case {
        self.change(|step| step.copies = copies)
    }
}

/// What the origin says.
impl Case {
    pub fn says(self, fields: &[&str]) -> Case {
        self.reply(|reply| {
            reply.fields.extend(fields.iter().map(|&it| it.to_owned()));
        })
    }

    pub fn status(self, status: u16) -> Case {
        self.reply(|reply| reply.status = status)
    }

    pub fn content(self, body: impl Into<String>) -> Case {
        self.reply(|reply| reply.body = Some(body.into()))
    }

    pub fn echoing(self, field: &'static str) -> Case {
        self.reply(|reply| reply.echo = Some(field))
    }

    pub fn delay(self, milliseconds: u64) -> Case {
        self.reply(|reply| reply.delay = Duration::from_millis(milliseconds))
    }

    /// Says 304 to those alone who ask under a condition, and 200 to others.
    pub fn status_304_to_conditions(self) -> Case {
        self.status(304)
            .reply(|reply| reply.is_to_conditions = true)
    }

    pub fn interim(self, head: &'static str) -> Case {
        self.reply(|reply| reply.interim = Some(head))
    }

    pub fn ending(self, ending: Ending) -> Case {
        self.reply(|reply| reply.ending = ending)
    }
}

/// What comes of it.
impl Case {
    pub fn outcome(self, outcome: Outcome) -> Case {
        self.expect(|expected| expected.outcome = outcome)
    }

    pub fn fetched(self) -> Case {
        self.outcome(Outcome::Fetched)
    }

    pub fn reused(self) -> Case {
        self.outcome(Outcome::Reused)
    }

    /// The origin says 304, and the client has what is stored.
    pub fn validated(self) -> Case {
        self.status(304).outcome(Outcome::Validated)
    }

    pub fn refreshing(self) -> Case {
        self.outcome(Outcome::Refreshing)
    }

    pub fn stale(self) -> Case {
        self.outcome(Outcome::Stale)
    }

    pub fn local(self, status: u16) -> Case {
        self.outcome(Outcome::Local).is(status)
    }

    pub fn broken(self) -> Case {
        self.outcome(Outcome::Broken)
    }

    pub fn anything(self) -> Case {
        self.outcome(Outcome::Any)
    }

    pub fn is(self, status: u16) -> Case {
        self.expect(|expected| expected.status = Some(status))
    }

    pub fn never(self, status: u16) -> Case {
        self.expect(|expected| expected.is_not = Some(status))
    }

    /// From which step, counted from 0, what is reused comes.
    pub fn of(self, step: usize) -> Case {
        self.expect(|expected| expected.of = Some(step))
    }

    pub fn shows(self, body: impl Into<String>) -> Case {
        self.expect(|expected| expected.body = Some(body.into()))
    }

    pub fn has(self, field: impl Into<String>) -> Case {
        self.expect(|expected| expected.has.push(field.into()))
    }

    pub fn lacks(self, name: impl Into<String>) -> Case {
        self.expect(|expected| expected.lacks.push(name.into()))
    }

    /// That the origin sees this field; with a name alone, whatever its value.
    pub fn sees(self, field: impl Into<String>) -> Case {
        self.expect(|expected| expected.sees.push(field.into()))
    }

    pub fn sees_no(self, name: impl Into<String>) -> Case {
        self.expect(|expected| expected.sees_not.push(name.into()))
    }

    pub fn age(self, seconds: RangeInclusive<u64>) -> Case {
        self.expect(|expected| expected.age = Some(seconds))
    }

    pub fn told(self, parameter: &'static str) -> Case {
        self.expect(|expected| expected.told.push(parameter))
    }

    pub fn untold(self, parameter: &'static str) -> Case {
        self.expect(|expected| expected.untold.push(parameter))
    }

    pub fn free_of(self, word: &'static str) -> Case {
        self.expect(|expected| expected.free_of = Some(word))
    }

    pub fn times(self, times: RangeInclusive<usize>) -> Case {
        self.expect(|expected| expected.times = Some(times))
    }
}
