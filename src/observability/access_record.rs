//! One line of the access log.

use std::cell::Cell;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::Format;

/// Everything that the access log tells about one exchange. All durations count from the moment the request's
/// header was complete.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// Unix time at which the request's header was complete.
    pub time: Duration,
    pub listener: &'a str,
    pub route: &'a str,
    pub consumer: Option<&'a str>,
    /// Whom the proof is about that the caller has shown.
    pub subject: Option<&'a str>,
    /// A name of what was shown that is no secret.
    pub credential: Option<&'a str>,
    /// The kind that proved who calls.
    pub authenticator: Option<&'a str>,
    /// The subject of the client's certificate.
    pub certificate: Option<&'a str>,
    pub client: Option<IpAddr>,
    pub method: &'a str,
    pub host: Option<&'a str>,
    /// The path without its query: queries carry tokens.
    pub path: &'a str,
    pub protocol: &'static str,
    /// 0 where the client went away before there was one.
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub total: Duration,
    /// From the first attempt on an upstream to the end of the exchange.
    pub upstream_time: Option<Duration>,
    /// To the first byte of the response's header.
    pub first_byte: Option<Duration>,
    pub upstream: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    pub attempts: u32,
    /// What it was last sent again for, and whether to an endpoint that had been tried before.
    pub retried: Option<(&'a str, bool)>,
    /// Why it was not sent again after that, where there would have been reason.
    pub retry_stop: Option<&'static str>,
    /// Whether a second endpoint that was asked as well has `won` or `lost`.
    pub hedge: Option<&'static str>,
    /// What the cache has done about it: `hit`, `stale`, `revalidated`, `miss`, `collapsed`, `pass`.
    pub cache: Option<&'static str>,
    /// How the parts of an aggregation have ended, in their order: `NAME=RESULT:TOOKms@STARTms:SPAN`, with commas between, as
    /// `profile=ok:12ms@0ms:00f067aa0ba902b7,cart=timeout:120ms@12ms:53995c3f42cd8ad8,tips=left_out`. START counts from where all
    /// durations do. SPAN is the id of the part's span in the trace, which its upstream has got as its parent; the span's own
    /// parent is `span_id`. One that was not asked for has its result alone.
    pub parts: Option<&'a str>,
    /// The id of the gateway's span, ASCII; told where there are parts.
    pub span_id: &'a [u8],
    /// The gateway's own code, where it replied or gave up.
    pub code: Option<&'static str>,
    pub fault: Option<&'static str>,
    pub flag: Option<&'static str>,
    /// Why, for operators: the engine's cause, never shown to the client.
    pub cause: Option<&'a str>,
    /// Why a step of the route's fallback answers and not its upstream, and which.
    pub degraded: Option<&'a str>,
    pub fallback: Option<&'a str>,
    /// The limit that has refused the request, or would have if it did not only watch; as the configuration has it.
    pub limit: Option<&'a str>,
    /// The window of it that has no room.
    pub limit_rule: Option<&'a str>,
    /// Whether it has refused: `refused` or `shadow`.
    pub limit_decision: Option<&'static str>,
    /// ASCII, as the next.
    pub request_id: &'a [u8],
    pub trace_id: &'a [u8],
}

impl AccessRecord<'_> {
    /// Appends the record and a line feed.
    pub fn write(&self, format: Format, line: &mut Vec<u8>) {
        match format {
            Format::Json => self.write_json(line),
            Format::Text => self.write_text(line),
        }
        line.push(b'\n');
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        write_rfc3339(self.time, out);
        plain(out, b"\",\"listener\":\"", self.listener);
        plain(out, b"\",\"route\":\"", self.route);
        if let Some(client) = self.client {
            out.extend_from_slice(b"\",\"client\":\"");
            write_address(client, out);
        }
        plain(out, b"\",\"method\":\"", self.method);
        plain(out, b"\",\"protocol\":\"", self.protocol);
        out.extend_from_slice(b"\",\"request_id\":\"");
        out.extend_from_slice(self.request_id);
        out.extend_from_slice(b"\",\"trace_id\":\"");
        out.extend_from_slice(self.trace_id);
        out.push(b'"');
        quoted(out, b",\"path\":", Some(self.path));
        quoted(out, b",\"host\":", self.host);
        quoted(out, b",\"consumer\":", self.consumer);
        quoted(out, b",\"subject\":", self.subject);
        quoted(out, b",\"credential\":", self.credential);
        quoted(out, b",\"authenticator\":", self.authenticator);
        quoted(out, b",\"client_certificate\":", self.certificate);
        if let Some(upstream) = self.upstream {
            plain(out, b",\"upstream\":\"", upstream);
            out.push(b'"');
        }
        quoted(out, b",\"endpoint\":", self.endpoint);
        number(out, b",\"attempts\":", u64::from(self.attempts));
        if let Some((reason, is_same)) = self.retried {
            plain(out, b",\"retry_on\":\"", reason);
            let endpoint: &[u8] = match is_same {
                true => b"\",\"retry_endpoint\":\"same\"",
                false => b"\",\"retry_endpoint\":\"other\"",
            };
            out.extend_from_slice(endpoint);
        }
        quoted(out, b",\"retry_stop\":", self.retry_stop);
        quoted(out, b",\"hedge\":", self.hedge);
        quoted(out, b",\"cache\":", self.cache);
        if self.parts.is_some() {
            quoted(out, b",\"parts\":", self.parts);
            out.extend_from_slice(b",\"span_id\":\"");
            out.extend_from_slice(self.span_id);
            out.push(b'"');
        }
        number(out, b",\"status\":", u64::from(self.status));
        number(out, b",\"bytes_in\":", self.bytes_in);
        number(out, b",\"bytes_out\":", self.bytes_out);
        milliseconds(out, b",\"duration_ms\":", Some(self.total));
        milliseconds(out, b",\"upstream_ms\":", self.upstream_time);
        milliseconds(out, b",\"first_byte_ms\":", self.first_byte);
        quoted(out, b",\"code\":", self.code);
        quoted(out, b",\"fault\":", self.fault);
        quoted(out, b",\"flag\":", self.flag);
        quoted(out, b",\"cause\":", self.cause);
        quoted(out, b",\"degraded\":", self.degraded);
        quoted(out, b",\"fallback\":", self.fallback);
        quoted(out, b",\"limit\":", self.limit);
        quoted(out, b",\"limit_rule\":", self.limit_rule);
        quoted(out, b",\"limit_decision\":", self.limit_decision);
        out.push(b'}');
    }

    /// For a person at a terminal: time, status, method, path, route, endpoint, duration.
    fn write_text(&self, out: &mut Vec<u8>) {
        let seconds = self.time.as_secs();
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let _ = write!(
            out,
            "{hour:02}:{minute:02}:{second:02} {:>3} {:<7} ",
            self.status, self.method
        );
        escape_controls(self.path, out);
        let _ = write!(
            out,
            "  {} → {}",
            self.route,
            self.endpoint.unwrap_or("gateway")
        );
        if let Some(code) = self.code {
            let _ = write!(out, " {code}");
        }
        let _ = write!(out, "  {:.1} ms", self.total.as_secs_f64() * 1000.0);
    }
}

/// The end of the value before, a key, and a value that cannot hold anything to escape: names from configuration,
/// tokens and hexadecimal digits.
fn plain(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    out.extend_from_slice(value.as_bytes());
}

/// A key and a JSON string. Log lines are written by attackers as well, so controls never go through raw.
fn quoted(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    let Some(value) = value else { return };
    out.extend_from_slice(key);
    let is_special = |byte: u8| SPECIAL[usize::from(byte)];
    // Without a branch per byte.
    if value
        .bytes()
        .fold(false, |found, byte| found | is_special(byte))
    {
        if serde_json::to_writer(&mut *out, value).is_err() {
            out.extend_from_slice(b"\"\"");
        }
    } else {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }
}

/// The bytes that are not written as they are.
static SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        special[byte] = byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | 0x7f);
        byte += 1;
    }
    special
};

fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    if value < 10 {
        // As most are.
        return out.push(b'0' + value as u8);
    }
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with microseconds behind the point, written without floating point.
fn milliseconds(out: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    let Some(value) = value else { return };
    let millis = u64::from(value.subsec_millis());
    number(out, key, value.as_secs().saturating_mul(1000) + millis);
    out.push(b'.');
    write_thousandths(value.subsec_micros() % 1000, out);
}

/// As its own `Display` writes it, which goes a long way round for the four numbers of IPv4.
fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

fn escape_controls(value: &str, out: &mut Vec<u8>) {
    for character in value.chars() {
        if character.is_control() {
            let _ = write!(out, "{}", character.escape_default());
        } else {
            let _ = write!(out, "{character}");
        }
    }
}

/// Three digits.
fn write_thousandths(value: u32, out: &mut Vec<u8>) {
    let digit = |value: u32| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(value / 100), digit(value / 10), digit(value)]);
}

fn write_padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    out.extend(std::iter::repeat_n(
        b'0',
        width.saturating_sub(digits.len()),
    ));
    out.extend_from_slice(digits.as_bytes());
}

/// RFC 3339 in UTC with milliseconds. All but those is the same for a whole second, and is kept.
fn write_rfc3339(time: Duration, out: &mut Vec<u8>) {
    thread_local! {
        static SECOND: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
    }
    let (second, mut text) = SECOND.get();
    if second != time.as_secs() {
        let mut written = Vec::with_capacity(20);
        write_second(time.as_secs(), &mut written);
        // Years beyond 9999 are cut off; the clock of a machine that shows them is wrong anyway.
        let length = written.len().min(20);
        text[..length].copy_from_slice(&written[..length]);
        SECOND.set((time.as_secs(), text));
    }
    out.extend_from_slice(&text);
    write_thousandths(time.subsec_millis(), out);
    out.push(b'Z');
}

/// A Unix time as `2026-11-22T00:00:00.`. The civil date comes from the day number by the usual reckoning in
/// 400-year eras that begin on the first of March, so that leap days fall at the end of a year.
fn write_second(seconds: u64, out: &mut Vec<u8>) {
    let days = seconds / 86_400;
    let second_of_day = seconds % 86_400;
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    for (value, width, after) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second_of_day / 3600, 2, b':'),
        (second_of_day / 60 % 60, 2, b':'),
        (second_of_day % 60, 2, b'.'),
    ] {
        write_padded(value, width, out);
        out.push(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            time: Duration::from_millis(1_795_305_600_123),
            listener: "public",
            route: "get-order",
            consumer: None,
            subject: None,
            credential: None,
            authenticator: None,
            certificate: None,
            client: Some("192.0.2.1".parse().unwrap()),
            method: "GET",
            host: Some("api.shop.example"),
            path: "/v1/orders/7",
            protocol: "HTTP/1.1",
            status: 200,
            bytes_in: 0,
            bytes_out: 512,
            total: Duration::from_micros(12_034),
            upstream_time: Some(Duration::from_micros(11_500)),
            first_byte: None,
            upstream: Some("orders"),
            endpoint: Some("10.0.0.5:8002"),
            attempts: 1,
            retried: None,
            retry_stop: None,
            hedge: None,
            cache: None,
            parts: None,
            span_id: b"ghi",
            code: None,
            fault: None,
            flag: None,
            cause: None,
            degraded: None,
            fallback: None,
            limit: None,
            limit_rule: None,
            limit_decision: None,
            request_id: b"abc",
            trace_id: b"def",
        }
    }

    #[test]
    fn a_line_is_one_json_object() {
        let mut line = Vec::new();
        record().write(Format::Json, &mut line);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["time"], "2026-11-22T00:00:00.123Z");
        assert_eq!(value["duration_ms"], 12.034);
        assert_eq!(value["endpoint"], "10.0.0.5:8002");
        assert!(value.get("first_byte_ms").is_none());
    }

    #[test]
    fn parts_are_told_with_the_span_above_them() {
        let mut line = Vec::new();
        let parts = Some("a=ok:1ms@0ms:00f067aa0ba902b7,\"b=left_out");
        let record = AccessRecord { parts, ..record() };
        record.write(Format::Json, &mut line);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["parts"].as_str(), parts);
        assert_eq!(value["span_id"], "ghi");
    }

    #[test]
    fn nobody_can_forge_a_line() {
        for format in [Format::Json, Format::Text] {
            let mut line = Vec::new();
            let hostile = AccessRecord {
                path: "/a\n{\"status\":200}\"\\\u{1b}[31m",
                ..record()
            };
            hostile.write(format, &mut line);
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert!(!line.contains(&0x1b));
        }
    }

    #[test]
    fn dates_agree_with_the_calendar() {
        let check = |seconds: u64, expected: &str| {
            let mut out = Vec::new();
            write_rfc3339(Duration::from_secs(seconds), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400, "2000-02-29T00:00:00.000Z");
        check(1_709_164_800, "2024-02-29T00:00:00.000Z");
        check(1_735_689_599, "2024-12-31T23:59:59.000Z");
        check(4_107_542_400, "2100-03-01T00:00:00.000Z");
    }
}
