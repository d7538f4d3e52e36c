//! Writes to a client what the cache has.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES,
    LAST_MODIFIED, RANGE, TRANSFER_ENCODING,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use smallvec::{SmallVec, smallvec};

use super::{Answer, Cached};
use crate::cache::body::Reader;
use crate::cache::rfc::{
    ContentRange, Frames, Wanted, is_not_modified, is_same_range, strip_for_304, wanted,
};
use crate::cache::{Entry, Once};
use crate::proxy::exchange::Exchange;
use crate::proxy::reply::write_header;
use crate::response::Code;

/// What follows the header.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// What is next stands last.
    pieces: Pieces,
    /// In bytes; `None` where it is not known before it ends.
    length: Option<u64>,
}

/// Most contents are one piece.
type Pieces = SmallVec<[Piece; 1]>;

/// A part of a content.
#[derive(Debug)]
pub(super) enum Piece {
    Literal(Bytes),
    /// So many bytes of a body from where its reader is; all that there are, where that is not known.
    Read(Reader, Option<u64>),
}

impl Content {
    pub(super) fn whole(bytes: Bytes) -> Content {
        Content {
            length: Some(bytes.len() as u64),
            pieces: smallvec![Piece::Literal(bytes)],
        }
    }

    pub(super) fn read(reader: Reader, length: Option<u64>) -> Content {
        // Of nothing there is nothing to wait for.
        let piece = (length != Some(0)).then_some(Piece::Read(reader, length));
        Content {
            pieces: piece.into_iter().collect(),
            length,
        }
    }

    /// Several pieces, which are `length` bytes together.
    pub(super) fn of(mut pieces: Pieces, length: u64) -> Content {
        pieces.reverse();
        Content {
            pieces,
            length: Some(length),
        }
    }
}

/// Answers with what is kept: the whole of it, a part, or that the client has it already.
pub(super) async fn entry(
    session: &mut Session,
    exchange: &mut Exchange,
    mut cached: Box<Cached>,
    entry: &Arc<Entry>,
) -> Result<Answer> {
    let now = Instant::now();
    let request = session.req_header();
    let Some((mut head, content)) = response(&request.method, &request.headers, entry) else {
        // It has become too large to be kept, and its beginning is gone.
        cached.passes();
        exchange.cached = Some(cached);
        return Ok(Answer::None);
    };
    let age = entry.age(now).as_secs();
    cached.age = cached.is_from_before().then_some(age);
    if cached.is_from_before() || entry.headers().contains_key(AGE) || age > 0 {
        head.headers.insert(AGE, age.into());
    }
    if let Some(own) = cached.for_first.take() {
        head.headers.extend(own);
    }
    cached.status.ttl = Some(cached.rules.cache.left(entry, now));
    cached.tell(&mut head);
    exchange.cached = Some(cached);
    write(session, exchange, head, content).await?;
    Ok(Answer::Written)
}

/// Passes a response on that is not kept.
pub(super) async fn once(
    session: &mut Session,
    exchange: &mut Exchange,
    (cached, once): (Box<Cached>, &Once),
    body: Reader,
) -> Result<Answer> {
    let mut head = http::Response::new(()).into_parts().0;
    head.status = once.status;
    head.headers = once.headers.clone();
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    cached.tell(&mut head);
    exchange.cached = Some(cached);
    write(session, exchange, head, Content::read(body, length)).await?;
    Ok(Answer::Written)
}

/// `None` where its body is not there from the place on that is wanted.
fn response(method: &Method, request: &HeaderMap, entry: &Arc<Entry>) -> Option<(Parts, Content)> {
    let mut head = http::Response::new(()).into_parts().0;
    head.status = entry.status();
    head.headers = entry.headers().clone();
    if is_not_modified(request, entry.status(), entry.headers()) {
        head.status = StatusCode::NOT_MODIFIED;
        strip_for_304(&mut head.headers);
        return Some((head, Content::default()));
    }
    // Only `GET` has ranges (RFC 9110 section 14.2).
    let has_range = *method == Method::GET && request.contains_key(RANGE);
    if !has_range || !is_same_range(request, entry.headers()) {
        return whole(head, entry);
    }
    if let Some(of) = entry.part() {
        // Of a part that is kept, what is wanted is all in there, or it would not be served.
        let (Some(part), Some(length)) = (of.has(request), of.length) else {
            return whole(head, entry);
        };
        let from = part.first - of.part.first;
        let content = piece(entry, from, part.length())?;
        head.headers
            .insert(CONTENT_RANGE, ContentRange::write(part, length));
        return Some((head, Content::of(smallvec![content], part.length())));
    }
    let Some(length) = entry.length().filter(|_| entry.status() == StatusCode::OK) else {
        return whole(head, entry);
    };
    match wanted(request, length) {
        Wanted::Whole => whole(head, entry),
        Wanted::Nothing => {
            head.status = StatusCode::RANGE_NOT_SATISFIABLE;
            strip_for_304(&mut head.headers);
            // What is said of the whole is not said of this: nobody on the way may keep it in the place of that.
            let is_of_whole = |name: &HeaderName| {
                name.as_str().ends_with("cache-control")
                    || [ETAG, EXPIRES, LAST_MODIFIED].contains(name)
            };
            let of_whole: Vec<_> = head
                .headers
                .keys()
                .filter(|it| is_of_whole(it))
                .cloned()
                .collect();
            for name in of_whole {
                head.headers.remove(name);
            }
            let never = HeaderValue::from_static("no-store");
            head.headers.insert(CACHE_CONTROL, never);
            head.headers
                .insert(CONTENT_RANGE, ContentRange::unsatisfied(length));
            Some((head, Content::whole(Bytes::new())))
        }
        Wanted::One(part) => {
            head.status = StatusCode::PARTIAL_CONTENT;
            head.headers
                .insert(CONTENT_RANGE, ContentRange::write(part, length));
            let content = piece(entry, part.first, part.length())?;
            Some((head, Content::of(smallvec![content], part.length())))
        }
        // A body that is still coming may be let go behind a reader that is ahead, and would wait for one that is not its turn.
        Wanted::Several(parts)
            if !entry.body().is_whole()
                && !parts.is_sorted_by(|one, next| one.last < next.first) =>
        {
            whole(head, entry)
        }
        Wanted::Several(parts) => {
            head.status = StatusCode::PARTIAL_CONTENT;
            let content_type = head.headers.get(CONTENT_TYPE);
            let frames = Frames::of(&parts, length, content_type, rand::random());
            let mut pieces = Pieces::with_capacity(2 * parts.len() + 1);
            for (part, before) in parts.iter().zip(frames.before) {
                pieces.push(Piece::Literal(before.into()));
                pieces.push(piece(entry, part.first, part.length())?);
            }
            pieces.push(Piece::Literal(frames.after.into()));
            head.headers.insert(CONTENT_TYPE, frames.content_type);
            Some((head, Content::of(pieces, frames.length)))
        }
    }
}

fn whole(head: Parts, entry: &Arc<Entry>) -> Option<(Parts, Content)> {
    let content = match entry.body().in_one() {
        Some(bytes) => Content::whole(bytes),
        None => Content::read(entry.body().read_from(0)?, entry.length()),
    };
    Some((head, content))
}

fn piece(entry: &Entry, from: u64, length: u64) -> Option<Piece> {
    Some(Piece::Read(entry.body().read_from(from)?, Some(length)))
}

/// Writes a response: through the response hooks of the route, as one of an upstream would go.
pub(super) async fn write(
    session: &mut Session,
    exchange: &mut Exchange,
    head: Parts,
    content: Content,
) -> Result<()> {
    match open(session, exchange, head, content.length).await? {
        true => write_body(session, exchange, content).await,
        false => Ok(()),
    }
}

/// Writes the header of a response whose content is so long, where that is known. Whether any follows.
pub(in crate::proxy) async fn open(
    session: &mut Session,
    exchange: &mut Exchange,
    mut head: Parts,
    length: Option<u64>,
) -> Result<bool> {
    let request = session.req_header();
    let can_have_content =
        head.status != StatusCode::NO_CONTENT && head.status != StatusCode::NOT_MODIFIED;
    let is_bodiless = !can_have_content || request.method == Method::HEAD;
    match length {
        Some(length) if can_have_content => tell_length(&mut head.headers, length),
        None if !is_bodiless && request.version == Version::HTTP_11 => {
            let chunked = HeaderValue::from_static("chunked");
            head.headers.insert(TRANSFER_ENCODING, chunked);
        }
        _ => {}
    }
    exchange.finish(request, &mut head);
    if let (Some(date), Some(connection)) = (head.headers.get(DATE), &exchange.connection)
        && !exchange.is_call()
    {
        connection.keep_date(date);
    }
    if exchange.route.pipeline.changes_bodies() {
        exchange.open_response(request, &mut head)?;
    }
    let is_unframed = !is_bodiless
        && request.version == Version::HTTP_10
        && !head.headers.contains_key(CONTENT_LENGTH);
    if is_unframed || exchange.is_last() {
        session.set_keepalive(None);
    }
    exchange
        .first_byte
        .get_or_insert_with(|| exchange.began.elapsed());
    let header = Box::new(ResponseHeader::from(head));
    if is_bodiless || (length == Some(0) && exchange.bodies.response.is_empty()) {
        let written = write_header(session, header).await;
        return written.map(|()| false).map_err(|error| error.into_down());
    }
    let written = session.write_response_header(header, false).await;
    written.map(|()| true).map_err(|error| error.into_down())
}

/// Writes a part of its body, through the hooks of the route.
pub(in crate::proxy) async fn send(
    session: &mut Session,
    exchange: &mut Exchange,
    mut part: Option<Bytes>,
    ends: bool,
) -> Result<()> {
    if let Some(pause) = exchange.pass(&mut part, ends)? {
        listening(session, tokio::time::sleep(pause)).await?;
    }
    if part.as_ref().is_some_and(|part| !part.is_empty()) || ends {
        let written = session.write_response_body(part, ends).await;
        written.map_err(|error| error.into_down())?;
    }
    Ok(())
}

/// What is kept whole has said so already.
fn tell_length(headers: &mut HeaderMap, length: u64) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(length);
    let mut told = headers.get_all(CONTENT_LENGTH).iter();
    let is_told = told.next().is_some_and(|told| told == digits) && told.next().is_none();
    if !is_told {
        headers.insert(CONTENT_LENGTH, length.into());
    }
}

async fn write_body(
    session: &mut Session,
    exchange: &mut Exchange,
    mut content: Content,
) -> Result<()> {
    loop {
        let part = listening(session, next(&mut content.pieces)).await?;
        let part = part.map_err(|()| {
            exchange.outcome = Some(Code::UpstreamReset);
            Error::explain(ErrorType::ConnectionClosed, "the response has broken off").into_up()
        })?;
        let ends = content.pieces.is_empty();
        if part.is_none() && !ends {
            continue;
        }
        send(session, exchange, part, ends).await?;
        if ends {
            return Ok(());
        }
    }
}

/// Waits, and listens to the client meanwhile: it may leave, and what was gathered for it goes out when nothing more comes
/// along. An error where it leaves.
async fn listening<T>(session: &mut Session, awaited: impl Future<Output = T>) -> Result<T> {
    tokio::pin!(awaited);
    let client = &mut session.downstream_session;
    tokio::select! {
        biased;
        output = &mut awaited => return Ok(output),
        left = client.read_body_or_idle(true) => {
            left.map_err(|error| error.into_down())?;
        }
    }
    Ok(awaited.await)
}

/// What comes next. The piece is gone once all of it has come.
async fn next(pieces: &mut Pieces) -> std::result::Result<Option<Bytes>, ()> {
    let Some(piece) = pieces.last_mut() else {
        return Ok(None);
    };
    let (part, is_over) = match piece {
        Piece::Literal(bytes) => (Some(std::mem::take(bytes)), true),
        Piece::Read(reader, left) => {
            let part = reader.next().await.map_err(|_| ())?;
            match (part, left) {
                (None, None) => (None, true),
                // It is shorter than was said.
                (None, Some(_)) => return Err(()),
                (Some(part), None) => (Some(part), false),
                (Some(mut part), Some(left)) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(part.len());
                    part.truncate(count);
                    *left -= count as u64;
                    (Some(part), *left == 0)
                }
            }
        }
    };
    if is_over {
        pieces.pop();
    }
    Ok(part)
}
