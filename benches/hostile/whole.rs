//! Whole requests made of the worst known input for each part.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::common::{Failure, Server, migrate};
use super::targets::targets;
use super::{LIMIT, Row};

/// Requests per round, and rounds, of which the minimum counts.
const REQUESTS: u32 = 40;
const ROUNDS: u32 = 5;

/// The most that a packet of a request may cost: each one has an overhead, however small it is.
const LIMIT_OF_A_PACKET: Duration = Duration::from_micros(50);

/// A request and how it is sent.
struct Case {
    what: &'static str,
    request: Vec<u8>,
    /// The size of a packet, in bytes.
    piece: usize,
}

/// Times all cases.
pub fn requests() -> Result<Vec<Row>, Failure> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    migrate(&url)?;
    let log = folder.path().join("log");
    let settings = [
        // All requests are served by the one thread that is measured.
        ("HTTP_WORKERS", "1"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("TRUSTED_PROXY_HOPS", "16"),
        ("RATE_LIMIT_SIGNUP", "1000000/1m"),
        ("BCRYPT_COST", "4"),
    ];
    let server = Server::service(&url, &log, &settings)?;
    cases().iter().map(|case| time(&server, case)).collect()
}

fn cases() -> Vec<Case> {
    let get = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
    };
    let signup = |headers: &str, body: &str| {
        format!(
            "POST /signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             {headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let whole = usize::MAX;
    let case = |what, request| Case {
        what,
        request,
        piece: whole,
    };
    let headers = |count: usize, bytes: usize| -> String {
        let value = "v".repeat(bytes);
        let lines: Vec<String> = (0..count).map(|n| format!("X-{n}: {value}\r\n")).collect();
        lines.concat()
    };
    let mut all = vec![
        case("GET /health", get("/health", "")),
        case("90 headers", get("/health", &headers(90, 8))),
        case("90 headers, 16 KiB", get("/health", &headers(90, 160))),
        case("90 headers, 120 KiB", get("/health", &headers(90, 1_300))),
        case(
            "target of 8 KiB",
            get(&format!("/{}", "%41".repeat(2_700)), ""),
        ),
        case("target of 8 KiB, of segments", get(&"/a".repeat(4_000), "")),
        case(
            "target of 60 KB",
            get(&format!("/{}", "%41".repeat(20_000)), ""),
        ),
        Case {
            what: "16 KiB of head in pieces of 64",
            request: get("/health", &headers(90, 160)),
            piece: 64,
        },
        Case {
            what: "120 KiB of head in pieces of 1,024",
            request: get("/health", &headers(90, 1_300)),
            piece: 1_024,
        },
    ];
    let worst = |name: &str| {
        let target = targets().into_iter().find(|target| target.name == name);
        let inputs = target.map(|target| (target.worst)()).unwrap_or_default();
        let texts = inputs
            .into_iter()
            .filter_map(|input| String::from_utf8(input).ok());
        texts.filter(|text| !text.contains(['\n', '\r', '\0']))
    };
    let body = |name: &str, email: &str, password: &str| {
        serde_json::json!({"name": name, "email": email, "password": password}).to_string()
    };
    for email in worst("email").filter(|text| text.len() < 260) {
        all.push(case("signup, address", signup("", &body("", &email, ""))));
    }
    for name in worst("name").filter(|text| text.len() < 15_000) {
        all.push(case("signup, name", signup("", &body(&name, "", ""))));
    }
    for json in worst("json") {
        all.push(case("signup, JSON", signup("", &json)));
    }
    for key in worst("key").filter(|text| text.len() < 120_000 && !text.contains('é')) {
        let header = format!("Idempotency-Key: {key}\r\n");
        all.push(case("signup, key", signup(&header, "{}")));
    }
    let is_in_a_target = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
    for query in worst("query").filter(is_in_a_target) {
        let query: String = query.chars().take(8_100).collect();
        all.push(case("query", get(&format!("/users?{query}"), "")));
    }
    for line in worst("forwarded").filter(|text| !text.contains('é')) {
        let line: String = line.chars().take(120_000).collect();
        let header = format!("X-Forwarded-For: {line}\r\n");
        all.push(case("forwarded", get("/health", &header)));
    }
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    for state in ["a=,".repeat(170), "a=1,".repeat(30_000)] {
        let header = format!("{parent}tracestate: {state}\r\n");
        all.push(case("trace", get("/health", &header)));
    }
    all
}

/// Measures the time that a request, or each of its packets, takes on the serving thread.
fn time(server: &Server, case: &Case) -> Result<Row, Failure> {
    let packets = case
        .request
        .len()
        .div_ceil(case.piece.min(case.request.len()));
    let each = if packets == 1 {
        1
    } else {
        u32::try_from(packets)?
    };
    let mut least = Duration::MAX;
    let mut status = String::new();
    for _ in 0..ROUNDS {
        let before = serving(server)?;
        let mut connection = None;
        let requests = if each == 1 { REQUESTS } else { 4 };
        for _ in 0..requests {
            let mut stream = match connection.take() {
                Some(stream) => stream,
                None => TcpStream::connect(&server.address)?,
            };
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            for piece in case.request.chunks(case.piece) {
                // The connection of a rejected request may be closed before all of it is sent.
                if stream.write_all(piece).is_err() {
                    break;
                }
                if each > 1 {
                    // So that the next piece is a packet of its own.
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            let (found, stays) = response(&mut stream)?;
            status = found;
            connection = stays.then_some(stream);
        }
        let took = serving(server)?.saturating_sub(before);
        least = least.min(took / requests / each);
    }
    let unit = if each == 1 { "a request" } else { "a packet" };
    Ok(Row {
        what: case.what.to_owned(),
        detail: format!("{unit}, {status}, {}", beginning(case)),
        time: least,
        limit: if each == 1 { LIMIT } else { LIMIT_OF_A_PACKET },
    })
}

fn beginning(case: &Case) -> String {
    let text = String::from_utf8_lossy(&case.request);
    let body = text
        .split("\r\n\r\n")
        .nth(1)
        .filter(|body| !body.is_empty());
    let shown: String = body.unwrap_or(&text).chars().take(40).collect();
    format!("{} bytes, {shown:?}…", case.request.len())
}

/// Reads a response; returns its status, and whether the connection stays open.
fn response(stream: &mut TcpStream) -> Result<(String, bool), Failure> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let end = text.find("\r\n\r\n");
        let head = end.map(|end| text[..end].to_ascii_lowercase());
        let length = head.as_deref().and_then(|head| {
            let line = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            line.map_or(Some(0), |length| length.parse::<usize>().ok())
        });
        if let (Some(end), Some(head), Some(length)) = (end, &head, length)
            && bytes.len() >= end + 4 + length
        {
            let status = text.split(' ').nth(1).unwrap_or("").to_owned();
            return Ok((status, !head.contains("connection: close")));
        }
        if count == 0 {
            return Ok(("no response".to_owned(), false));
        }
    }
}

/// The processor time of the serving threads so far.
fn serving(server: &Server) -> Result<Duration, Failure> {
    let tasks = Path::new("/proc")
        .join(server.process.id().to_string())
        .join("task");
    let mut sum = Duration::ZERO;
    let mut found = false;
    for task in std::fs::read_dir(tasks)? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.starts_with("actix") {
            let statistics = std::fs::read_to_string(task.join("schedstat"))?;
            let nanos = statistics.split(' ').next().ok_or("no figure")?.parse()?;
            sum += Duration::from_nanos(nanos);
            found = true;
        }
    }
    if found {
        Ok(sum)
    } else {
        Err("no serving thread".into())
    }
}
