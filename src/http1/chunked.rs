//! Bodies in chunks (RFC 9112 section 7.1).

use super::Refusal;
use super::grammar::is_token;

/// Extensions and trailers of one body together. Nobody uses the first and few the second, and both could be sent
/// for ever beside a body that stays small.
const OVERHEAD_BYTES: u32 = 8 * 1024;
/// More digits make no size that could be meant.
const SIZE_DIGITS: u8 = 15;

/// Reads one chunked body, as it comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunks {
    state: State,
    size: u64,
    digits: u8,
    overhead: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the empty line that ends the body.
    Line,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

impl Chunks {
    /// Looks at the next bytes and gives how many of them belong to the body. Fewer than there are only where it has
    /// ended.
    ///
    /// # Errors
    /// Where the framing is not exactly what the RFC has: a size without digits or too large for any body, spaces
    /// around it, a line end that is not CR LF, or more extensions and trailers than 8 KiB.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::End => break,
                State::Data => {
                    let here = (bytes.len() - at) as u64;
                    let taken = self.size.min(here);
                    self.size -= taken;
                    at += taken as usize;
                    if self.size == 0 {
                        self.state = State::DataCr;
                    }
                    continue;
                }
                _ => self.step(byte)?,
            }
            at += 1;
        }
        Ok(at)
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => State::SizeLf,
            (State::Size, b';') if self.digits > 0 => State::Extension,
            (State::Size, _) => {
                let digit = char::from(byte).to_digit(16);
                let digit = digit.filter(|_| self.digits < SIZE_DIGITS);
                let Some(digit) = digit else {
                    return Err(Refusal::malformed("a chunk without a proper size"));
                };
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                State::Size
            }
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, _) => self.overhead(byte, State::Extension)?,
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                if self.size == 0 {
                    State::Line
                } else {
                    State::Data
                }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::Line, b'\r') => State::EndLf,
            (State::Line, _) if is_token(byte) => self.overhead(byte, State::TrailerName)?,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerName, _) if is_token(byte) => self.overhead(byte, State::TrailerName)?,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) => self.overhead(byte, State::TrailerValue)?,
            (State::TrailerLf, b'\n') => State::Line,
            (State::EndLf, b'\n') => State::End,
            (State::Line | State::TrailerName, _) => {
                return Err(Refusal::malformed("a trailer without a proper name"));
            }
            _ => return Err(Refusal::malformed("a chunk that does not end in CR LF")),
        };
        Ok(())
    }

    /// Counts a byte that carries nothing, and goes on to `next`.
    fn overhead(&mut self, byte: u8, next: State) -> Result<State, Refusal> {
        self.overhead += 1;
        if self.overhead > OVERHEAD_BYTES {
            return Err(Refusal::malformed("too much beside the chunks' data"));
        }
        if byte.is_ascii_control() && byte != b'\t' {
            return Err(Refusal::malformed(
                "a control character beside the chunks' data",
            ));
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bytes belong to the body, given in pieces of `piece` bytes; `None` where it has not ended.
    fn scan(bytes: &[u8], piece: usize) -> Result<Option<usize>, &'static str> {
        let mut chunks = Chunks::default();
        let mut taken = 0;
        for piece in bytes.chunks(piece) {
            let here = chunks.advance(piece).map_err(|refusal| refusal.reason)?;
            taken += here;
            if chunks.is_done() {
                return Ok(Some(taken));
            }
            assert_eq!(here, piece.len(), "an unfinished body leaves nothing");
        }
        Ok(None)
    }

    #[test]
    fn bodies_end_where_they_end() {
        for (bytes, length) in [
            ("0\r\n\r\n", Some(5)),
            ("0\r\n\r\nGET /", Some(5)),
            ("3\r\nabc\r\n0\r\n\r\nrest", Some(13)),
            ("00a;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", Some(28)),
            ("0\r\nx-sum: 1\r\ny:\r\n\r\n0", Some(19)),
            ("A\r\n0123456789\r\n000\r\n\r\n", Some(22)),
            ("3\r\nabc", None),
            ("3\r\nabc\r\n0\r\n", None),
            ("", None),
        ] {
            for piece in 1..=bytes.len().max(1) {
                assert_eq!(
                    scan(bytes.as_bytes(), piece),
                    Ok(length),
                    "{bytes:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let long_extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(9000));
        for bytes in [
            "\r\n",
            ";x\r\n",
            "3\nabc\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabcd\r\n",
            "3 \r\nabc\r\n",
            " 3\r\nabc\r\n",
            "3 ;x\r\nabc\r\n",
            "+3\r\nabc\r\n",
            "-1\r\n",
            "0x3\r\nabc\r\n",
            "3\rabc",
            "3;a\nb\r\nabc\r\n",
            "3;a\0b\r\nabc\r\n",
            "fffffffffffffffff\r\n",
            "0\r\nx : 1\r\n\r\n",
            "0\r\n: 1\r\n\r\n",
            "0\r\n x: 1\r\n\r\n",
            "0\r\nx: 1\n\r\n",
            "0\r\nx: \x01\r\n\r\n",
            "0\r\n\n",
            "0\r\n\rX",
            "0\n\n",
            "g\r\n",
            &long_extension,
        ] {
            for piece in [1, 2, 3, bytes.len()] {
                assert!(
                    scan(bytes.as_bytes(), piece).is_err(),
                    "{bytes:?} by {piece}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_chunked_is_found_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            rest in prop::collection::vec(any::<u8>(), 0..20),
            step in 1_usize..60,
        ) {
            let mut bytes = Vec::new();
            for piece in &pieces {
                bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            let length = bytes.len();
            bytes.extend(rest);
            prop_assert_eq!(scan(&bytes, step), Ok(Some(length)));
        }

        #[test]
        fn how_it_is_cut_decides_nothing(
            bytes in prop::collection::vec(prop::sample::select(b"0123aF;:x\r\n \t".to_vec()), 0..40),
            step in 1_usize..40,
        ) {
            prop_assert_eq!(scan(&bytes, step), scan(&bytes, 1));
        }
    }
}
