//! `jq`: filters for what the simple forms cannot say.
//!
//! A filter sees the value alone: no files, no environment, no clock, no other input, and nothing that it prints goes anywhere.
//! It is bounded by steps, one for each value that goes from one thing in it to the next and one for each sixteen values that
//! are looked at as a whole; definitions cannot call themselves.

use std::cell::Cell;
use std::fmt::{self, Write};

use jaq_core::data::{DataT, HasLut};
use jaq_core::load::parse::{Def, Term};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{Fun, bome, v};
use jaq_core::{Compiler, Ctx, Cv, Exn, Lut, Native, ValR, Vars};
use jaq_json::{Num, Val};
use thiserror::Error as ThisError;

use super::super::json::check;
use super::meter::{ADD, ENTER, MULTIPLY, TICK, WEIGH, metered, metered_definition};
use super::tree::{depth, recursive};

/// The longest filter, in bytes.
const LONGEST: usize = 4096;
/// How deep brackets may be in it.
const DEEPEST_BRACKETS: usize = 32;
/// How deep it may be: things in things, and things behind each other.
const DEEPEST_TREE: usize = 64;
/// The stack of the thread that reads it, in bytes. It is not taken before it is needed.
const STACK: usize = 64 << 20;
/// The stack of a run, in bytes: enough for every level of a value in every level of the filter.
const STACK_OF_RUN: usize = 256 << 20;
/// Steps for one level more on the stack where that depends on values alone.
const PER_LEVEL: u64 = 50;
/// How many steps a run may take: a tenth of a second or so.
const MOST_STEPS: u64 = 500_000;
/// The longest text that comes out, in bytes: no answer is longer.
const LARGEST: usize = 64 << 20;
/// How deep a value may be.
const DEEPEST: usize = 192;
/// The longest number, in digits: making one of text takes the square of them.
const MOST_DIGITS: usize = 1024;
/// Values, or bytes of text, that one step looks at.
const PER_STEP: usize = 16;

/// What of the library is not there: it prints, ends the process, or is not the same twice.
const REFUSED: [&str; 12] = [
    "debug",
    "debug_empty",
    "env",
    "halt",
    "halt_error",
    "input",
    "inputs",
    "localtime",
    "now",
    "stderr",
    "stderr_empty",
    "strflocaltime",
];

/// The name of the whole filter among the definitions.
const MAIN: &str = "northgate_main";

/// A filter, compiled.
pub struct Filter {
    source: Box<str>,
    compiled: jaq_core::Filter<Metered>,
}

/// Why there is no such filter.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
pub enum FilterError {
    #[error("is {0} bytes long; a filter has at most {LONGEST}")]
    TooLong(usize),
    #[error("is nested too deeply")]
    TooDeep,
    #[error("is no filter of jq from {0:?} on")]
    Syntax(Box<str>),
    #[error("has a definition that calls itself: `{0}`")]
    Recursive(Box<str>),
    #[error("names `{0}`, which is not there")]
    Undefined(Box<str>),
    #[error("is no filter of jq")]
    Other,
}

/// What a run goes by beside its values.
#[derive(Clone)]
struct Meter<'a> {
    lut: &'a Lut<Metered>,
    left: &'a Cell<u64>,
}

/// The crate's word for values and what goes with them.
struct Metered;

impl DataT for Metered {
    type V<'a> = Val;
    type Data<'a> = Meter<'a>;
}

impl<'a> HasLut<'a, Metered> for Meter<'a> {
    fn lut(&self) -> &'a Lut<Metered> {
        self.lut
    }
}

impl Meter<'_> {
    /// Takes steps. What ends a program of jq cannot be caught by anything in it.
    fn take<'a>(&self, steps: u64) -> Result<(), Exn<'a, Val>> {
        match self.left.get().checked_sub(steps) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.left.set(0);
                Err(Exn::halt(1))
            }
        }
    }

    fn take_for<'a>(&self, size: usize) -> Result<(), Exn<'a, Val>> {
        self.take(1 + (size / PER_STEP) as u64)
    }

    /// Takes steps for all that is in a value, and looks at no more of it than there are steps for.
    fn weigh<'a>(&self, value: &Val) -> Result<(), Exn<'a, Val>> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        let mut room = most.saturating_mul(PER_STEP);
        let before = room;
        let fits = weigh(value, DEEPEST, &mut room);
        self.take_for(before - room)?;
        fits.ok_or_else(|| Exn::halt(1))
    }
}

/// `None` where there is more in it than room, or it is too deep.
fn weigh(value: &Val, depth: usize, room: &mut usize) -> Option<()> {
    let own = match value {
        Val::BStr(text) | Val::TStr(text) => 1 + text.len() / 64,
        Val::Num(Num::BigInt(number)) => 1 + usize::try_from(number.bits()).ok()? / 64,
        Val::Num(Num::Dec(number)) => 1 + number.len() / 64,
        _ => 1,
    };
    *room = room.checked_sub(own)?;
    match value {
        Val::Arr(elements) => {
            let depth = depth.checked_sub(1)?;
            elements.iter().try_for_each(|one| weigh(one, depth, room))
        }
        Val::Obj(fields) => {
            let depth = depth.checked_sub(1)?;
            fields.iter().try_for_each(|(name, value)| {
                weigh(name, depth, room)?;
                weigh(value, depth, room)
            })
        }
        _ => Some(()),
    }
}

/// How much larger a value becomes by another of this size.
fn size(value: &Val) -> usize {
    match value {
        Val::BStr(text) | Val::TStr(text) => text.len(),
        Val::Arr(elements) => elements.len(),
        Val::Obj(fields) => fields.len(),
        Val::Num(Num::BigInt(number)) => usize::try_from(number.bits()).unwrap_or(usize::MAX),
        _ => 1,
    }
}

type Values<'a> = jaq_core::ValXs<'a, Val>;

fn passing(
    name: &'static str,
    native: Native<Metered>,
) -> (&'static str, Box<[jaq_core::Bind]>, Native<Metered>) {
    (name, v(0), native)
}

/// What the meter calls.
fn meter_functions() -> [Fun<Metered>; 5] {
    fn once<'a, T: 'a>(result: Result<T, Exn<'a, Val>>) -> jaq_core::ValXs<'a, T, Val> {
        Box::new(std::iter::once(result))
    }
    fn binary<'a>(
        mut cv: Cv<'a, Metered>,
        steps: fn(&Val, &Val) -> usize,
        run: fn(Val, Val) -> ValR<Val>,
    ) -> Values<'a> {
        let right = cv.0.pop_var();
        let left = cv.0.pop_var();
        let meter = cv.0.data().clone();
        match meter.take_for(steps(&left, &right)) {
            Ok(()) => bome(run(left, right)),
            Err(ends) => once(Err(ends)),
        }
    }
    let tick = Native::<Metered>::new(|cv| once(cv.0.data().take(1).map(|()| cv.1)))
        .with_paths(|cv| once(cv.0.data().take(1).map(|()| cv.1)))
        .with_update(|cv, update| match cv.0.data().take(1) {
            Ok(()) => update(cv.1),
            Err(ends) => once(Err(ends)),
        });
    let enter = Native::<Metered>::new(|cv| once(cv.0.data().take(1).map(|()| cv.1)))
        .with_paths(|cv| once(cv.0.data().take(1).map(|()| cv.1)))
        .with_update(|cv, update| match cv.0.data().take(PER_LEVEL) {
            Ok(()) => update(cv.1),
            Err(ends) => once(Err(ends)),
        });
    let weigh = Native::<Metered>::new(|cv| once(cv.0.data().weigh(&cv.1).map(|()| cv.1)))
        .with_paths(|cv| once(cv.0.data().weigh(&cv.1.0).map(|()| cv.1)))
        .with_update(|cv, update| match cv.0.data().weigh(&cv.1) {
            Ok(()) => update(cv.1),
            Err(ends) => once(Err(ends)),
        });
    let add = Native::<Metered>::new(|cv| {
        // What is there once is not copied: it grows by the other.
        binary(
            cv,
            |left, right| size(right).max(size(left) / 64),
            |left, right| left + right,
        )
    });
    let multiply = Native::<Metered>::new(|cv| {
        let steps = |left: &Val, right: &Val| {
            let times = |text: &Val, number: &Val| match number {
                Val::Num(number) => {
                    let times = number.as_isize().unwrap_or(isize::MAX).unsigned_abs();
                    size(text).saturating_mul(times)
                }
                _ => size(text),
            };
            match (left, right) {
                (Val::TStr(_) | Val::BStr(_), _) => times(left, right),
                (_, Val::TStr(_) | Val::BStr(_)) => times(right, left),
                (Val::Num(_), Val::Num(_)) => size(left).saturating_mul(size(right)) / 64,
                _ => size(left).saturating_add(size(right)),
            }
        };
        binary(cv, steps, |left, right| left * right)
    });
    [
        passing(TICK, tick),
        passing(ENTER, enter),
        passing(WEIGH, weigh),
        (ADD, v(2), add),
        (MULTIPLY, v(2), multiply),
    ]
}

fn functions() -> impl Iterator<Item = Fun<Metered>> {
    let library = jaq_core::funs::<Metered>()
        .chain(jaq_std::funs::<Metered>())
        .chain(jaq_json::funs::<Metered>());
    let library = library.filter(|(name, ..)| !REFUSED.contains(name));
    library.chain(meter_functions())
}

fn definitions<'s>() -> impl Iterator<Item = Def<&'s str>> {
    let library = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs());
    library.filter_map(|own| {
        // Of names that last for ever one that does not has to be made.
        let own: Def<&'s str> = own;
        (!REFUSED.contains(&own.name)).then_some(own)
    })
}

/// Text of at most [`LARGEST`] bytes: a value can hold another many times, and is written with all of them.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.0.len() + more.len() > LARGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(more);
        Ok(())
    }
}

impl Filter {
    /// Takes a thread of its own for the time: the crate's reader goes as deep as the text does, and only a tree that has been
    /// read shows how deep that is.
    pub fn compile(text: &str) -> Result<Filter, FilterError> {
        if text.len() > LONGEST {
            return Err(FilterError::TooLong(text.len()));
        }
        if is_too_deep(text) {
            return Err(FilterError::TooDeep);
        }
        let text = text.to_owned();
        let reader = std::thread::Builder::new()
            .name("jq".into())
            .stack_size(STACK);
        let reading = reader.spawn(move || Filter::read(&text));
        let read = reading.map(std::thread::JoinHandle::join);
        read.map_or(Err(FilterError::Other), |read| {
            read.unwrap_or(Err(FilterError::Other))
        })
    }

    fn read(text: &str) -> Result<Filter, FilterError> {
        let tree: Term<&str> = match load::parse(text, |parser| parser.term()) {
            Some(tree) => tree,
            None => return Err(syntax_error(text)),
        };
        if depth(&tree) > DEEPEST_TREE {
            return Err(FilterError::TooDeep);
        }
        if let Some(name) = recursive(&tree) {
            return Err(FilterError::Recursive(name.into()));
        }
        // Without a meter first, since the crate says what it does not know in the words that are written.
        compile(definitions(), text)?;
        let natives: Vec<&str> = functions().map(|(name, ..)| name).collect();
        let library = definitions().map(|own| metered_definition(own, &natives));
        let main = Def {
            name: MAIN,
            args: Vec::new(),
            body: metered(tree, &natives),
        };
        Ok(Filter {
            compiled: compile(library.chain([main]), MAIN)?,
            source: text.into(),
        })
    }

    /// The first value that it makes of this one, as JSON. `None` where it makes none, fails, takes too many steps, or makes one of
    /// more than 64 MiB; a tenth of a second or so at most, without a pause.
    ///
    /// It takes a thread of its own for the time, since how deep the crate goes depends on values: some tens of microseconds.
    pub fn apply(&self, json: &str) -> Option<String> {
        self.run(json, MOST_STEPS)
    }

    fn run(&self, json: &str, steps: u64) -> Option<String> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("jq".into())
                .stack_size(STACK_OF_RUN);
            let run = thread.spawn_scoped(scope, || self.run_here(json, steps));
            run.ok()?.join().ok()?
        })
    }

    fn run_here(&self, json: &str, steps: u64) -> Option<String> {
        if has_endless_number(json) {
            return None;
        }
        let value = jaq_json::read::parse_single(json.as_bytes()).ok()?;
        let left = Cell::new(steps);
        let meter = Meter {
            lut: &self.compiled.lut,
            left: &left,
        };
        let context = Ctx::<Metered>::new(meter.clone(), Vars::new([]));
        let made = self.compiled.id.run((context, value)).next()?.ok()?;
        meter.weigh(&made).ok()?;
        let mut text = Bounded(String::new());
        write!(text, "{made}").ok()?;
        let Bounded(text) = text;
        // Not all that it has is JSON: numbers that are none, and text that is no UTF-8.
        check(text.as_bytes(), DEEPEST).is_ok().then_some(text)
    }

    /// As it is written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.source).finish()
    }
}

fn compile<'s>(
    definitions: impl IntoIterator<Item = Def<&'s str>>,
    main: &'s str,
) -> Result<jaq_core::Filter<Metered>, FilterError> {
    let arena = Arena::default();
    let file = File {
        code: main,
        path: (),
    };
    let loader = Loader::new(definitions);
    let modules = loader.load(&arena, file).map_err(|_| FilterError::Other)?;
    let compiled = Compiler::default().with_funs(functions()).compile(modules);
    compiled.map_err(|errors| {
        let mut names = errors.iter().flat_map(|(_, errors)| errors);
        let name = names.next().map(|(name, _)| *name);
        name.map_or(FilterError::Other, |name| {
            FilterError::Undefined(name.into())
        })
    })
}

fn syntax_error(text: &str) -> FilterError {
    let arena = Arena::default();
    let file = File {
        code: text,
        path: (),
    };
    let Err(errors) = Loader::new([]).load(&arena, file) else {
        return FilterError::Other;
    };
    let place = errors.iter().find_map(|(_, error)| match error {
        load::Error::Lex(errors) => errors.first().map(|(_, rest)| *rest),
        load::Error::Parse(errors) => {
            let (_, token) = errors.first()?;
            Some(token)
        }
        load::Error::Io(_) => None,
    });
    match place {
        Some(rest) => FilterError::Syntax(rest.chars().take(24).collect::<String>().into()),
        None => FilterError::Other,
    }
}

/// Whether brackets are deeper than a reader that calls itself should go. Those in text count as well.
fn is_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEEPEST_BRACKETS
    })
}

fn has_endless_number(json: &str) -> bool {
    let mut digits = 0;
    json.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits > MOST_DIGITS
    })
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
