//! What is kept of a response beside its body where it is on disk.
//!
//! ```text
//!  entry      version 1 │ 1 │ status 2 │ times and lifetime 5 × 8 │ flags 1 │ vary │ standing │ path │ header …
//!  variants   version 1 │ 2 │ vary
//!  vary       kind 1 │ number of names 1 │ name …
//! ```
//! All numbers are big-endian, times are milliseconds; what has no fixed length has it before itself, in 4 bytes. What another version
//! has written is not understood, and is a miss.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{ETAG, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::body::Body;
use super::entry::{Entry, Times, kept};
use super::key_hash::Key;
use super::marks::Standing;
use super::rfc::{Lifetime, Vary};

const VERSION: u8 = 1;
const ENTRY: u8 = 1;
const VARIANTS: u8 = 2;

/// A bit for each of what a lifetime is or is not.
const GUESS: u8 = 1;
const UNPROVEN: u8 = 2;
const STRICT: u8 = 4;
const FOR_SHARED: u8 = 8;

/// What lies under a key.
#[derive(Debug)]
pub(super) enum Meta {
    Entry(Box<Kept>),
    Variants(Vary),
}

/// An entry without its body.
#[derive(Debug)]
pub(super) struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    vary: Vary,
    lifetime: Lifetime,
    received_at: SystemTime,
    initial_age: Duration,
    pub(super) standing: Standing,
    pub(super) path: Box<str>,
}

impl Kept {
    /// The entry with this body. `None` where it is good for nothing any more, and where it has come in the future: then nobody
    /// knows how old it is.
    pub(super) fn into_entry(self, key: Key, body: Arc<Body>) -> Option<Entry> {
        let received_at = SystemTime::now();
        let since = received_at.duration_since(self.received_at).ok()?;
        let initial_age = self.initial_age.saturating_add(since);
        let can_be_confirmed =
            self.headers.contains_key(ETAG) || self.headers.contains_key(LAST_MODIFIED);
        let is_of_use = initial_age < self.lifetime.is_of_use_for();
        (is_of_use || can_be_confirmed).then(|| Entry {
            key,
            status: self.status,
            headers: kept(self.headers),
            vary: self.vary,
            lifetime: self.lifetime,
            times: Times {
                received: Instant::now(),
                received_at,
                initial_age,
            },
            standing: self.standing,
            path: self.path,
            body,
            for_first: None,
            uses: AtomicU32::new(0),
        })
    }
}

/// Of an entry, without what is for whoever asked first.
pub(super) fn of_entry(entry: &Entry) -> Bytes {
    let mut to = vec![VERSION, ENTRY];
    to.extend(entry.status.as_u16().to_be_bytes());
    let since = entry
        .times
        .received_at
        .duration_since(SystemTime::UNIX_EPOCH);
    let lifetime = &entry.lifetime;
    for time in [
        since.unwrap_or_default(),
        entry.times.initial_age,
        lifetime.fresh,
        lifetime.while_revalidate,
        lifetime.if_error,
    ] {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        to.extend(millis.to_be_bytes());
    }
    let flags = [
        (lifetime.is_guess, GUESS),
        (lifetime.is_unproven, UNPROVEN),
        (lifetime.is_strict, STRICT),
        (lifetime.is_for_shared, FOR_SHARED),
    ];
    to.push(flags.iter().filter(|it| it.0).map(|it| it.1).sum());
    write_vary(&entry.vary, &mut to);
    let mut standing = Vec::new();
    entry.standing.write(&mut standing);
    write(&standing, &mut to);
    write(entry.path.as_bytes(), &mut to);
    for (name, value) in &entry.headers {
        write(name.as_str().as_bytes(), &mut to);
        write(value.as_bytes(), &mut to);
    }
    to.into()
}

/// By what the variants of something are told apart.
pub(super) fn of_variants(vary: &Vary) -> Bytes {
    let mut to = vec![VERSION, VARIANTS];
    write_vary(vary, &mut to);
    to.into()
}

fn write_vary(vary: &Vary, to: &mut Vec<u8>) {
    let kind = match vary {
        Vary::Nothing => 0,
        Vary::By(_) => 1,
        Vary::Anything => 2,
    };
    // There are 16 at most.
    to.extend([kind, vary.names().len() as u8]);
    for name in vary.names() {
        write(name.as_str().as_bytes(), to);
    }
}

fn write(bytes: &[u8], to: &mut Vec<u8>) {
    // No header is nearly so long; one that was would not be read again.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.extend(length.to_be_bytes());
    to.extend(bytes);
}

/// `None` where it is of another version or damaged.
pub(super) fn read(bytes: &[u8]) -> Option<Meta> {
    let mut from = Rest(bytes);
    let [VERSION, kind] = from.array()? else {
        return None;
    };
    match kind {
        ENTRY => Some(Meta::Entry(Box::new(from.entry()?))),
        VARIANTS => {
            let vary = from.vary()?;
            from.0.is_empty().then_some(Meta::Variants(vary))
        }
        _ => None,
    }
}

/// What is left to be read.
struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn array<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn time(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(u64::from_be_bytes(self.array()?)))
    }

    fn vary(&mut self) -> Option<Vary> {
        let [kind, count] = self.array()?;
        let names = (0..count).map(|_| HeaderName::from_bytes(self.bytes()?).ok());
        let names = names.collect::<Option<Box<[HeaderName]>>>()?;
        match kind {
            0 if names.is_empty() => Some(Vary::Nothing),
            1 if !names.is_empty() => Some(Vary::By(names)),
            2 if names.is_empty() => Some(Vary::Anything),
            _ => None,
        }
    }

    /// All that is left.
    fn entry(&mut self) -> Option<Kept> {
        let status = StatusCode::from_u16(u16::from_be_bytes(self.array()?)).ok()?;
        let received_at = SystemTime::UNIX_EPOCH.checked_add(self.time()?)?;
        let initial_age = self.time()?;
        let [fresh, while_revalidate, if_error] = [self.time()?, self.time()?, self.time()?];
        let [flags] = self.array()?;
        let has = |flag| flags & flag != 0;
        let lifetime = Lifetime {
            fresh,
            is_guess: has(GUESS),
            is_unproven: has(UNPROVEN),
            is_strict: has(STRICT),
            is_for_shared: has(FOR_SHARED),
            while_revalidate,
            if_error,
        };
        let is_known = flags <= GUESS | UNPROVEN | STRICT | FOR_SHARED;
        let vary = self.vary()?;
        let standing = Standing::read(self.bytes()?)?;
        let path = std::str::from_utf8(self.bytes()?).ok()?.into();
        let mut headers = HeaderMap::new();
        while !self.0.is_empty() {
            let name = HeaderName::from_bytes(self.bytes()?).ok()?;
            let value = HeaderValue::from_bytes(self.bytes()?).ok()?;
            // There is a bound to how many a map takes.
            headers.try_append(name, value).ok()?;
        }
        is_known.then_some(Kept {
            status,
            headers,
            vary,
            lifetime,
            received_at,
            initial_age,
            standing,
            path,
        })
    }
}

#[cfg(test)]
#[path = "meta_tests.rs"]
mod tests;
