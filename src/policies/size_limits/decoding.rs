//! Counting how long a compressed body is once it is decoded.

use std::io::{self, BufRead, ErrorKind, Read};

use brotli::Decompressor as BrotliDecoder;
use bytes::{Buf, Bytes};
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use http::HeaderValue;
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::policies::Seen;
use crate::response::Code;

/// How much is decoded before other requests have their turn: about a millisecond's worth.
const STEP: usize = 256 * 1024;
/// What is decoded at a time, to be counted and thrown away.
const SCRATCH: usize = 16 * 1024;
/// What zstd may look back, as a power of two. RFC 9659 lets nobody on the Web ask for more.
const ZSTD_WINDOW_LOG: u32 = 23;
/// What a stream of "large window Brotli" begins with, in seven bits. RFC 7932 section 9.1 leaves it to nobody, but the
/// library takes it, and such a stream may have its reader keep up to 1 GiB instead of 16 MiB.
const LARGE_BROTLI_WINDOW: u8 = 0x11;
/// What Brotli reads at a time.
const BROTLI_BUFFER: usize = 4096;

/// A content coding that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// The coding of a body; `None` where it has none. One that is not known is an error, and so are several, since
    /// nobody needs them and each multiplies what the others can make of a byte.
    pub(super) fn of<'v>(
        lines: impl IntoIterator<Item = &'v HeaderValue>,
    ) -> Result<Option<Coding>, Code> {
        let mut found = None;
        for line in lines {
            for name in line.as_bytes().split(|&byte| byte == b',') {
                let name = name.trim_ascii();
                if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                    continue;
                }
                let coding = Coding::named(name).filter(|_| found.is_none());
                found = Some(coding.ok_or(Code::UnsupportedContentCoding)?);
            }
        }
        Ok(found)
    }

    fn named(name: &[u8]) -> Option<Coding> {
        const NAMES: [(&str, Coding); 5] = [
            ("gzip", Coding::Gzip),
            // RFC 9110 section 8.4.1.3.
            ("x-gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
        ];
        let is_meant = |(known, _): &&(&str, Coding)| name.eq_ignore_ascii_case(known.as_bytes());
        NAMES.iter().find(is_meant).map(|&(_, coding)| coding)
    }
}

/// A body that is decoded for its length.
pub(super) struct Decoding {
    /// Made with the first byte: an empty body has nothing to decode, whatever its coding is said to be.
    decoder: Option<Decoder>,
    coding: Coding,
    /// How many more bytes it may become.
    left: u64,
}

impl Decoding {
    pub(super) fn new(coding: Coding, limit: u64) -> Decoding {
        Decoding {
            decoder: None,
            coding,
            left: limit,
        }
    }

    /// As [`RequestBody::see`](crate::policies::RequestBody::see).
    pub(super) fn see(&mut self, chunk: &Bytes, ends: bool) -> Result<Seen, Code> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            None if chunk.is_empty() => return Ok(Seen::All),
            None if is_large_brotli(self.coding, chunk) => return Err(Code::BadRequest),
            none => none.insert(Decoder::new(self.coding).map_err(|_| Code::Internal)?),
        };
        decoder.feed().add(chunk, ends);
        let mut scratch = [0; SCRATCH];
        let mut done = 0;
        while done < STEP {
            match decoder.reader().read(&mut scratch) {
                Ok(0) if decoder.is_at_end() => return Ok(Seen::All),
                // Something stands behind the end of the coding.
                Ok(0) => return Err(Code::BadRequest),
                Ok(count) => {
                    done += count;
                    let left = self.left.checked_sub(count as u64);
                    self.left = left.ok_or(Code::PayloadTooLarge)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Seen::All),
                Err(_) => return Err(Code::BadRequest),
            }
        }
        Ok(Seen::Part)
    }
}

/// Whether a body that begins so asks for a window that the coding `br` does not have.
fn is_large_brotli(coding: Coding, body: &[u8]) -> bool {
    let window = body.first().map(|byte| byte & 0x7f);
    coding == Coding::Brotli && window == Some(LARGE_BROTLI_WINDOW)
}

enum Decoder {
    Gzip(MultiGzDecoder<Feed>),
    Deflate(ZlibDecoder<Feed>),
    Brotli(Box<BrotliDecoder<Feed>>),
    Zstd(ZstdDecoder<'static, Feed>),
}

impl Decoder {
    fn new(coding: Coding) -> io::Result<Decoder> {
        let feed = Feed::default();
        Ok(match coding {
            Coding::Gzip => Decoder::Gzip(MultiGzDecoder::new(feed)),
            Coding::Deflate => Decoder::Deflate(ZlibDecoder::new(feed)),
            Coding::Brotli => Decoder::Brotli(Box::new(BrotliDecoder::new(feed, BROTLI_BUFFER))),
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::with_buffer(feed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Decoder::Zstd(decoder)
            }
        })
    }

    fn reader(&mut self) -> &mut dyn Read {
        match self {
            Decoder::Gzip(decoder) => decoder,
            Decoder::Deflate(decoder) => decoder,
            Decoder::Brotli(decoder) => decoder,
            Decoder::Zstd(decoder) => decoder,
        }
    }

    fn feed(&mut self) -> &mut Feed {
        match self {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// Whether nothing follows what was decoded. Asked once the decoder has said that it is done.
    fn is_at_end(&mut self) -> bool {
        let is_eaten = match self {
            // It reads ahead, and tells when it is asked again.
            Decoder::Brotli(decoder) => decoder.read(&mut [0]).is_ok(),
            _ => true,
        };
        is_eaten && self.feed().rest.is_empty()
    }
}

/// What a decoder reads: the parts of a body as they come. Where the next has not come yet it says so, and the
/// decoder takes up there when it has.
#[derive(Default)]
struct Feed {
    rest: Bytes,
    ends: bool,
}

impl Feed {
    fn add(&mut self, chunk: &Bytes, ends: bool) {
        // All of a part is eaten before the next one comes, unless the decoder has ended within it.
        if self.rest.is_empty() {
            self.rest = chunk.clone();
        }
        self.ends = ends;
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() && !self.ends {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.rest)
    }

    fn consume(&mut self, count: usize) {
        self.rest.advance(count.min(self.rest.len()));
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    fn encode(coding: Coding, text: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match coding {
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Brotli => {
                let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
                encoder.write_all(text).unwrap();
                encoder.into_inner()
            }
            Coding::Zstd => zstd::stream::encode_all(text, 3).unwrap(),
        }
    }

    /// Shows `encoded` in pieces, and gives how it ended and in how many steps.
    fn see(coding: Coding, limit: u64, encoded: &[u8], piece: usize) -> (Result<(), Code>, usize) {
        let mut decoding = Decoding::new(coding, limit);
        let mut steps = 0;
        let mut pieces: Vec<Bytes> = encoded.chunks(piece).map(Bytes::copy_from_slice).collect();
        // The engine may end a body with a part of its own that is empty.
        pieces.push(Bytes::new());
        let last = pieces.len() - 1;
        for (number, mut part) in pieces.into_iter().enumerate() {
            loop {
                steps += 1;
                match decoding.see(&part, number == last) {
                    Ok(Seen::All) => break,
                    Ok(Seen::Part) => part = Bytes::new(),
                    Err(code) => return (Err(code), steps),
                }
            }
        }
        (Ok(()), steps)
    }

    #[test]
    fn the_decoded_length_is_what_counts() {
        let text: Vec<u8> = (0..40_000u32)
            .flat_map(|n| (n % 977).to_le_bytes())
            .collect();
        for coding in ALL {
            let encoded = encode(coding, &text);
            for piece in [1, 7, 1_000, encoded.len()] {
                let check = |limit: u64, expected: Result<(), Code>| {
                    let (result, _) = see(coding, limit, &encoded, piece);
                    assert_eq!(result, expected, "{coding:?} by {piece}, at most {limit}");
                };
                check(160_000, Ok(()));
                check(u64::MAX, Ok(()));
                check(159_999, Err(Code::PayloadTooLarge));
                check(0, Err(Code::PayloadTooLarge));
            }
        }
    }

    #[test]
    fn a_bomb_is_left_at_the_limit_and_taken_in_steps() {
        for coding in ALL {
            let bomb = encode(coding, &vec![0; 64 << 20]);
            assert!(bomb.len() < 100_000, "{coding:?}: {}", bomb.len());
            let (result, steps) = see(coding, 4 << 20, &bomb, bomb.len());
            assert_eq!(result, Err(Code::PayloadTooLarge), "{coding:?}");
            // 4 MiB by 256 KiB: what is beyond the limit was never decoded.
            assert!((16..=17).contains(&steps), "{coding:?}: {steps}");
        }
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        for coding in ALL {
            let encoded = encode(coding, &b"some text, and some more text".repeat(50));
            let check = |bytes: &[u8], what: &str| {
                for piece in [1, bytes.len()] {
                    let (result, _) = see(coding, u64::MAX, bytes, piece);
                    assert_eq!(
                        result,
                        Err(Code::BadRequest),
                        "{coding:?}: {what} by {piece}"
                    );
                }
            };
            check(&encoded[..encoded.len() - 1], "cut short");
            check(&encoded[..encoded.len() / 2], "half");
            check(&[&encoded[..], b"\x01\x02"].concat(), "something behind it");
            check(b"plain text that was never encoded", "text");
            let mut bent = encoded.clone();
            bent[0] ^= 0xff;
            check(&bent, "a bent beginning");
        }
    }

    #[test]
    fn an_empty_body_is_none_to_decode() {
        for coding in ALL {
            assert_eq!(see(coding, 0, b"", 1).0, Ok(()));
            let nothing = encode(coding, b"");
            assert_eq!(
                see(coding, 0, &nothing, nothing.len()).0,
                Ok(()),
                "{coding:?}"
            );
        }
    }

    #[test]
    fn members_and_frames_count_together() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let two = encode(coding, &[7; 1_000]).repeat(2);
            for piece in [1, 10, two.len()] {
                assert_eq!(see(coding, 2_000, &two, piece).0, Ok(()), "{coding:?}");
                let (result, _) = see(coding, 1_999, &two, piece);
                assert_eq!(result, Err(Code::PayloadTooLarge), "{coding:?}");
            }
        }
    }

    #[test]
    fn a_window_beyond_the_web_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&[7; 100_000]).unwrap();
        let encoded = encoder.finish().unwrap();
        assert_eq!(
            see(Coding::Zstd, u64::MAX, &encoded, 100).0,
            Err(Code::BadRequest)
        );
    }

    #[test]
    fn large_window_brotli_is_refused() {
        let text = b"some text, and some more text".repeat(50);
        let encode = |large_window: bool| {
            let params = brotli::enc::BrotliEncoderParams {
                quality: 5,
                lgwin: if large_window { 26 } else { 24 },
                large_window,
                ..Default::default()
            };
            let mut encoded = Vec::new();
            brotli::BrotliCompress(&mut &text[..], &mut encoded, &params).unwrap();
            encoded
        };
        // The library itself would take both.
        for (large, expected) in [(false, Ok(())), (true, Err(Code::BadRequest))] {
            let encoded = encode(large);
            let mut decoded = Vec::new();
            let mut decoder = BrotliDecoder::new(&encoded[..], BROTLI_BUFFER);
            decoder.read_to_end(&mut decoded).unwrap();
            assert_eq!(decoded, text);
            for piece in [1, encoded.len()] {
                let (result, _) = see(Coding::Brotli, u64::MAX, &encoded, piece);
                assert_eq!(result, expected, "large: {large}, by {piece}");
            }
        }
    }

    #[test]
    fn codings_are_named() {
        let check = |lines: &[&str], expected: Result<Option<Coding>, Code>| {
            let lines: Vec<HeaderValue> = lines.iter().map(|line| line.parse().unwrap()).collect();
            assert_eq!(Coding::of(&lines), expected, "{lines:?}");
        };
        let unsupported = Err(Code::UnsupportedContentCoding);
        check(&[], Ok(None));
        check(&[""], Ok(None));
        check(&["identity"], Ok(None));
        check(&["GZIP"], Ok(Some(Coding::Gzip)));
        check(&["x-gzip"], Ok(Some(Coding::Gzip)));
        check(&["identity, br ,"], Ok(Some(Coding::Brotli)));
        check(&["deflate"], Ok(Some(Coding::Deflate)));
        check(&["zstd"], Ok(Some(Coding::Zstd)));
        check(&["compress"], unsupported);
        check(&["gzip;q=1"], unsupported);
        check(&["gzip, gzip"], unsupported);
        check(&["gzip", "br"], unsupported);
        check(&["gzip, snappy"], unsupported);
    }
}
