//! The PROXY protocol, versions 1 and 2: a header before everything else in which a load balancer that passes
//! bytes on says whose they are ("The PROXY protocol", HAProxy 2.9, sections 2.1 and 2.2).
//!
//! The rules of the specification are kept to the letter, and where it leaves a choice the strict one is taken:
//! what does not follow them is refused, never guessed at, since a client's address decides what it may do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, its line end included.
const MAX_V1: usize = 107;
/// The longest header of version 2. The format allows 64 KiB; nobody sends more than a few hundred bytes.
const MAX_V2: usize = 4096;

const V1: &[u8] = b"PROXY ";
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, command and version, family and transport, and the length of what follows.
const V2_FIXED: usize = 16;

const TLV_CRC32C: u8 = 0x03;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// It takes more of them to tell.
    Partial,
    /// They are no PROXY header.
    Absent,
    /// A header of `length` bytes. `None` as the source: the connection is the proxy's own, or it does not know.
    Header {
        source: Option<SocketAddr>,
        length: usize,
    },
    /// They begin as a header and go on as none.
    Malformed(&'static str),
}

/// Looks at the first bytes of a connection. The header is never longer than 4 KiB: with so many bytes the answer
/// is not [`Parsed::Partial`].
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let begins = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    let parsed = if begins(V1) {
        parse_v1(bytes)
    } else if begins(V2) {
        parse_v2(bytes)
    } else {
        return Parsed::Absent;
    };
    match parsed {
        Ok(Some((length, source))) => Parsed::Header { source, length },
        Ok(None) => Parsed::Partial,
        Err(what) => Parsed::Malformed(what),
    }
}

/// The length of a header and its source; `None` where more bytes are needed.
type Header = Result<Option<(usize, Option<SocketAddr>)>, &'static str>;

/// `PROXY TCP4 192.0.2.1 198.51.100.1 4711 443`, single spaces and a line end of CR LF.
fn parse_v1(bytes: &[u8]) -> Header {
    let line = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = line.iter().position(|&byte| byte == b'\n') else {
        return match line.len() {
            MAX_V1 => Err("the line is longer than 107 bytes"),
            _ => Ok(None),
        };
    };
    let text = line[..end].strip_suffix(b"\r").ok_or("a bare LF")?;
    let text = text.strip_prefix(V1).ok_or("no space after PROXY")?;
    let text = std::str::from_utf8(text).map_err(|_| "not ASCII")?;
    let mut words = text.split(' ');
    let source = match words.next() {
        // Whatever else is in the line then is to be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(addresses(words, |text| text.parse().map(IpAddr::V4).ok())?),
        Some("TCP6") => Some(addresses(words, |text| text.parse().map(IpAddr::V6).ok())?),
        _ => return Err("a family that there is not"),
    };
    Ok(Some((end + 1, source)))
}

/// Source, destination and their ports; of these only the source matters, but all must be right.
fn addresses<'t>(
    mut words: impl Iterator<Item = &'t str>,
    address: impl Fn(&'t str) -> Option<IpAddr>,
) -> Result<SocketAddr, &'static str> {
    let source = words.next().and_then(&address).ok_or("a bad source")?;
    let _destination = words.next().and_then(&address).ok_or("a bad destination")?;
    let source_port = words.next().and_then(port).ok_or("a bad source port")?;
    let _destination_port = words
        .next()
        .and_then(port)
        .ok_or("a bad destination port")?;
    match words.next() {
        None => Ok(SocketAddr::new(source, source_port)),
        Some(_) => Err("more than two addresses and ports"),
    }
}

fn port(text: &str) -> Option<u16> {
    let is_canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical)
}

fn parse_v2(bytes: &[u8]) -> Header {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED + length > MAX_V2 {
        return Err("longer than 4096 bytes");
    }
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err("a version or command that there is not"),
    };
    let Some(block) = rest.get(..length) else {
        return Ok(None);
    };
    let whole = V2_FIXED + length;
    if is_local {
        // The proxy speaks for itself, as health checks do; what else is in the header is to be discarded.
        return Ok(Some((whole, None)));
    }
    let (source, tlvs) = match family {
        0x00 => (None, block),
        0x11 => {
            let (addresses, tlvs) = block.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            let source = SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port);
            (Some(source), tlvs)
        }
        0x21 => {
            let (addresses, tlvs) = block.split_first_chunk::<36>().ok_or(SHORT)?;
            let (source, rest) = addresses.split_first_chunk::<16>().ok_or(SHORT)?;
            let (_destination, ports) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (&port, _) = ports.split_first_chunk::<2>().ok_or(SHORT)?;
            let source = Ipv6Addr::from_bits(u128::from_be_bytes(*source));
            let port = u16::from_be_bytes(port);
            (Some(SocketAddr::new(source.into(), port)), tlvs)
        }
        // Two paths of 108 bytes: there is no address in them.
        0x31 => (None, block.get(216..).ok_or(SHORT)?),
        _ => return Err("a family or transport that a TCP connection cannot have"),
    };
    check_tlvs(tlvs, &bytes[..whole])?;
    Ok(Some((whole, source)))
}

const SHORT: &str = "shorter than its addresses";

/// Walks the type-length-value fields to the end and checks the one that concerns everybody, the checksum.
fn check_tlvs(mut tlvs: &[u8], header: &[u8]) -> Result<(), &'static str> {
    const BROKEN: &str = "a field that does not fit";
    while !tlvs.is_empty() {
        let (&[kind, high, low], rest) = tlvs.split_first_chunk::<3>().ok_or(BROKEN)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = rest.split_at_checked(length).ok_or(BROKEN)?;
        if kind == TLV_CRC32C {
            let expected = value
                .try_into()
                .map(u32::from_be_bytes)
                .map_err(|_| "a checksum that is not of four bytes")?;
            // It was made with zeros in its own place.
            let place = header.len() - after.len() - 4;
            let zeroed = header[..place]
                .iter()
                .chain(&[0; 4])
                .chain(&header[place + 4..]);
            if crc32c(zeroed) != expected {
                return Err("a wrong checksum");
            }
        }
        tlvs = after;
    }
    Ok(())
}

/// CRC-32C (Castagnoli), bit by bit: it is wanted once per connection, if at all.
fn crc32c<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (0x82f6_3b78 & carry.wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
