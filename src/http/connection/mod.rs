//! A single connection: its bytes, its time limits, and its end.
//!
//! Malformed HTTP never becomes a request: `hyper` responds with a bare status, which is withheld
//! here, so that a problem with ids can be sent instead. A client that stops in the middle of a
//! head or of a response has a time limit for each; one whose connection is closing is read from
//! for a moment longer, so that it receives the response.

pub mod connections;
mod exchange;

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_web::ResponseError;
use actix_web::rt::net::TcpStream;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::Sleep;

use crate::http::middleware::head::MAX_TARGET;
use crate::http::middleware::request_context::RequestIds;
use crate::http::problem::{MEDIA_TYPE, Problem, ProblemType};
use crate::platform::client::Client;
use crate::platform::clock;
use crate::platform::limits::{Bound, Limit};
use crate::platform::metrics::{ConnectionCut, Metrics};
use connections::{Connections, Phase};
use exchange::{App, Exchange};

/// The longest head of a request, in bytes; and the limit of a response's write buffer.
pub const MAX_HEAD: usize = 32 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 96;

/// How long a client may read no byte of a response.
const STALLED: Duration = Duration::from_secs(10);

/// How long a closing connection still reads what was sent, and how many bytes of it: many times
/// the allowed size. A client that sends more may lose the response.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Pipelined requests that are served at a time, on each thread.
const PIPELINED: usize = 16;

/// The longest of hyper's bare responses: a status line, three headers.
const MAX_BARE: usize = 256;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Head of a request, in time",
        bound: Bound::Setting("HTTP_READ_TIMEOUT_MS"),
        effect: "408 `request-timeout`, and the connection closes",
    },
    Limit {
        what: "Head of a request, in bytes",
        bound: Bound::Bytes(MAX_HEAD),
        effect: "431 `headers-too-large`",
    },
    Limit {
        what: "Headers of a request",
        bound: Bound::Count(MAX_HEADERS),
        effect: "431 `headers-too-large`",
    },
    Limit {
        what: "Idle connection",
        bound: Bound::Setting("HTTP_KEEP_ALIVE_MS"),
        effect: "the connection closes",
    },
    Limit {
        what: "Response of which the client takes no byte",
        bound: Bound::Time(STALLED),
        effect: "the connection closes",
    },
    Limit {
        what: "Connections",
        bound: Bound::Setting("HTTP_MAX_CONNECTIONS"),
        effect: "further ones wait; from three quarters on, the least active of the largest network is closed",
    },
    Limit {
        what: "Requests of a connection at a time",
        bound: Bound::Count(1),
        effect: "further ones wait",
    },
    Limit {
        what: "Pipelined requests at a time, for each thread",
        bound: Bound::Count(PIPELINED),
        effect: "further ones wait",
    },
    Limit {
        what: "Memory of all connections",
        bound: Bound::Words("an eighth of the memory limit"),
        effect: "the slowest connection closes",
    },
    Limit {
        what: "Reading on after the last response, in time",
        bound: Bound::Time(LINGER),
        effect: "the connection closes",
    },
    Limit {
        what: "Reading on after the last response, in bytes",
        bound: Bound::Bytes(LINGER_BYTES),
        effect: "the connection closes",
    },
];

/// The settings shared by the connections of a listener.
#[derive(Clone)]
pub struct ConnectionSettings {
    /// All connections.
    pub connections: Connections,
    /// The source of ids for input that is refused before it is a request.
    pub ids: RequestIds,
    /// The metrics.
    pub metrics: Metrics,
    /// The time limit for a head to arrive.
    pub read_timeout: Duration,
    /// The time limit for an idle connection.
    pub keep_alive: Duration,
}

/// The state shared by the connections of one thread.
pub struct Thread<A> {
    /// The application.
    pub app: A,
    /// The settings shared with other threads.
    pub settings: ConnectionSettings,
    /// Acquired for a pipelined request, before its response.
    pub pipelined: Semaphore,
}

impl<A> Thread<A> {
    /// Serves this application.
    pub fn new(app: A, settings: ConnectionSettings) -> Self {
        Self {
            app,
            settings,
            pipelined: Semaphore::new(PIPELINED),
        }
    }
}

/// How a connection ended.
enum End {
    /// Regularly by HTTP, or broken off by the client.
    Over,
    /// With input that was not a valid request.
    Unreadable,
    /// Because nothing arrived, or nothing was read.
    Late(Phase),
    /// In favour of other connections.
    Cut,
}

/// Serves a connection to its end.
pub async fn serve<A: App>(stream: TcpStream, thread: Rc<Thread<A>>) {
    let settings = &thread.settings;
    let peer = stream.peer_addr().ok();
    let network = peer.and_then(|peer| Client::new(peer.ip(), false).networks().last());
    let network = network.map(|(widest, _)| widest);
    let exchange = Rc::new(Exchange::new(settings.connections.enter(network), peer));
    let wire = Wire::new(stream, Rc::clone(&exchange));
    if exchange.place.is_cut(Waker::noop()) {
        wire.abort();
        return;
    }
    let (served, handled) = (Rc::clone(&thread), Rc::clone(&exchange));
    let service = hyper::service::service_fn(move |request| {
        exchange::handle(Rc::clone(&served), Rc::clone(&handled), request)
    });
    let mut connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .writev(false)
        .serve_connection(TokioIo::new(wire), service);
    let mut alarm = pin!(tokio::time::sleep(settings.read_timeout));
    let mut is_notified = false;
    let end = poll_fn(|cx| {
        exchange.turn_begins();
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(match result {
                Err(error) if error.is_parse() => End::Unreadable,
                _ => End::Over,
            });
        }
        if exchange.place.is_cut(cx.waker()) {
            return Poll::Ready(End::Cut);
        }
        let is_closing = exchange.place.is_closing();
        // A client that has sent nothing yet may still send one request.
        if is_closing && !is_notified && exchange.has_read() {
            is_notified = true;
            Pin::new(&mut connection).graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        late(&exchange, settings, is_closing, alarm.as_mut(), cx).map(End::Late)
    })
    .await;
    let mut wire = connection.into_parts().io.into_inner();
    // hyper's buffers are gone.
    exchange.place.free();
    let problem = match end {
        End::Over => wire.withheld,
        End::Unreadable => wire.withheld.or(Some(ProblemType::MALFORMED_REQUEST)),
        End::Late(Phase::Idle | Phase::Serving | Phase::Queued) => None,
        End::Late(Phase::Head) => exchange.has_read().then_some(ProblemType::REQUEST_TIMEOUT),
        End::Late(Phase::Responding) => {
            settings.metrics.connection_cut(ConnectionCut::Stalled);
            wire.abort();
            None
        }
        End::Cut => {
            wire.abort();
            None
        }
    };
    if let Some(kind) = problem {
        // Within a limit: a client that sends no request may not read, either.
        let _ = tokio::time::timeout(LINGER * 2, wire.refuse(kind, settings)).await;
    }
}

/// Whether the time limit of the phase is over; if not, the task is woken then.
fn late(
    exchange: &Exchange,
    settings: &ConnectionSettings,
    is_closing: bool,
    mut alarm: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<Phase> {
    let phase = exchange.place.phase();
    let limit = match phase {
        Phase::Head | Phase::Idle if is_closing => Some(LINGER.min(settings.read_timeout)),
        Phase::Head => Some(settings.read_timeout),
        Phase::Idle => Some(settings.keep_alive),
        Phase::Responding => Some(STALLED),
        // The request has its own deadline, and its body a limit; and so has the wait for a turn.
        Phase::Serving | Phase::Queued => None,
    };
    let end = limit.map(|limit| exchange.place.since() + limit);
    let now = clock::monotonic();
    if end.is_some_and(|end| end <= now) {
        return Poll::Ready(phase);
    }
    // The limit moves with each request; the alarm is reset only when necessary.
    let end = end.unwrap_or(now + STALLED).into();
    if alarm.deadline() > end {
        alarm.as_mut().reset(end);
    }
    while alarm.as_mut().poll(cx).is_ready() {
        alarm.as_mut().reset(end);
    }
    Poll::Pending
}

/// The byte stream of a connection, to and from hyper.
struct Wire {
    stream: TcpStream,
    exchange: Rc<Exchange>,
    /// Whether the client has closed its side.
    has_ended: bool,
    /// The kind of problem for the bare response that was withheld.
    withheld: Option<ProblemType>,
    linger: Option<Pin<Box<Sleep>>>,
    /// Bytes that were read and discarded.
    ignored: usize,
}

/// What is wrong with input that is refused before it is a request.
fn detail_of(kind: ProblemType) -> String {
    if kind == ProblemType::REQUEST_TIMEOUT {
        "The head of the request took too long to arrive.".to_owned()
    } else if kind == ProblemType::HEADERS_TOO_LARGE {
        format!(
            "The head of the request is over {MAX_HEAD} bytes, or has over {MAX_HEADERS} headers."
        )
    } else if kind == ProblemType::URI_TOO_LONG {
        format!("The target of the request is over {MAX_TARGET} bytes.")
    } else {
        "The request could not be read as HTTP/1.1.".to_owned()
    }
}

impl Wire {
    fn new(stream: TcpStream, exchange: Rc<Exchange>) -> Self {
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            exchange,
            has_ended: false,
            withheld: None,
            linger: None,
            ignored: 0,
        }
    }

    /// Responds to malformed input, and closes.
    async fn refuse(&mut self, kind: ProblemType, settings: &ConnectionSettings) -> io::Result<()> {
        self.withheld = None;
        let id = settings.ids.make();
        let problem = Problem::new(kind, detail_of(kind));
        let status = problem.status_code();
        settings.metrics.unreadable_request(status.as_u16());
        tracing::info!(
            status = status.as_u16(),
            request_id = id,
            correlation_id = id,
            "malformed request"
        );
        let body = problem.body(&id);
        let date = httpdate::fmt_http_date(settings.ids.now().into());
        let response = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
             x-request-id: {id}\r\nx-correlation-id: {id}\r\nconnection: close\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\ndate: {date}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(response.as_bytes()).await?;
        poll_fn(|cx| Pin::new(&mut *self).poll_shutdown(cx)).await
    }

    /// Closes immediately: unsent data is discarded.
    fn abort(&self) {
        let _ = self.stream.set_zero_linger();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.exchange.place.poll_room(buffer.remaining(), cx));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        if read.is_empty() {
            self.has_ended = true;
        } else {
            self.exchange.read(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = match find_bare(buffer) {
            Some((0, kind)) => {
                self.withheld = Some(kind);
                return Poll::Ready(Ok(buffer.len()));
            }
            Some((start, _)) => &buffer[..start],
            None => buffer,
        };
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.exchange.place.progress();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.exchange.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.withheld.is_some() {
            // A response follows.
            return Poll::Ready(Ok(()));
        }
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        // A socket that is closed with unread bytes resets the connection, and the client may lose
        // the response (RFC 9112, section 9.6).
        let mut scratch = [MaybeUninit::uninit(); 16 * 1024];
        while !self.has_ended {
            let mut rest = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut rest) {
                Poll::Ready(Ok(())) => {
                    self.ignored += rest.filled().len();
                    self.has_ended = rest.filled().is_empty() || self.ignored > LINGER_BYTES;
                }
                Poll::Ready(Err(_)) => self.has_ended = true,
                Poll::Pending => break,
            }
        }
        let has_ended = self.has_ended;
        if let Some(linger) = self.linger.as_mut().filter(|_| !has_ended) {
            ready!(linger.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// The start of one of hyper's own responses, if the bytes end in one, and its kind of problem.
///
/// Responses of the application never match: each has an `x-request-id`.
fn find_bare(buffer: &[u8]) -> Option<(usize, ProblemType)> {
    if !buffer.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = buffer.len().saturating_sub(MAX_BARE);
    let tail = &buffer[from..];
    let start = tail.windows(9).rposition(|bytes| bytes == b"HTTP/1.1 ")?;
    let head = std::str::from_utf8(&tail[start..]).ok()?;
    let kind = match head.get(9..12)? {
        "400" => ProblemType::MALFORMED_REQUEST,
        "414" => ProblemType::URI_TOO_LONG,
        "431" => ProblemType::HEADERS_TOO_LARGE,
        _ => return None,
    };
    let has_id = head
        .lines()
        .any(|line| line.to_ascii_lowercase().starts_with("x-request-id:"));
    let is_one_head = head.find("\r\n\r\n") == Some(head.len() - 4);
    (is_one_head && !has_id).then_some((from + start, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\
                        connection: close\r\ndate: Sat, 21 Nov 2026 10:00:00 GMT\r\n\r\n";

    #[test]
    fn a_bare_response_is_found_after_others() {
        assert_eq!(
            find_bare(BARE.as_bytes()),
            Some((0, ProblemType::MALFORMED_REQUEST))
        );
        let ours = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\n{}";
        let both = format!("{ours}{BARE}");
        assert_eq!(
            find_bare(both.as_bytes()),
            Some((ours.len(), ProblemType::MALFORMED_REQUEST))
        );
    }

    #[test]
    fn responses_of_the_application_are_left_alone() {
        for response in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nX-Request-Id: a\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
            "0\r\n\r\n",
            "{}",
            "\r\n\r\n",
            "",
        ] {
            assert_eq!(find_bare(response.as_bytes()), None, "{response:?}");
        }
    }
}
