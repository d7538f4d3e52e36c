//! The body of a response on its way through an encoder.

use std::io::{self, Write};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::{Encoding, Levels};
use crate::policies::ResponseBody;
use crate::response::Code;

/// How far back zstd and Brotli look for repetitions, as a power of two: 512 KiB. It bounds what an encoder
/// holds, some 2 MiB at the default levels, and is well below what decoders of the Web accept (RFC 9659: 8 MiB).
const WINDOW_LOG: u8 = 19;

/// Brotli's output buffer.
const BROTLI_BUFFER: usize = 4096;

/// Compresses one body. The encoder is made with the first part, so that a response to HEAD costs none.
pub(super) struct Compressed {
    encoding: Encoding,
    levels: Levels,
    /// The length that the body will have, where the response has told it.
    length: Option<u64>,
    encoder: Option<Encoder>,
}

impl Compressed {
    pub(super) fn new(encoding: Encoding, levels: Levels, length: Option<u64>) -> Compressed {
        Compressed {
            encoding,
            levels,
            length,
            encoder: None,
        }
    }

    fn encode(&mut self, chunk: Option<&Bytes>, ends: bool) -> io::Result<Vec<u8>> {
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => Encoder::new(self.encoding, self.levels, self.length)?,
        };
        if let Some(chunk) = chunk.filter(|chunk| !chunk.is_empty()) {
            encoder.write_all(chunk)?;
            // What has no length may be a stream that is made as it goes, and its reader waits for every part. A
            // flush costs some bytes and some of the ratio, so what has a length is left to the encoder's blocks.
            if !ends && self.length.is_none() {
                encoder.flush()?;
            }
        }
        if ends {
            return encoder.finish();
        }
        let encoded = std::mem::take(encoder.output());
        self.encoder = Some(encoder);
        Ok(encoded)
    }
}

impl ResponseBody for Compressed {
    fn pass(&mut self, chunk: Option<Bytes>, ends: bool) -> Result<Option<Bytes>, Code> {
        if chunk.is_none() && !ends {
            return Ok(None);
        }
        let encoded = self.encode(chunk.as_ref(), ends).map_err(|error| {
            // The body was not as long as the response said, or there is no memory.
            log::debug!("cannot compress: {error}");
            Code::Internal
        })?;
        Ok((!encoded.is_empty()).then(|| encoded.into()))
    }
}

enum Encoder {
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Br(Box<CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(encoding: Encoding, levels: Levels, length: Option<u64>) -> io::Result<Encoder> {
        let output = Vec::new();
        Ok(match encoding {
            Encoding::Zstd => {
                let mut encoder = ZstdEncoder::new(output, i32::from(levels.zstd()))?;
                encoder.window_log(WINDOW_LOG.into())?;
                // A short body gets tables of its size.
                encoder.set_pledged_src_size(length)?;
                Encoder::Zstd(encoder)
            }
            Encoding::Br => {
                let level = levels.br().into();
                let encoder =
                    CompressorWriter::new(output, BROTLI_BUFFER, level, WINDOW_LOG.into());
                Encoder::Br(Box::new(encoder))
            }
            Encoding::Gzip => {
                let level = Compression::new(levels.gzip().into());
                Encoder::Gzip(GzEncoder::new(output, level))
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Encoder::Zstd(encoder) => encoder,
            Encoder::Br(encoder) => encoder,
            Encoder::Gzip(encoder) => encoder,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all(bytes)
    }

    /// Gives out all that it has taken in, such that the client can decode it.
    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Encoder::Zstd(encoder) => encoder.get_mut(),
            Encoder::Br(encoder) => encoder.get_mut(),
            Encoder::Gzip(encoder) => encoder.get_mut(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Br(encoder) => Ok(encoder.into_inner()),
            Encoder::Gzip(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn decode(encoding: Encoding, encoded: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        let read = match encoding {
            Encoding::Zstd => zstd::stream::read::Decoder::new(encoded)
                .unwrap()
                .read_to_end(&mut decoded),
            Encoding::Br => brotli::Decompressor::new(encoded, 4096).read_to_end(&mut decoded),
            Encoding::Gzip => flate2::read::GzDecoder::new(encoded).read_to_end(&mut decoded),
        };
        read.unwrap();
        decoded
    }

    /// What can be decoded of a beginning.
    fn decode_so_far(encoding: Encoding, encoded: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        let mut decoder: Box<dyn Read> = match encoding {
            Encoding::Zstd => Box::new(zstd::stream::read::Decoder::new(encoded).unwrap()),
            Encoding::Br => Box::new(brotli::Decompressor::new(encoded, 4096)),
            Encoding::Gzip => Box::new(flate2::read::GzDecoder::new(encoded)),
        };
        let mut chunk = [0; 1024];
        while let Ok(count @ 1..) = decoder.read(&mut chunk) {
            decoded.extend_from_slice(&chunk[..count]);
        }
        decoded
    }

    fn pass(body: &mut Compressed, chunk: &[u8], ends: bool) -> Vec<u8> {
        let passed = body.pass(Some(Bytes::copy_from_slice(chunk)), ends);
        passed.unwrap().unwrap_or_default().to_vec()
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let text: Vec<u8> = (0..300_000u32)
            .flat_map(|n| (n % 977).to_le_bytes())
            .collect();
        for encoding in Encoding::ALL {
            for length in [None, Some(text.len() as u64)] {
                let mut body = Compressed::new(encoding, Levels::default(), length);
                let mut encoded = Vec::new();
                for chunk in text.chunks(65_536) {
                    encoded.extend(pass(&mut body, chunk, false));
                }
                encoded.extend(body.pass(None, true).unwrap().unwrap());
                assert!(
                    encoded.len() < text.len() / 4,
                    "{encoding:?}: {}",
                    encoded.len()
                );
                assert!(decode(encoding, &encoded) == text, "{encoding:?}");
            }
        }
    }

    #[test]
    fn an_empty_body_is_a_complete_one() {
        for encoding in Encoding::ALL {
            let mut body = Compressed::new(encoding, Levels::default(), None);
            assert_eq!(body.pass(None, false), Ok(None));
            let encoded = body.pass(None, true).unwrap().unwrap();
            assert_eq!(decode(encoding, &encoded), b"", "{encoding:?}");
        }
    }

    #[test]
    fn what_has_no_length_is_flushed_with_every_part() {
        for encoding in Encoding::ALL {
            let mut body = Compressed::new(encoding, Levels::default(), None);
            let (mut encoded, mut text) = (Vec::new(), Vec::new());
            for n in 0..50 {
                let line = format!("{{\"line\": {n}}}\n");
                text.extend_from_slice(line.as_bytes());
                encoded.extend(pass(&mut body, line.as_bytes(), false));
                assert_eq!(decode_so_far(encoding, &encoded), text, "{encoding:?} {n}");
            }
        }
    }

    #[test]
    fn what_has_a_length_leaves_in_blocks() {
        for encoding in Encoding::ALL {
            let mut body = Compressed::new(encoding, Levels::default(), Some(1_000_000));
            let encoded = pass(&mut body, b"a line of many\n", false);
            assert!(encoded.len() <= 10, "{encoding:?}: {}", encoded.len());
        }
    }

    #[test]
    fn a_body_of_another_length_than_was_told_is_an_error_and_no_panic() {
        for told in [3, 30] {
            let mut body = Compressed::new(Encoding::Zstd, Levels::default(), Some(told));
            let passed = body.pass(Some(Bytes::from_static(b"ten bytes!")), true);
            assert_eq!(passed, Err(Code::Internal));
        }
    }
}
