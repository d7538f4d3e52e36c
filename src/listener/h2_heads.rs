//! The heads of the frames in a stream of bytes (RFC 9113 section 4.1).

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4) is this long.
const PREFACE: usize = 24;
/// Three bytes of length, one of type, one of flags, four of stream.
const HEAD: usize = 9;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const CONTINUATION: u8 = 9;
}

/// Of `DATA` and `HEADERS`.
const END_STREAM: u8 = 1;
/// Of `SETTINGS`.
const ACK: u8 = 1;

/// What the head of a frame says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    kind: u8,
    flags: u8,
    is_empty: bool,
}

impl Head {
    /// Whether it may be the first (RFC 9113 section 3.4).
    pub(super) fn begins_connection(self) -> bool {
        self.kind == kind::SETTINGS && self.flags & ACK == 0
    }

    /// Whether it takes a request back.
    pub(super) fn is_reset(self) -> bool {
        self.kind == kind::RST_STREAM
    }

    /// Whether it carries a part of a body.
    pub(super) fn carries_body(self) -> bool {
        self.kind == kind::DATA && !self.is_empty
    }

    /// Whether it carries no part of a request, nor its end.
    pub(super) fn carries_nothing(self) -> bool {
        match self.kind {
            kind::DATA | kind::HEADERS => self.is_empty && self.flags & END_STREAM == 0,
            kind::CONTINUATION => self.is_empty,
            _ => true,
        }
    }
}

/// Finds heads in bytes that come in pieces of any size.
#[derive(Debug)]
pub(super) struct Heads {
    /// Bytes until the next head.
    skip: usize,
    partial: [u8; HEAD],
    /// How much of `partial` has come.
    come: usize,
}

impl Heads {
    /// Of what a client sends, from its very first byte on.
    pub(super) fn after_preface() -> Heads {
        Heads {
            skip: PREFACE,
            ..Heads::at_once()
        }
    }

    /// Of what a client is sent.
    pub(super) fn at_once() -> Heads {
        Heads {
            skip: 0,
            partial: [0; HEAD],
            come: 0,
        }
    }

    /// The next head in `bytes`, which are cut off behind it; `None` when they are used up.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        *bytes = &bytes[skipped..];
        let wanted = &mut self.partial[self.come..];
        let count = wanted.len().min(bytes.len());
        let (come, rest) = bytes.split_at(count);
        wanted[..count].copy_from_slice(come);
        *bytes = rest;
        self.come += count;
        if self.come < HEAD {
            return None;
        }
        self.come = 0;
        let [high, middle, low, kind, flags, ..] = self.partial;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length as usize;
        Some(Head {
            kind,
            flags,
            is_empty: length == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = (payload as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        // Whatever a payload looks like, it is not taken for a head.
        frame.extend(std::iter::repeat_n(3, payload));
        frame
    }

    #[test]
    fn heads_are_found_in_pieces_of_any_size() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, payload) in [(4, 0), (1, 300), (9, 1), (0, 16_384), (3, 4), (0, 0)] {
            bytes.extend(frame(kind, 0, payload));
        }
        for size in [1, 2, 5, 8, 9, 10, 24, 33, 1000, bytes.len()] {
            let mut heads = Heads::after_preface();
            let mut seen = Vec::new();
            for mut piece in bytes.chunks(size) {
                while let Some(head) = heads.next(&mut piece) {
                    seen.push((head.kind, head.is_empty));
                }
                assert!(piece.is_empty());
            }
            let expected = [
                (4, true),
                (1, false),
                (9, false),
                (0, false),
                (3, false),
                (0, true),
            ];
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn frames_carry_something_or_nothing() {
        let check = |kind: u8, flags: u8, payload: usize, expected: bool| {
            let mut heads = Heads::at_once();
            let bytes = frame(kind, flags, payload);
            let head = heads.next(&mut &bytes[..]).unwrap();
            assert_eq!(head.carries_nothing(), expected, "{head:?}");
            assert_eq!(head.carries_body(), kind == kind::DATA && payload > 0);
        };
        check(kind::DATA, 0, 1, false);
        check(kind::DATA, 0, 0, true);
        check(kind::DATA, END_STREAM, 0, false);
        check(kind::HEADERS, 4, 20, false);
        check(kind::HEADERS, 0, 0, true);
        check(kind::CONTINUATION, 4, 20, false);
        check(kind::CONTINUATION, 4, 0, true);
        for control in [2, 4, 6, 7, 8, 0x10, 0xff] {
            check(control, 0, 8, true);
        }
    }
}
