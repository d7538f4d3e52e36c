use super::*;
use proptest::prelude::*;

fn found(source: &str, length: usize) -> Parsed {
    let source = Some(source.parse().unwrap());
    Parsed::Header { source, length }
}

/// A header of version 2 with this command, family and block.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = V2.to_vec();
    header.extend([command, family]);
    header.extend((block.len() as u16).to_be_bytes());
    header.extend(block);
    header
}

const V4_BLOCK: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb];

fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(header.iter());
    let place = header.len() - 4;
    header[place..].copy_from_slice(&crc.to_be_bytes());
    header
}

#[test]
fn version_1() {
    let good = |line: &str, source: &str| {
        let length = line.len();
        assert_eq!(parse(line.as_bytes()), found(source, length), "{line:?}");
        let followed = format!("{line}GET / HTTP/1.1\r\n");
        assert_eq!(parse(followed.as_bytes()), found(source, length));
    };
    good(
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "192.0.2.1:4711",
    );
    good(
        "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        "255.255.255.255:65535",
    );
    good("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0");
    good(
        "PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n",
        "[2001:db8::1]:4711",
    );
    good(
        "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
        "[::ffff:192.0.2.1]:1",
    );
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN 2001:db8::1 nonsense 7\r\n",
    ] {
        let length = line.len();
        let source = None;
        assert_eq!(
            parse(line.as_bytes()),
            Parsed::Header { source, length },
            "{line:?}"
        );
    }
}

#[test]
fn version_1_malformed() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4\t192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 x\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
        "PROXY TCP4 0x7f.0.0.1 198.51.100.1 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 nowhere 1 2\r\n",
        "PROXY TCP4 192.0.2.1\r 198.51.100.1 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
    ] {
        let parsed = parse(line.as_bytes());
        assert!(
            matches!(parsed, Parsed::Malformed(_)),
            "{line:?} {parsed:?}"
        );
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(MAX_V1));
    assert!(matches!(parse(long.as_bytes()), Parsed::Malformed(_)));
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 16));
    let length = longest.len();
    assert_eq!(length, MAX_V1);
    let source = None;
    assert_eq!(parse(longest.as_bytes()), Parsed::Header { source, length });
}

#[test]
fn version_2() {
    let check = |header: Vec<u8>, source: Option<&str>| {
        let length = header.len();
        let source = source.map(|source| source.parse().unwrap());
        let expected = Parsed::Header { source, length };
        assert_eq!(parse(&header), expected, "{header:?}");
        let followed = [&header[..], b"\x16\x03\x01"].concat();
        assert_eq!(parse(&followed), expected);
    };
    check(v2(0x21, 0x11, &V4_BLOCK), Some("192.0.2.1:4711"));
    let mut v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)
        .octets()
        .to_vec();
    v6.extend([0; 16]);
    v6.extend([0, 80, 0, 81]);
    check(v2(0x21, 0x21, &v6), Some("[2001:db8::7]:80"));
    check(v2(0x21, 0x31, &[b'/'; 216]), None);
    check(v2(0x21, 0x00, &[]), None);
    // Of LOCAL nothing is looked at.
    check(v2(0x20, 0x00, &[]), None);
    check(v2(0x20, 0x11, &V4_BLOCK), None);
    check(v2(0x20, 0xff, &[9; 5]), None);
    // Fields after the addresses.
    let noop = [&V4_BLOCK[..], &[4, 0, 3, 0, 0, 0], &[1, 0, 0]].concat();
    check(v2(0x21, 0x11, &noop), Some("192.0.2.1:4711"));
    let empty_checksum = [&V4_BLOCK[..], &[4, 0, 1, 9], &[3, 0, 4, 0, 0, 0, 0]].concat();
    check(
        with_checksum(v2(0x21, 0x11, &empty_checksum)),
        Some("192.0.2.1:4711"),
    );
    let large = [&V4_BLOCK[..], &[4, 0x0f, 0xe1], &[0; 0xfe1]].concat();
    assert_eq!(V2_FIXED + large.len(), MAX_V2);
    check(v2(0x21, 0x11, &large), Some("192.0.2.1:4711"));
}

#[test]
fn version_2_malformed() {
    let check = |header: Vec<u8>, expected: &str| match parse(&header) {
        Parsed::Malformed(what) => assert_eq!(what, expected, "{header:?}"),
        other => panic!("{other:?} of {header:?}"),
    };
    check(
        v2(0x11, 0x11, &V4_BLOCK),
        "a version or command that there is not",
    );
    check(
        v2(0x22, 0x11, &V4_BLOCK),
        "a version or command that there is not",
    );
    check(
        v2(0x31, 0x11, &V4_BLOCK),
        "a version or command that there is not",
    );
    let family = "a family or transport that a TCP connection cannot have";
    for byte in [0x01, 0x10, 0x12, 0x13, 0x22, 0x32, 0x41, 0xff] {
        check(v2(0x21, byte, &[0; 300]), family);
    }
    check(v2(0x21, 0x11, &V4_BLOCK[..11]), SHORT);
    check(v2(0x21, 0x21, &[0; 35]), SHORT);
    check(v2(0x21, 0x31, &[0; 215]), SHORT);
    let field = "a field that does not fit";
    for tail in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0xff, 0xff, 0]] {
        check(v2(0x21, 0x11, &[&V4_BLOCK[..], tail].concat()), field);
    }
    check(v2(0x21, 0x00, &[1]), field);
    let short = [&V4_BLOCK[..], &[3, 0, 3, 0, 0, 0]].concat();
    check(
        v2(0x21, 0x11, &short),
        "a checksum that is not of four bytes",
    );
    let zero = [&V4_BLOCK[..], &[3, 0, 4, 0, 0, 0, 0]].concat();
    check(v2(0x21, 0x11, &zero), "a wrong checksum");
    let mut tampered = with_checksum(v2(0x21, 0x11, &zero));
    tampered[16] ^= 1;
    check(tampered, "a wrong checksum");
    // Refused by its length alone, before any of it is awaited.
    check(
        v2(0x21, 0x11, &[0; MAX_V2])[..V2_FIXED].to_vec(),
        "longer than 4096 bytes",
    );
}

#[test]
fn other_protocols_are_told_apart_at_once() {
    for other in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROPFIND / HTTP/1.1\r\n",
        b"PROXYING / HTTP/1.1\r\n",
        b"proxy TCP4 ",
        b" PROXY TCP4 ",
        b"\x16\x03\x01\x02\x00",
        b"\r\nGET / HTTP/1.1\r\n",
        b"\0",
    ] {
        assert_eq!(parse(other), Parsed::Absent, "{other:?}");
    }
    for both in [
        &b""[..],
        b"P",
        b"PR",
        b"PROXY",
        b"\r\n",
        b"\r\n\r\n\0\r\nQUIT",
    ] {
        assert_eq!(parse(both), Parsed::Partial, "{both:?}");
    }
}

#[test]
fn the_checksum_is_castagnolis() {
    // The check value of the catalogue of CRCs.
    assert_eq!(crc32c(b"123456789".iter()), 0xe306_9283);
}

#[test]
fn with_a_checksum_a_flipped_bit_is_never_another_address() {
    let block = [&V4_BLOCK[..], &[3, 0, 4, 0, 0, 0, 0]].concat();
    let header = with_checksum(v2(0x21, 0x11, &block));
    for bit in 0..header.len() * 8 {
        let mut flipped = header.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let parsed = parse(&flipped);
        if let Parsed::Header {
            source: Some(_), ..
        } = parsed
        {
            // It is the type of the field that was flipped: then there is no checksum, and the rest is as it was.
            assert_eq!(bit / 8, 28);
            assert_eq!(parsed, found("192.0.2.1:4711", header.len()));
        }
    }
}

fn headers() -> impl Strategy<Value = Vec<u8>> {
    let v1 = (any::<IpAddr>(), any::<(u16, u16)>()).prop_map(|(source, ports)| {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        format!(
            "PROXY {family} {source} {source} {} {}\r\n",
            ports.0, ports.1
        )
        .into_bytes()
    });
    let fields =
        proptest::collection::vec((4u8.., proptest::collection::vec(any::<u8>(), 0..20)), 0..5);
    let v4 = (any::<[u8; 12]>(), fields).prop_map(|(block, fields)| {
        let mut block = block.to_vec();
        for (kind, value) in fields {
            block.extend([kind, 0, value.len() as u8]);
            block.extend(value);
        }
        block.extend([3, 0, 4, 0, 0, 0, 0]);
        with_checksum(v2(0x21, 0x11, &block))
    });
    prop_oneof![v1, v4]
}

proptest! {
    #[test]
    fn every_beginning_of_a_header_is_partial(header in headers(), rest in any::<[u8; 8]>()) {
        let Parsed::Header { length, .. } = parse(&header) else {
            panic!("{header:?} is a header");
        };
        prop_assert_eq!(length, header.len());
        for end in 0..header.len() {
            prop_assert_eq!(parse(&header[..end]), Parsed::Partial);
        }
        // What follows changes nothing.
        prop_assert_eq!(parse(&[&header[..], &rest].concat()), parse(&header));
    }

    #[test]
    fn nothing_that_comes_makes_it_panic_or_wait_for_ever(
        version in 0..3,
        mut bytes in proptest::collection::vec(any::<u8>(), 0..MAX_V2 + 8),
    ) {
        match version {
            1 => { bytes.splice(0..0, V1.iter().copied()); }
            2 => { bytes.splice(0..0, V2.iter().copied().chain([0x21, 0x11])); }
            _ => {}
        }
        let parsed = parse(&bytes);
        if let Parsed::Header { length, .. } = parsed {
            prop_assert!(length <= bytes.len() && length <= MAX_V2);
        }
        if bytes.len() >= MAX_V2 {
            prop_assert_ne!(parsed, Parsed::Partial);
        }
    }
}
