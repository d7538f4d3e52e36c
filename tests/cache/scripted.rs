//! The origin of all cases: by the first segment of the path it knows the case, and says what the case's step has it say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::case::{Case, Ending, Reply};
use crate::harness::RawOrigin;

/// Both ends of a case: what the origin is to say, and what it was asked.
pub struct Script {
    pub case: Case,
    pub start: SystemTime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    step: usize,
    asked: Vec<Asked>,
}

/// A request that has reached the origin.
#[derive(Clone, Debug)]
pub struct Asked {
    pub step: usize,
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    /// All values of a field, as one.
    pub fn field(&self, name: &str) -> Option<String> {
        let named = self.fields.iter().filter(|(own, _)| own == name);
        let values: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

impl Script {
    pub fn of(case: Case) -> Script {
        Script {
            case,
            start: SystemTime::now(),
            state: Mutex::default(),
        }
    }

    /// From now on the origin is in this step.
    pub fn begin(&self, step: usize) {
        self.state.lock().expect("no panic").step = step;
    }

    /// What was asked during this step.
    pub fn asked_in(&self, step: usize) -> Vec<Asked> {
        let state = self.state.lock().expect("no panic");
        let during = state.asked.iter().filter(|asked| asked.step == step);
        during.cloned().collect()
    }

    fn take(&self, mut asked: Asked) -> usize {
        let mut state = self.state.lock().expect("no panic");
        asked.step = state.step;
        state.asked.push(asked);
        state.step
    }

    /// The body that the origin sends in this step, where it does not depend on what it is asked.
    pub fn body_of(&self, step: usize) -> String {
        match &self.case.steps[step].reply.body {
            Some(body) => self.fill(body),
            None => format!("{}#{step}", self.case.id),
        }
    }

    /// Writes dates and the path into a text.
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{self}", &format!("/{}", self.case.id));
        for (name, base, format) in [
            ("{now", SystemTime::now(), IMF),
            ("{start", self.start, IMF),
            ("{asctime", SystemTime::now(), "%a %b %e %H:%M:%S %Y"),
            ("{rfc850", SystemTime::now(), "%A, %d-%b-%y %H:%M:%S GMT"),
        ] {
            while let Some(at) = text.find(name) {
                let end = at + text[at..].find('}').expect("it is closed");
                let seconds: i64 = match &text[at + name.len()..end] {
                    "" => 0,
                    seconds => seconds.parse().expect("seconds"),
                };
                let date = date(base, seconds, format);
                text.replace_range(at..=end, &date);
            }
        }
        text
    }
}

const IMF: &str = "%a, %d %b %Y %H:%M:%S GMT";

fn date(base: SystemTime, seconds: i64, format: &str) -> String {
    let base = Timestamp::try_from(base).expect("a time of this age");
    let moved = Timestamp::from_second(base.as_second() + seconds).expect("a time of this age");
    moved.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// By the ids of their cases.
pub type Scripts = Arc<HashMap<String, Arc<Script>>>;

pub fn origin(scripts: Scripts) -> RawOrigin {
    RawOrigin::serving(move |stream, _| serve(stream, scripts.clone()))
}

async fn serve(mut stream: TcpStream, scripts: Scripts) {
    let mut read = Vec::new();
    while let Some(asked) = next_request(&mut stream, &mut read).await {
        let id = asked.target.split(['/', '?', '#', ';', '%']).nth(1);
        let Some(script) = id.and_then(|id| scripts.get(id)) else {
            let unknown = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(unknown).await.is_err() {
                return;
            }
            continue;
        };
        let step = script.take(asked.clone());
        if !answer(&mut stream, script, step, &asked).await {
            return;
        }
    }
}

/// False where the connection is at its end.
async fn answer(stream: &mut TcpStream, script: &Script, step: usize, asked: &Asked) -> bool {
    let mut reply = script.case.steps[step].reply.clone();
    let is_conditional = asked
        .field("if-none-match")
        .or(asked.field("if-modified-since"));
    if reply.is_to_conditions && is_conditional.is_none() {
        reply.status = 200;
    }
    tokio::time::sleep(reply.delay).await;
    if reply.ending == Ending::Nothing {
        return false;
    }
    let mut sent = Vec::new();
    if let Some(interim) = reply.interim {
        sent.extend_from_slice(script.fill(interim).as_bytes());
        sent.extend_from_slice(b"\r\n\r\n");
    }
    let body = match reply.echo {
        Some(name) => asked.field(name).unwrap_or_else(|| "clean".to_owned()),
        None => script.body_of(step),
    };
    sent.extend_from_slice(head(script, &reply).as_bytes());
    let is_bodiless = matches!(reply.status, 204 | 304);
    let parts = Parts {
        has_length: !is_bodiless,
        has_body: !is_bodiless && asked.method != "HEAD",
    };
    push_body(&mut sent, reply.ending, &body, parts);
    if stream.write_all(&sent).await.is_err() {
        return false;
    }
    match reply.ending {
        Ending::Whole | Ending::Chunked => true,
        Ending::Reset => {
            // What was sent arrives before the reset does.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            false
        }
        Ending::Closed | Ending::CutLength | Ending::CutChunked | Ending::Nothing => false,
    }
}

fn head(script: &Script, reply: &Reply) -> String {
    let version = if reply.ending == Ending::Closed {
        "1.0"
    } else {
        "1.1"
    };
    let mut head = format!("HTTP/{version} {} Said\r\n", reply.status);
    let is_dated = reply.fields.iter().any(|it| it.starts_with("date:"));
    if !is_dated {
        head.push_str(&script.fill("date: {now}\r\n"));
    }
    for field in &reply.fields {
        // An empty date stands for none.
        if field != "date:" {
            head.push_str(&script.fill(field));
            head.push_str("\r\n");
        }
    }
    head
}

/// What of its body a reply tells and sends.
struct Parts {
    has_length: bool,
    has_body: bool,
}

fn push_body(sent: &mut Vec<u8>, ending: Ending, body: &str, parts: Parts) {
    let Parts {
        has_length,
        has_body,
    } = parts;
    let length = body.len();
    let framing = match ending {
        Ending::Chunked | Ending::CutChunked if !has_body => "\r\n".to_owned(),
        Ending::Whole if !has_length => "\r\n".to_owned(),
        Ending::Whole => format!("content-length: {length}\r\n\r\n"),
        Ending::Closed | Ending::Nothing => "\r\n".to_owned(),
        Ending::CutLength | Ending::Reset => format!("content-length: {}\r\n\r\n", length + 10),
        Ending::Chunked | Ending::CutChunked => {
            format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n")
        }
    };
    sent.extend_from_slice(framing.as_bytes());
    if !has_body {
        return;
    }
    sent.extend_from_slice(body.as_bytes());
    if ending == Ending::Chunked {
        sent.extend_from_slice(b"\r\n0\r\n\r\n");
    }
}

/// The next request of a connection; `read` is what of it is there already. `None` at the end of the connection.
async fn next_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Asked> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut fields);
        if let Ok(httparse::Status::Complete(length)) = request.parse(read) {
            let mut asked = Asked {
                step: 0,
                method: request.method.unwrap_or_default().to_owned(),
                target: request.path.unwrap_or_default().to_owned(),
                fields: Vec::new(),
                body: Vec::new(),
            };
            for field in request.headers.iter() {
                let value = String::from_utf8_lossy(field.value).into_owned();
                asked.fields.push((field.name.to_lowercase(), value));
            }
            read.drain(..length);
            asked.body = body(stream, read, &asked).await?;
            return Some(asked);
        }
        fill_up(stream, read).await?;
    }
}

async fn body(stream: &mut TcpStream, read: &mut Vec<u8>, asked: &Asked) -> Option<Vec<u8>> {
    if asked.field("transfer-encoding").is_some() {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = read.windows(2).position(|it| it == b"\r\n") {
                    break read.drain(..end + 2).collect::<Vec<u8>>();
                }
                fill_up(stream, read).await?;
            };
            let size = String::from_utf8_lossy(&line).trim().to_owned();
            let size = usize::from_str_radix(&size, 16).ok()?;
            while read.len() < size + 2 {
                fill_up(stream, read).await?;
            }
            body.extend(read.drain(..size));
            read.drain(..2);
            if size == 0 {
                return Some(body);
            }
        }
    }
    let length = asked.field("content-length");
    let length: usize = length.map_or(Ok(0), |it| it.parse()).ok()?;
    while read.len() < length {
        fill_up(stream, read).await?;
    }
    Some(read.drain(..length).collect())
}

/// `None` where no more comes.
async fn fill_up(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(read).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    }
}
