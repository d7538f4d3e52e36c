//! The stream that purges are told in.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::super::marks::Purge;
use crate::stores::{Redis, Script, StoreError};

/// Adds a purge. KEYS: the stream. ARGV: how many are kept, who tells it, and what. Each has the one before it, so that
/// whoever reads it sees whether there was anything in between.
const TELL: &str = r"
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*',
  'b', last and last[1] or '', 'n', ARGV[2], 'd', ARGV[3])
";

/// Looks where the stream ends, and whether it has what was heard last. KEYS: the stream. ARGV: who asks, and what he has
/// heard last, if anything. An empty stream gets a beginning: where that is not there any more, all of it was lost.
const LOOK: &str = r"
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], '*', 'n', ARGV[1]) end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][1]
local known = 0
if ARGV[2] ~= '' then known = #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) end
return {last, known}
";

/// How many are read at once.
const AT_ONCE: usize = 256;

/// The place of a message: milliseconds and a number, as the server gives them. They only ever grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    millis: u64,
    number: u64,
}

impl MessageId {
    /// The place so long before this one.
    pub(super) fn earlier(self, by: Duration) -> MessageId {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        MessageId {
            millis: self.millis.saturating_sub(by),
            number: 0,
        }
    }

    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.millis) << 64 | u128::from(self.number)).to_be_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> MessageId {
        let [millis, number] = [64, 0].map(|shift| (u128::from_be_bytes(bytes) >> shift) as u64);
        MessageId { millis, number }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

/// It is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be two numbers with a hyphen between them")]
pub struct NoMessageId;

impl FromStr for MessageId {
    type Err = NoMessageId;

    fn from_str(text: &str) -> Result<MessageId, NoMessageId> {
        let (millis, number) = text.split_once('-').ok_or(NoMessageId)?;
        match (millis.parse(), number.parse()) {
            (Ok(millis), Ok(number)) => Ok(MessageId { millis, number }),
            _ => Err(NoMessageId),
        }
    }
}

/// What somebody has told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: MessageId,
    /// What was in the stream before it.
    pub(super) before: Option<MessageId>,
    pub(super) node: u64,
    /// `None` where it is of another version, or the beginning of the stream.
    pub(super) purge: Option<Purge>,
}

/// Where the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) last: MessageId,
    /// Whether it still has what was asked for.
    pub(super) is_known: bool,
}

/// The stream of one name.
pub(super) struct Stream {
    key: String,
    tell: Script,
    look: Script,
    /// How many messages are kept, at least.
    kept: usize,
}

impl Stream {
    pub(super) fn new(name: &str, kept: usize) -> Stream {
        Stream {
            key: format!("northgate:purges:{name}"),
            tell: Script::new(TELL),
            look: Script::new(LOOK),
            kept,
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// Where the connection breaks meanwhile it may be told twice, which purges nothing else.
    pub(super) async fn tell(
        &self,
        store: &Redis,
        node: u64,
        purge: &Purge,
    ) -> Result<MessageId, StoreError> {
        let mut call = self.tell.call();
        call.key(&self.key).arg(self.kept).arg(node);
        call.arg(&purge.to_bytes()[..]);
        let id: Value = store.script(&call).await?;
        parse_id(&id).ok_or_else(unexpected)
    }

    pub(super) async fn look(
        &self,
        store: &Redis,
        node: u64,
        heard: Option<MessageId>,
    ) -> Result<End, StoreError> {
        let mut call = self.look.call();
        let heard = heard.map_or_else(String::new, |id| id.to_string());
        call.key(&self.key).arg(node).arg(heard);
        let answer: Value = store.script(&call).await?;
        let Value::Array(parts) = answer else {
            return Err(unexpected());
        };
        match parts.as_slice() {
            [last, Value::Int(known)] => Ok(End {
                last: parse_id(last).ok_or_else(unexpected)?,
                is_known: *known > 0,
            }),
            _ => Err(unexpected()),
        }
    }

    /// For what comes after a message, or is there already; the server waits for so long.
    pub(super) fn read(&self, heard: MessageId, patience: Duration) -> Cmd {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(AT_ONCE);
        read.arg("BLOCK").arg(patience.as_millis() as u64);
        read.arg("STREAMS").arg(&self.key).arg(heard.to_string());
        read
    }
}

/// What the server says to [`Stream::read`]: nothing where it has waited in vain.
pub(super) fn parse(answer: Value) -> Result<Vec<Message>, StoreError> {
    let streams = match answer {
        Value::Nil => return Ok(Vec::new()),
        Value::Array(streams) => streams,
        _ => return Err(unexpected()),
    };
    let [Value::Array(stream)] = streams.as_slice() else {
        return Err(unexpected());
    };
    let [_, Value::Array(messages)] = stream.as_slice() else {
        return Err(unexpected());
    };
    let messages = messages.iter().map(parse_message);
    messages.collect::<Option<_>>().ok_or_else(unexpected)
}

/// Fields that are not known are passed over: later versions may have more.
fn parse_message(message: &Value) -> Option<Message> {
    let Value::Array(parts) = message else {
        return None;
    };
    let [id, Value::Array(fields)] = parts.as_slice() else {
        return None;
    };
    let mut message = Message {
        id: parse_id(id)?,
        before: None,
        node: 0,
        purge: None,
    };
    let (fields, _) = fields.as_chunks::<2>();
    for [name, value] in fields {
        let value = bytes(value)?;
        let text = std::str::from_utf8(value).ok();
        match bytes(name)? {
            b"b" => message.before = text.and_then(|text| text.parse().ok()),
            b"n" => message.node = text.and_then(|text| text.parse().ok()).unwrap_or(0),
            b"d" => message.purge = Purge::from_bytes(value),
            _ => {}
        }
    }
    Some(message)
}

fn parse_id(value: &Value) -> Option<MessageId> {
    std::str::from_utf8(bytes(value)?).ok()?.parse().ok()
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn unexpected() -> StoreError {
    StoreError::Down("the server answers what was not asked".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    fn message(id: &str, fields: &[&[u8]]) -> Value {
        let fields = fields.iter().map(|field| bulk(field)).collect();
        Value::Array(vec![bulk(id.as_bytes()), Value::Array(fields)])
    }

    fn answer(messages: Vec<Value>) -> Value {
        let stream = Value::Array(vec![bulk(b"key"), Value::Array(messages)]);
        Value::Array(vec![stream])
    }

    fn id(text: &str) -> MessageId {
        text.parse().expect("an id")
    }

    #[test]
    fn ids_are_ordered_as_the_server_does() {
        assert!(id("9-9") < id("10-0") && id("10-2") < id("10-10"));
        assert_eq!(id("17-3").to_string(), "17-3");
        for wrong in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "a-1",
            "1-1-1",
            "18446744073709551616-0",
        ] {
            assert_eq!(wrong.parse::<MessageId>(), Err(NoMessageId), "{wrong}");
        }
    }

    #[test]
    fn messages_are_read() {
        let purge = Purge::tag(b"t");
        let known = message("5-1", &[b"b", b"4-0", b"n", b"77", b"d", &purge.to_bytes()]);
        let newer = message(
            "6-0",
            &[b"b", b"5-1", b"n", b"78", b"d", b"\x02x", b"y", b"z"],
        );
        let first = message("1-0", &[b"n", b"77"]);
        let of = |at, before: Option<&str>, node, purge| Message {
            id: id(at),
            before: before.map(id),
            node,
            purge,
        };
        let expected = vec![
            of("5-1", Some("4-0"), 77, Some(purge)),
            of("6-0", Some("5-1"), 78, None),
            of("1-0", None, 77, None),
        ];
        let parsed = parse(answer(vec![known, newer, first]));
        assert_eq!(parsed.expect("it is whole"), expected);
        assert_eq!(parse(Value::Nil).expect("nothing came"), []);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for wrong in [
            Value::Okay,
            Value::Array(vec![]),
            Value::Array(vec![Value::Nil]),
            answer(vec![Value::Nil]),
            answer(vec![message("x", &[])]),
        ] {
            assert!(parse(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
