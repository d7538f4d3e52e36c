//! A body while it is written, and afterwards: one writer, and any number of readers at their own pace.
//!
//! Nobody who reads slowly holds up the writer or another reader, for as long as all of it may be kept. Where it becomes
//! too large for that, it is let go: from then on no more of it is there than a window between the slowest of its readers and
//! the writer, who waits for them. While others have read all there is, who is a window behind has [`PATIENCE`] for the next; then
//! the body is broken off for that reader.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

pub use super::budget::Budget;

/// Smaller parts are put together, so that many of them cost no more than a few.
const SMALL: usize = 8 * 1024;
const BLOCK: usize = 64 * 1024;
/// A block may keep so small a part of its length in room that it does not use.
const EXACT: usize = 32;
/// What a part costs beside its bytes.
const OVERHEAD: u64 = 96;
/// How far the writer of a body that is not kept is ahead of its slowest reader.
const WINDOW: u64 = 512 * 1024;
/// How long others wait, in all, for one who takes a window of a body that is not kept.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// It was broken off before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// There is no room for more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// A body, all of it or what has come so far.
#[derive(Debug)]
pub struct Body {
    /// Once it has come to its end.
    whole: OnceLock<Box<[(u64, Bytes)]>>,
    state: Mutex<State>,
    /// Tells readers that there is more.
    more: Notify,
    /// Tells the writer that some was read.
    less: Notify,
    budget: Arc<Budget>,
    charged: AtomicU64,
    length: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// With the place that each begins at; those that all have read are gone where the body is not kept.
    parts: VecDeque<(u64, Bytes)>,
    /// Small parts that have come behind them.
    open: BytesMut,
    open_from: u64,
    is_let_go: bool,
    is_broken: bool,
    /// Where readers are, by number.
    readers: Vec<Place>,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is gone, and its number is free.
    Free,
    At(u64),
    /// It was too slow for the others.
    LeftBehind,
}

/// Writes a body. Dropped before [`Writer::finish`], it breaks the body off.
#[derive(Debug)]
pub struct Writer {
    body: Arc<Body>,
    is_finished: bool,
    /// How long others have waited for one since the body was so long.
    waited: (Duration, u64),
}

/// Reads a body.
#[derive(Debug)]
pub struct Reader {
    body: Arc<Body>,
    at: u64,
    /// Among those that the writer may have to wait for.
    number: Option<usize>,
}

impl Body {
    /// One that is about to be written.
    pub fn begin(budget: &Arc<Budget>) -> (Writer, Arc<Body>) {
        let body = Arc::new(Body {
            whole: OnceLock::new(),
            state: Mutex::default(),
            more: Notify::new(),
            less: Notify::new(),
            budget: budget.clone(),
            charged: AtomicU64::new(0),
            length: AtomicU64::new(0),
        });
        let writer = Writer {
            body: body.clone(),
            is_finished: false,
            waited: (Duration::ZERO, 0),
        };
        (writer, body)
    }

    /// Bytes of it that have come so far.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    pub fn is_whole(&self) -> bool {
        self.whole.get().is_some()
    }

    /// What it takes in memory.
    pub fn weight(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    /// All of it, where it has come to its end and is in one part.
    pub fn in_one(&self) -> Option<Bytes> {
        match &**self.whole.get()? {
            [] if self.length() == 0 => Some(Bytes::new()),
            // Of what was let go there may be the end alone.
            [(0, part)] => Some(part.clone()),
            _ => None,
        }
    }

    /// All parts of it, once it has come to its end.
    pub fn parts(&self) -> Option<impl Iterator<Item = &Bytes>> {
        Some(self.whole.get()?.iter().map(|(_, part)| part))
    }

    /// Whether all of it that has come is there, and more may come.
    pub fn is_kept(&self) -> bool {
        let state = self.state();
        !state.is_let_go && !state.is_broken
    }

    /// How many read it while it is written.
    pub fn readers(&self) -> usize {
        self.state().places().count()
    }

    /// Ends when somebody may have begun to read it, has read more or has left, since this was asked last. For who writes it.
    pub async fn readers_moved(&self) {
        self.less.notified().await;
    }

    /// Reads it from a place on. `None` where that is not there any more.
    pub fn read_from(self: &Arc<Self>, at: u64) -> Option<Reader> {
        let mut number = None;
        let mut state = self.state();
        if let Some(whole) = self.whole.get() {
            let first = whole.first().map_or(self.length(), |(start, _)| *start);
            if at < first {
                return None;
            }
        } else {
            let first = state
                .parts
                .front()
                .map_or(state.open_from, |(start, _)| *start);
            if at < first {
                return None;
            }
            let free = state.readers.iter().position(|it| *it == Place::Free);
            let place = free.unwrap_or(state.readers.len());
            match state.readers.get_mut(place) {
                Some(reader) => *reader = Place::At(at),
                None => state.readers.push(Place::At(at)),
            }
            number = Some(place);
            self.less.notify_one();
        }
        Some(Reader {
            body: self.clone(),
            at,
            number,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, bytes: u64) -> bool {
        let has_room = self.budget.take(bytes);
        if has_room {
            self.charged.fetch_add(bytes, Ordering::Relaxed);
        }
        has_room
    }

    fn discharge(&self, bytes: u64) {
        let bytes = bytes.min(self.charged.load(Ordering::Relaxed));
        self.charged.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.give(bytes);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.give(*self.charged.get_mut());
    }
}

impl Writer {
    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.body.length()
    }

    /// Adds a part, which is kept. Nothing is added where there is no room.
    pub fn push(&mut self, part: &Bytes) -> Result<(), NoRoom> {
        let cost = part.len() as u64 + if part.len() < SMALL { 0 } else { OVERHEAD };
        if !self.body.charge(cost) {
            return Err(NoRoom);
        }
        self.add(part);
        Ok(())
    }

    /// Whether anybody reads it.
    pub fn has_readers(&self) -> bool {
        self.body.state().places().next().is_some()
    }

    /// From now on nothing is kept that all readers have read, and nobody reads it from its beginning.
    pub fn let_go(&mut self) {
        self.body.state().is_let_go = true;
    }

    /// Adds a part of a body that was let go, once its readers are near enough. An error where there are none any more.
    pub async fn pass(&mut self, part: &Bytes) -> Result<(), Broken> {
        let length = self.length();
        if length.saturating_sub(self.waited.1) >= WINDOW {
            self.waited = (Duration::ZERO, length);
        }
        loop {
            let mut less = pin!(self.body.less.notified());
            less.as_mut().enable();
            let others_wait = {
                let mut state = self.body.state();
                let slowest = state.places().min().ok_or(Broken)?;
                let freed = state.forget_before(slowest);
                self.body.discharge(freed);
                if length.saturating_sub(slowest) < WINDOW {
                    break;
                }
                state.places().any(|at| at >= length)
            };
            if !others_wait {
                less.await;
                continue;
            }
            let began = Instant::now();
            let left = PATIENCE.saturating_sub(self.waited.0);
            match timeout(left, less).await {
                Ok(()) => self.waited.0 += began.elapsed(),
                Err(_) => {
                    self.body.state().leave_behind(length);
                    self.body.more.notify_waiters();
                    self.waited = (Duration::ZERO, length);
                }
            }
        }
        // What is in the window is not refused: without it the body could only be broken off.
        let cost = part.len() as u64 + OVERHEAD;
        self.body.charged.fetch_add(cost, Ordering::Relaxed);
        self.body.budget.take_anyway(cost);
        self.add(part);
        Ok(())
    }

    fn add(&mut self, part: &Bytes) {
        if part.is_empty() {
            return;
        }
        let length = self.body.length();
        let mut state = self.body.state();
        if part.len() < SMALL {
            if state.open.is_empty() {
                state.open_from = length;
            }
            state.open.extend_from_slice(part);
            if state.open.len() >= BLOCK {
                state.seal();
                self.body.charge_overhead();
            }
        } else {
            if !state.open.is_empty() {
                state.seal();
                self.body.charge_overhead();
            }
            state.parts.push_back((length, part.clone()));
            state.open_from = length + part.len() as u64;
        }
        self.body
            .length
            .store(length + part.len() as u64, Ordering::Release);
        drop(state);
        self.body.more.notify_waiters();
    }

    /// It has come to its end.
    pub fn finish(mut self) {
        self.end();
    }

    /// As [`Writer::finish`]; nothing is to be added from then on.
    pub fn end(&mut self) {
        self.is_finished = true;
        let mut state = self.body.state();
        if !state.open.is_empty() {
            state.seal();
            self.body.charge_overhead();
        }
        state.open = BytesMut::new();
        let parts: Box<[(u64, Bytes)]> = match state.is_let_go {
            // Readers find in there what is left for them.
            true => state.parts.iter().cloned().collect(),
            false => std::mem::take(&mut state.parts).into_iter().collect(),
        };
        // Once: there is one writer. Under the lock, so that who finds it there finds it in one of the two places.
        let _ = self.body.whole.set(parts);
        drop(state);
        self.body.more.notify_waiters();
    }
}

impl Body {
    /// For a block that was put together: it is there in any case.
    fn charge_overhead(&self) {
        self.charged.fetch_add(OVERHEAD, Ordering::Relaxed);
        self.budget.take_anyway(OVERHEAD);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_finished {
            self.body.state().is_broken = true;
            self.body.more.notify_waiters();
        }
    }
}

impl State {
    fn seal(&mut self) {
        // Room grows in doubles, and what is kept would keep all of it. A block is small enough to be copied; its room is
        // for the next.
        let length = self.open.len();
        let block = if self.open.capacity() - length <= length / EXACT {
            self.open.split().freeze()
        } else {
            let block = Bytes::copy_from_slice(&self.open);
            self.open.clear();
            block
        };
        let from = self.open_from;
        self.open_from = from + block.len() as u64;
        self.parts.push_back((from, block));
    }

    fn places(&self) -> impl Iterator<Item = u64> {
        self.readers.iter().filter_map(|place| match place {
            Place::At(at) => Some(*at),
            Place::Free | Place::LeftBehind => None,
        })
    }

    /// Has no reader who is a window behind where the body is so long.
    fn leave_behind(&mut self, length: u64) {
        for place in &mut self.readers {
            if matches!(*place, Place::At(at) if length.saturating_sub(at) >= WINDOW) {
                *place = Place::LeftBehind;
            }
        }
    }

    /// Lets parts go that end before a place, and says what they took.
    fn forget_before(&mut self, place: u64) -> u64 {
        let mut freed = 0;
        while let Some((from, part)) = self.parts.front() {
            if from + part.len() as u64 > place {
                break;
            }
            freed += part.len() as u64 + OVERHEAD;
            self.parts.pop_front();
        }
        freed
    }

    fn part_at(&self, at: u64) -> Option<Bytes> {
        if at >= self.open_from {
            let rest = self
                .open
                .get(usize::try_from(at - self.open_from).ok()?..)?;
            return (!rest.is_empty()).then(|| Bytes::copy_from_slice(rest));
        }
        let (one, other) = self.parts.as_slices();
        part_in(one, at).or_else(|| part_in(other, at))
    }
}

/// What there is from a place on, in the part that has it.
fn part_in(parts: &[(u64, Bytes)], at: u64) -> Option<Bytes> {
    let after = parts.partition_point(|(from, _)| *from <= at);
    let (from, part) = parts.get(after.checked_sub(1)?)?;
    let offset = usize::try_from(at - from).ok()?;
    (offset < part.len()).then(|| part.slice(offset..))
}

impl Reader {
    /// What comes next, as soon as it is there; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(whole) = self.body.whole.get() {
                let part = part_in(whole, self.at);
                // What comes next may be gone, for one who was left behind.
                if part.is_none() && self.at < self.body.length() {
                    return Err(Broken);
                }
                self.at += part.as_ref().map_or(0, |part| part.len() as u64);
                return Ok(part);
            }
            let mut more = pin!(self.body.more.notified());
            more.as_mut().enable();
            if self.body.is_whole() {
                continue;
            }
            {
                let mut state = self.body.state();
                let place = self.number.and_then(|number| state.readers.get(number));
                if place == Some(&Place::LeftBehind) {
                    return Err(Broken);
                }
                if let Some(part) = state.part_at(self.at) {
                    self.at += part.len() as u64;
                    let place = self.number.and_then(|number| state.readers.get_mut(number));
                    if let Some(place) = place {
                        *place = Place::At(self.at);
                    }
                    let is_let_go = state.is_let_go;
                    drop(state);
                    if is_let_go {
                        self.body.less.notify_one();
                    }
                    return Ok(Some(part));
                }
                if state.is_broken {
                    return Err(Broken);
                }
            }
            more.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut state = self.body.state();
        if let Some(place) = state.readers.get_mut(number) {
            *place = Place::Free;
        }
        drop(state);
        self.body.less.notify_one();
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
