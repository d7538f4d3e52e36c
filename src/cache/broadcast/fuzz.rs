//! Any answer of a server, and messages that come back as they were told.

use redis::{Value, parse_redis_value};

use super::super::marks::Purge;
use super::stream::{Message, MessageId, parse};
use crate::text::fuzz::fuzz;

const WORDS: [&str; 24] = [
    "*1\r\n",
    "*2\r\n",
    "*3\r\n",
    "*6\r\n",
    "*-1\r\n",
    "$-1\r\n",
    "$1\r\n",
    "$3\r\n",
    "$13\r\n",
    "\r\n",
    "+",
    "-ERR x\r\n",
    ":1\r\n",
    "b\r\n",
    "n\r\n",
    "d\r\n",
    "1-0\r\n",
    "5-1",
    "18446744073709551615",
    "18446744073709551616",
    "-",
    "_\r\n",
    "%1\r\n",
    "\u{1}\0\0\0\0",
];

/// What the server sends, byte for byte.
#[test]
fn fuzz_answers() {
    fuzz("cache_answers", &WORDS, |input| {
        let answer = parse_redis_value(input).ok()?;
        let messages = parse(answer.clone()).ok();
        if let Some(messages) = &messages {
            assert_eq!(Some(messages.len()), count(&answer));
            for message in messages {
                check_id(message.id);
            }
            let again: Vec<Value> = messages.iter().map(told).collect();
            assert_eq!(parse(of(again)).expect("it is whole"), *messages);
        }
        let known = messages.map(|messages| {
            let known = messages.iter().map(|message| {
                let is_known = message.purge.map(|purge| purge.kind().as_str());
                (is_known, message.before.is_some(), message.node.min(2))
            });
            known.collect::<Vec<_>>()
        });
        Some(known)
    });
}

/// How many messages there are. `None` where it is no answer that has any: there is one stream, with a name.
fn count(answer: &Value) -> Option<usize> {
    let part = |value: &Value, count, at| match value {
        Value::Array(parts) if parts.len() == count => parts.get(at).cloned(),
        _ => None,
    };
    match part(&part(answer, 1, 0).unwrap_or(Value::Nil), 2, 1) {
        Some(Value::Array(messages)) => Some(messages.len()),
        _ => (*answer == Value::Nil).then_some(0),
    }
}

/// As its sender has told it, whose numbers are bytes of the input.
#[test]
fn fuzz_messages() {
    let words = [
        "\0\0\0\0\0\0\0\0",
        "\u{1}",
        "\u{7}",
        "\u{2}",
        "\0\u{1}\0\0\0",
    ];
    fuzz("cache_messages", &words, |input| {
        let (messages, rest) = input.as_chunks::<53>();
        let messages: Vec<Message> = messages.iter().map(message).collect();
        let answer = of(messages.iter().map(told).collect());
        assert_eq!(parse(answer).expect("it is whole"), messages);
        for message in &messages {
            check_id(message.id);
        }
        // Whoever has told something of a later version is heard all the same.
        let id = MessageId::from_bytes([7; 16]);
        let unknown = line(id, &[(b"d", rest), (b"n", b"5"), (b"zz", rest)]);
        let heard = parse(of(vec![unknown])).expect("it is whole");
        let expected = Message {
            id,
            before: None,
            node: 5,
            purge: Purge::from_bytes(rest),
        };
        assert_eq!(heard, [expected]);
        let kinds = messages.iter().map(|message| {
            let kind = message.purge.map(|purge| purge.kind().as_str());
            (kind, message.before.is_some())
        });
        (kinds.take(3).collect::<Vec<_>>(), rest.len().min(14))
    });
}

fn message(bytes: &[u8; 53]) -> Message {
    let (id, rest) = bytes.split_first_chunk::<16>().expect("53 bytes");
    let (before, rest) = rest.split_first_chunk::<16>().expect("37 bytes");
    let (node, purge) = rest.split_first_chunk::<8>().expect("21 bytes");
    let before = Some(*before).filter(|before| *before != [0; 16]);
    Message {
        id: MessageId::from_bytes(*id),
        before: before.map(MessageId::from_bytes),
        node: u64::from_be_bytes(*node),
        purge: Purge::from_bytes(purge),
    }
}

/// As it stands in the stream.
fn told(message: &Message) -> Value {
    let before = message.before.map(|id| id.to_string());
    let before = before.unwrap_or_default();
    let node = message.node.to_string();
    let purge = message.purge.map(|purge| purge.to_bytes());
    let mut fields = vec![(&b"b"[..], before.as_bytes()), (b"n", node.as_bytes())];
    fields.extend(purge.as_ref().map(|purge| (&b"d"[..], &purge[..])));
    line(message.id, &fields)
}

fn line(id: MessageId, fields: &[(&[u8], &[u8])]) -> Value {
    let fields = fields.iter().flat_map(|(name, value)| [name, value]);
    let fields = fields.map(|bytes| Value::BulkString(bytes.to_vec()));
    let id = Value::SimpleString(id.to_string());
    Value::Array(vec![id, Value::Array(fields.collect())])
}

fn of(messages: Vec<Value>) -> Value {
    let key = Value::BulkString(b"key".to_vec());
    let stream = Value::Array(vec![key, Value::Array(messages)]);
    Value::Array(vec![stream])
}

/// However it is written, it is the same and stands in the same order.
fn check_id(id: MessageId) {
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
    let earlier = id.earlier(std::time::Duration::from_secs(1));
    assert!(earlier <= id && earlier.to_bytes() <= id.to_bytes());
}
