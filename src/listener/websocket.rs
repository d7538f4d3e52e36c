//! A WebSocket as it passes through: where its frames begin, so that it can be closed between two of them.
//!
//! Nothing is read but the heads of frames, and nothing is changed until the grace of a drain is over. Then the client
//! is sent a close frame as soon as the frame that it is being sent is complete, and nothing behind it. Its answer goes
//! to the upstream as any frame does, which ends both sides by the rules (RFC 6455 section 7.1.2). Where it does not
//! answer, the upstream is told on its behalf.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// How long a client may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// "Service Restart", of IANA's registry of close codes: come again, after a random moment.
const RESTART: [u8; 2] = 1012u16.to_be_bytes();
/// FIN and the opcode of a close frame.
const CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;

/// The two directions of a WebSocket, from the response that begins it.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    /// So many bytes of the line ends that end the response's head have passed.
    head: u8,
    down: Frames,
    up: Frames,
    farewell: Option<Farewell>,
}

#[derive(Debug)]
struct Farewell {
    /// So much of the close frame has been sent to the client.
    sent: usize,
    is_upstream_told: bool,
    patience: Pin<Box<Sleep>>,
}

/// What to do next in order to end a WebSocket.
pub(super) enum Step {
    /// Send this to the client, and say how much of it was taken.
    Send(&'static [u8]),
    /// Have the upstream get this, as if the client had sent it.
    Tell([u8; 8]),
    Wait,
    /// There is nothing more to say.
    Close,
}

/// What the client is sent: a code and no reason.
static GOODBYE: [u8; 4] = [CLOSE, 2, RESTART[0], RESTART[1]];

impl WebSocket {
    /// How much of this the client is to get; the rest is left out.
    pub(super) fn admit(&self, bytes: &[u8]) -> usize {
        if self.farewell.is_none() || self.head < 4 {
            bytes.len()
        } else if self.down.is_between() {
            0
        } else {
            self.down.clone().take(bytes)
        }
    }

    /// The client was sent this.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        while let [byte, rest @ ..] = bytes
            && self.head < 4
        {
            let wanted = if self.head.is_multiple_of(2) {
                b'\r'
            } else {
                b'\n'
            };
            self.head = match *byte {
                byte if byte == wanted => self.head + 1,
                byte => u8::from(byte == b'\r'),
            };
            bytes = rest;
        }
        self.down.advance(bytes);
    }

    /// The client has sent this.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        self.up.advance(bytes);
    }

    /// What is left to do before the connection can be closed.
    pub(super) fn end(&mut self, cx: &mut Context<'_>) -> Step {
        let farewell = self.farewell.get_or_insert_with(|| Farewell {
            sent: 0,
            is_upstream_told: false,
            patience: Box::pin(tokio::time::sleep(ANSWER)),
        });
        if self.up.is_closed || farewell.is_upstream_told {
            return Step::Close;
        }
        if farewell.patience.as_mut().poll(cx) == Poll::Ready(()) {
            if !self.up.is_between() {
                return Step::Close;
            }
            farewell.is_upstream_told = true;
            return Step::Tell(masked(GOODBYE));
        }
        let can_be_told = self.head == 4 && self.down.is_between() && !self.down.is_closed;
        match GOODBYE.get(farewell.sent..) {
            Some(rest @ [_, ..]) if can_be_told || farewell.sent > 0 => Step::Send(rest),
            _ => Step::Wait,
        }
    }

    /// So much of what was to be sent was taken.
    pub(super) fn took(&mut self, count: usize) {
        if let Some(farewell) = &mut self.farewell {
            farewell.sent += count;
        }
    }
}

/// A frame as a client sends it (RFC 6455 section 5.3).
fn masked([first, length, one, two]: [u8; 4]) -> [u8; 8] {
    let key: [u8; 4] = rand::random();
    let [a, b, c, d] = key;
    [first, length | MASKED, a, b, c, d, one ^ a, two ^ b]
}

/// Finds where frames end in one direction (RFC 6455 section 5.2).
#[derive(Clone, Debug, Default)]
struct Frames {
    /// What has come of a head that is not complete.
    head: [u8; 14],
    length: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
    is_closing: bool,
    /// Whether a close frame has passed.
    is_closed: bool,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.length == 0 && self.left == 0
    }

    fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.take(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// Takes bytes up to the end of a frame, and gives how many.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.left == 0 {
            let Some(&byte) = bytes.get(taken) else {
                return taken;
            };
            self.head[self.length] = byte;
            self.length += 1;
            taken += 1;
            if let Some(left) = payload(&self.head[..self.length]) {
                self.is_closing = self.head[0] & 0x0f == CLOSE & 0x0f;
                self.length = 0;
                self.left = left;
                if left == 0 {
                    self.is_closed |= self.is_closing;
                    return taken;
                }
            }
        }
        let rest = bytes.len() - taken;
        let passed = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
        self.left -= passed as u64;
        self.is_closed |= self.left == 0 && self.is_closing;
        taken + passed
    }
}

/// The length of the payload that a head announces; `None` where more of the head is to come.
fn payload(head: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = head else {
        return None;
    };
    let key = if second & MASKED == 0 { 0 } else { 4 };
    let (length, size) = match second & !MASKED {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        length => (u64::from(length), 0),
    };
    (rest.len() == size + key).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

    fn frame(opcode: u8, length: usize, key: Option<[u8; 4]>) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let mask = if key.is_some() { MASKED } else { 0 };
        match length {
            0..126 => frame.push(mask | u8::try_from(length).unwrap()),
            126..0x1_0000 => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(key.into_iter().flatten());
        // Payloads that look like close frames.
        frame.extend(std::iter::repeat_n(CLOSE, length));
        frame
    }

    /// However the bytes are cut, a frame ends where it ends.
    #[test]
    fn frames_end_where_they_end() {
        let key = Some([1, 2, 3, 4]);
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            for key in [None, key] {
                let frame = frame(2, length, key);
                for size in [1, 2, 3, 7, 1 << 20] {
                    let mut frames = Frames::default();
                    for (at, part) in frame.chunks(size).enumerate() {
                        assert_eq!(frames.take(part), part.len());
                        let is_last = (at + 1) * size >= frame.len();
                        assert_eq!(frames.is_between(), is_last, "{length} {size}");
                    }
                    assert!(!frames.is_closed);
                }
                let mut both = frame.clone();
                both.extend(frame.clone());
                assert_eq!(Frames::default().take(&both), frame.len());
            }
        }
        let mut frames = Frames::default();
        frames.advance(&frame(8, 0, None));
        assert!(frames.is_closed);
        let mut frames = Frames::default();
        let close = frame(8, 2, key);
        frames.advance(&close[..close.len() - 1]);
        assert!(!frames.is_closed);
        frames.advance(&close[close.len() - 1..]);
        assert!(frames.is_closed);
        // A length that no frame may have is no reason to stumble.
        let mut frames = Frames::default();
        frames.advance(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]);
        frames.advance(&[0; 100]);
        assert!(!frames.is_between());
    }

    /// The next step, as text.
    async fn step(socket: &mut WebSocket) -> String {
        poll_fn(|cx| {
            Poll::Ready(match socket.end(cx) {
                Step::Send(bytes) => format!("send {bytes:x?}"),
                Step::Tell([first, length, a, b, _, _, one, two]) => {
                    format!("tell {:x?}", [first, length, one ^ a, two ^ b])
                }
                Step::Wait => "wait".to_owned(),
                Step::Close => "close".to_owned(),
            })
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn the_goodbye_comes_between_two_frames() {
        let mut socket = WebSocket::default();
        socket.sent(&HEAD[..20]);
        assert_eq!(step(&mut socket).await, "wait");
        assert_eq!(socket.admit(&HEAD[20..]), HEAD.len() - 20);
        socket.sent(&HEAD[20..]);
        let mut socket = WebSocket::default();
        socket.sent(HEAD);
        let message = frame(1, 10, None);
        socket.sent(&message[..4]);
        assert_eq!(step(&mut socket).await, "wait");
        let mut rest = message[4..].to_vec();
        rest.extend(&message);
        assert_eq!(socket.admit(&rest), 8);
        socket.sent(&rest[..8]);
        assert_eq!(step(&mut socket).await, "send [88, 2, 3, f4]");
        socket.took(1);
        assert_eq!(step(&mut socket).await, "send [2, 3, f4]");
        socket.took(3);
        assert_eq!(socket.admit(&message), 0);
        assert_eq!(step(&mut socket).await, "wait");
        socket.received(&frame(8, 2, Some([9; 4])));
        assert_eq!(step(&mut socket).await, "close");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_is_told_for_a_client_that_does_not_answer() {
        let mut socket = WebSocket::default();
        socket.sent(HEAD);
        assert_eq!(step(&mut socket).await, "send [88, 2, 3, f4]");
        socket.took(4);
        tokio::time::sleep(ANSWER).await;
        assert_eq!(step(&mut socket).await, "tell [88, 82, 3, f4]");
        assert_eq!(step(&mut socket).await, "close");
        // In the middle of a frame of the client's there is nothing to say.
        let mut socket = WebSocket::default();
        socket.sent(HEAD);
        socket.received(&[0x81]);
        assert_eq!(step(&mut socket).await, "send [88, 2, 3, f4]");
        tokio::time::sleep(ANSWER).await;
        assert_eq!(step(&mut socket).await, "close");
    }
}
