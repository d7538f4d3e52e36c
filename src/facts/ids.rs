//! Request ids and W3C trace context.

use http::HeaderValue;
use rand::RngCore;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The longest request id that is taken over from a trusted hop.
const MAX_FOREIGN_ID: usize = 64;

/// The id of one request: 128 random bits in hexadecimal, or the id that a trusted hop gave it.
///
/// Ids come from the thread's cryptographic generator, so that seeing some does not tell the others: support
/// staff use them as a key to somebody's log lines.
#[derive(Clone, Debug)]
pub struct RequestId(
    /// Made once for the two messages that it goes into.
    HeaderValue,
);

impl Default for RequestId {
    fn default() -> RequestId {
        RequestId(HeaderValue::from_static(""))
    }
}

impl RequestId {
    pub fn from_random(bits: [u8; 16]) -> RequestId {
        let mut text = [0; 32];
        write_hex(&bits, &mut text);
        RequestId(digits(&text))
    }

    /// Takes over an id if it is of 1 to 64 characters that are safe in any log and header.
    pub fn from_hop(value: &HeaderValue) -> Option<RequestId> {
        let text = value.as_bytes();
        let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        if text.is_empty() || text.len() > MAX_FOREIGN_ID || !text.iter().all(is_safe) {
            return None;
        }
        Some(RequestId(value.clone()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is ASCII")
    }

    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// The position of the gateway's span in a trace (W3C Trace Context, level 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `00-`, 32 digits of the trace, `-`, 16 of the gateway's span, `-` and two of the flags.
    traceparent: [u8; 55],
    /// Whether the client began the trace; if not, its `tracestate` has nothing to belong to.
    continued: bool,
}

impl Default for TraceContext {
    fn default() -> TraceContext {
        TraceContext {
            traceparent: *b"00-00000000000000000000000000000000-0000000000000000-00",
            continued: false,
        }
    }
}

impl TraceContext {
    /// Continues the trace of an incoming `traceparent`, or starts one where it is absent or malformed
    /// (section 3.2.2: a malformed one is ignored, and with it `tracestate`).
    pub fn continue_or_start(
        traceparent: Option<&HeaderValue>,
        trace_id: [u8; 16],
        span_id: [u8; 8],
    ) -> TraceContext {
        let incoming = traceparent.and_then(|value| parse_traceparent(value.as_bytes()));
        let mut context = TraceContext {
            continued: incoming.is_some(),
            ..TraceContext::default()
        };
        // A trace that starts here is sampled: what cannot be seen cannot be debugged, and whoever receives it can
        // still decide otherwise.
        let (trace_id, flags) = incoming.unwrap_or((trace_id, 1));
        write_hex(&trace_id, &mut context.traceparent[3..35]);
        write_hex(&span_id, &mut context.traceparent[36..52]);
        write_hex(&[flags], &mut context.traceparent[53..55]);
        context
    }

    /// The position of a span of its own beneath this one, in the same trace.
    pub fn child(&self, span_id: [u8; 8]) -> TraceContext {
        let mut child = *self;
        write_hex(&span_id, &mut child.traceparent[36..52]);
        child
    }

    pub fn is_continued(&self) -> bool {
        self.continued
    }

    /// The 32 hexadecimal digits of the trace id.
    pub fn trace_id(&self) -> &[u8] {
        &self.traceparent[3..35]
    }

    /// The 16 hexadecimal digits of the span's id.
    pub fn span_id(&self) -> &[u8] {
        &self.traceparent[36..52]
    }

    pub fn trace_id_header(&self) -> HeaderValue {
        digits(self.trace_id())
    }

    /// The `traceparent` for the upstream, with the gateway's span as the parent.
    pub fn traceparent(&self) -> HeaderValue {
        digits(&self.traceparent)
    }
}

fn digits(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("hexadecimal digits and dashes are a header value")
}

/// Random bits for one request: its id, a trace id and a span id, drawn at once.
pub(crate) fn draw() -> ([u8; 16], [u8; 16], [u8; 8]) {
    let mut bits = [0; 40];
    rand::rng().fill_bytes(&mut bits);
    let mut request = [0; 16];
    let mut trace = [0; 16];
    let mut span = [0; 8];
    request.copy_from_slice(&bits[..16]);
    trace.copy_from_slice(&bits[16..32]);
    span.copy_from_slice(&bits[32..]);
    (request, trace, span)
}

/// Random bits for the id of a span; not all zero, which is no id.
pub(crate) fn draw_span() -> [u8; 8] {
    rand::rng().next_u64().max(1).to_be_bytes()
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Worked out and not looked up, so that the compiler can do many at a time.
fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

/// The trace id and the flags of a `traceparent`. Later versions may be longer, with a `-` before what is new.
fn parse_traceparent(text: &[u8]) -> Option<([u8; 16], u8)> {
    let fields = text.get(..55)?;
    let version = parse_hex::<1>(fields.get(..2)?)?[0];
    let is_framed = fields[2] == b'-' && fields[35] == b'-' && fields[52] == b'-';
    let is_known_length = if version == 0 {
        text.len() == 55
    } else {
        text.len() == 55 || text[55] == b'-'
    };
    if version == 0xff || !is_framed || !is_known_length {
        return None;
    }
    let trace_id = parse_hex::<16>(&fields[3..35])?;
    let parent = parse_hex::<8>(&fields[36..52])?;
    let flags = parse_hex::<1>(&fields[53..55])?[0];
    (trace_id != [0; 16] && parent != [0; 8]).then_some((trace_id, flags & 1))
}

/// Lower-case hexadecimal only, as the specification requires.
fn parse_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| {
        HEX.iter()
            .position(|&known| known == byte)
            .map(|value| value as u8)
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_is_continued_or_started() {
        let check = |incoming: &'static str, continued: bool| {
            let value = HeaderValue::from_static(incoming);
            let trace = TraceContext::continue_or_start(Some(&value), [1; 16], [2; 8]);
            assert_eq!(trace.is_continued(), continued, "{incoming}");
            let sent = trace.traceparent();
            let sent = sent.to_str().unwrap();
            assert_eq!(sent.len(), 55);
            assert!(
                sent.contains("-0202020202020202-"),
                "a span of our own: {sent}"
            );
            assert_eq!(
                sent[3..35] == incoming[3..35.min(incoming.len())],
                continued
            );
        };
        check(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            true,
        );
        check(
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later",
            true,
        );
        check(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later",
            false,
        );
        check(
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            false,
        );
        check(
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            false,
        );
        check(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            false,
        );
        check(
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            false,
        );
        check("00-4bf92f3577b34da6a3ce929d0e0e4736", false);
    }

    #[test]
    fn ids_of_hops_must_be_harmless() {
        let check = |value: &[u8], taken: bool| {
            let id = RequestId::from_hop(&HeaderValue::from_bytes(value).unwrap());
            assert_eq!(id.map(|id| id.as_bytes() == value), taken.then_some(true));
        };
        check(b"req-1.2_3", true);
        check(&[b'a'; 64], true);
        check(&[b'a'; 65], false);
        check(b"", false);
        check(b"a b", false);
        check(b"a\"b", false);
        check(b"\xe9", false);
    }

    #[test]
    fn children_are_of_the_same_trace() {
        let parent = TraceContext::continue_or_start(None, [1; 16], [2; 8]);
        let child = parent.child([3; 8]);
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_eq!(child.span_id(), b"0303030303030303");
        assert_eq!(parent.span_id(), b"0202020202020202");
        assert_eq!(child.traceparent().as_bytes()[52..], *b"-01");
        assert_ne!(draw_span(), draw_span());
    }

    #[test]
    fn ids_differ() {
        let (first, second) = (draw(), draw());
        assert_ne!(first.0, second.0);
        assert_eq!(RequestId::from_random(first.0).as_bytes().len(), 32);
    }
}
