//! The connection: answers what never becomes a request, and ends what nobody else would.
//!
//! Bytes that are no HTTP, a head that is too large or never ends: actix-http answers those
//! itself, before any middleware, with a bare status. The contract promises a problem with a
//! request id on every answer, so the connection is wrapped, and such a bare answer, which is
//! always the last thing on a connection, leaves as a problem. See ADR 6.
//!
//! actix-http reads on, without a time limit, where a chunked body was not wanted: it waits for
//! the body to end before it closes or reuses the connection. So a connection ends here when too
//! long a time has passed since its last answer, or soon after an answer that said `close`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::ResponseError;
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::request_context::Ids;
use crate::platform::problem::{MEDIA_TYPE, Problem, ProblemType};

/// The longest bare answer: a status line, `content-length`, `connection` and `date`.
const MAX_BARE_ANSWER: usize = 256;

/// How long a connection that is to close still takes in what was sent, so that the client gets
/// to read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Requests that may be read before an answer has been written.
const MAX_UNANSWERED: usize = 16;

/// Bytes that one read takes.
const READ: usize = 4096;

/// A connection of the HTTP server.
pub struct Wire {
    stream: TcpStream,
    ids: Ids,
    replacement: Option<Replacement>,
    /// The longest time between two answers, and for one of them to be taken.
    limit: Duration,
    /// When the connection counts as ended by the client.
    end: Instant,
    closing: bool,
    /// Whether some of an answer is written, and some is not.
    writing: bool,
    /// Requests that were read since an answer was written.
    unanswered: RequestLines,
    /// Wakes the reader at `end`, or before.
    alarm: Pin<Box<Sleep>>,
}

struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    /// How many bytes of the caller's it stands for.
    stands_for: usize,
}

impl Wire {
    /// Wraps a connection that ends when it has had no answer for this long.
    #[must_use]
    pub fn new(stream: TcpStream, ids: Ids, limit: Duration) -> Self {
        let end = Instant::now() + limit;
        Self {
            stream,
            ids,
            replacement: None,
            limit,
            end,
            closing: false,
            writing: false,
            unanswered: RequestLines::default(),
            alarm: Box::pin(tokio::time::sleep_until(end)),
        }
    }

    /// Takes note that an answer, or more than one, begins to be written.
    fn answer_begins(&mut self, cx: &Context<'_>, buffer: &[u8]) {
        if self.writing || self.closing {
            return;
        }
        self.writing = true;
        self.closing = is_closing_error(buffer);
        if self.closing {
            self.end = Instant::now() + LINGER;
            // The reader is to set its alarm.
            cx.waker().wake_by_ref();
        } else {
            self.end = Instant::now() + self.limit;
        }
    }

    /// Takes note that all that there was to write has been taken.
    fn answer_ended(&mut self, cx: &Context<'_>) {
        self.writing = false;
        if self.unanswered.seen >= MAX_UNANSWERED {
            // The reader paused.
            cx.waker().wake_by_ref();
        }
        self.unanswered.seen = 0;
    }

    /// Ready when the connection is to end; else the task is woken then.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.end {
            return Poll::Ready(());
        }
        // Answers move the end, and the alarm follows only here: that is once a while.
        while self.alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.end {
                return Poll::Ready(());
            }
            let end = self.end;
            self.alarm.as_mut().reset(end);
        }
        if self.end < self.alarm.deadline() {
            let end = self.end;
            self.alarm.as_mut().reset(end);
            return self.alarm.as_mut().poll(cx);
        }
        Poll::Pending
    }

    fn write_or_replace(&mut self, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let Some(replacement) = &mut self.replacement else {
            return Pin::new(&mut self.stream).poll_write(cx, buffer);
        };
        while replacement.written < replacement.bytes.len() {
            let rest = &replacement.bytes[replacement.written..];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            replacement.written += written;
        }
        let stands_for = replacement.stands_for;
        self.replacement = None;
        Poll::Ready(Ok(stands_for))
    }

    fn replace(&self, buffer: &[u8]) -> Option<Replacement> {
        let (start, kind) = find_bare_answer(buffer)?;
        let id = self.ids.make();
        let problem = Problem::new(kind, kind.about().title);
        let status = problem.status_code();
        let body = problem.body(&id);
        tracing::info!(
            status = status.as_u16(),
            request_id = id,
            correlation_id = id,
            "what came was no readable request"
        );
        let date = httpdate(&buffer[start..]);
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
             x-request-id: {id}\r\nx-correlation-id: {id}\r\nconnection: close\r\n{date}\r\n{body}",
            body.len()
        );
        let mut bytes = buffer[..start].to_vec();
        bytes.extend(answer.into_bytes());
        Some(Replacement {
            bytes,
            written: 0,
            stands_for: buffer.len(),
        })
    }
}

/// Whether the bytes begin with an error that ends its connection.
fn is_closing_error(buffer: &[u8]) -> bool {
    let is_error = buffer.starts_with(b"HTTP/1.") && matches!(buffer.get(9), Some(b'4' | b'5'));
    if !is_error {
        return false;
    }
    let head = buffer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .map_or(buffer, |end| &buffer[..end]);
    head.split(|byte| *byte == b'\n').any(|line| {
        line.trim_ascii_end()
            .eq_ignore_ascii_case(b"connection: close")
    })
}

/// Where a bare answer begins, if the bytes end in one.
///
/// The answers of the application never match: each has an `x-request-id`.
fn find_bare_answer(buffer: &[u8]) -> Option<(usize, ProblemType)> {
    if !buffer.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = buffer.len().saturating_sub(MAX_BARE_ANSWER);
    let tail = &buffer[from..];
    let start = tail.windows(9).rposition(|bytes| bytes == b"HTTP/1.1 ")?;
    let head = std::str::from_utf8(&tail[start..]).ok()?;
    let kind = match head.get(9..12)? {
        "400" => ProblemType::MalformedRequest,
        "408" => ProblemType::RequestTimeout,
        "431" => ProblemType::HeadersTooLarge,
        "500" => ProblemType::Internal,
        _ => return None,
    };
    let has_id = head
        .lines()
        .any(|line| line.to_ascii_lowercase().starts_with("x-request-id:"));
    let is_one_head = head.find("\r\n\r\n") == Some(head.len() - 4);
    (is_one_head && !has_id).then_some((from + start, kind))
}

/// The `date` line of a head, with its line end; nothing where there is none.
fn httpdate(head: &[u8]) -> String {
    std::str::from_utf8(head)
        .unwrap_or("")
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("date:"))
        .map(|line| format!("{line}\r\n"))
        .unwrap_or_default()
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replacement.is_none() {
            self.answer_begins(cx, buffer);
            self.replacement = self.replace(buffer);
        }
        match self.write_or_replace(cx, buffer)? {
            Poll::Ready(written) => {
                if written == buffer.len() {
                    self.answer_ended(cx);
                }
                Poll::Ready(Ok(written))
            }
            // A client that does not read its answers in time gets no more of them.
            Poll::Pending => match self.poll_end(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_end(cx).is_ready() {
            // No bytes: the end of what the client sends.
            return Poll::Ready(Ok(()));
        }
        if self.unanswered.seen >= MAX_UNANSWERED {
            // The next answer that is written wakes the task.
            return Poll::Pending;
        }
        let room = buffer.remaining().min(READ);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        self.unanswered.read(part.filled());
        let count = part.filled().len();
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// Counts the lines that begin a head: they follow an empty line, or nothing, and end in
/// ` HTTP/1.x`. It counts across reads. In a body such a line would be no JSON.
struct RequestLines {
    seen: usize,
    /// Whether this line may begin a head.
    candidate: bool,
    /// Whether this line has no character yet.
    empty: bool,
    /// Characters of the end that the line now ends in.
    matched: usize,
}

impl Default for RequestLines {
    fn default() -> Self {
        Self {
            seen: 0,
            candidate: true,
            empty: true,
            matched: 0,
        }
    }
}

impl RequestLines {
    fn read(&mut self, bytes: &[u8]) {
        const END: &[u8] = b" HTTP/1.?";
        for &byte in bytes {
            match byte {
                b'\r' => {}
                b'\n' => {
                    self.seen += usize::from(self.candidate && self.matched == END.len());
                    self.candidate = self.empty;
                    self.empty = true;
                    self.matched = 0;
                }
                byte => {
                    self.empty = false;
                    let wanted = END.get(self.matched).copied();
                    if wanted == Some(byte) || (wanted == Some(b'?') && byte.is_ascii_digit()) {
                        self.matched += 1;
                    } else {
                        self.matched = usize::from(byte == END[0]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\
                        connection: close\r\ndate: Sat, 21 Nov 2026 10:00:00 GMT\r\n\r\n";

    #[test]
    fn a_bare_answer_is_found_behind_others() {
        assert_eq!(
            find_bare_answer(BARE.as_bytes()),
            Some((0, ProblemType::MalformedRequest))
        );
        let ours = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\n{}";
        let both = format!("{ours}{BARE}");
        assert_eq!(
            find_bare_answer(both.as_bytes()),
            Some((ours.len(), ProblemType::MalformedRequest))
        );
    }

    #[test]
    fn request_lines_are_counted_across_reads() {
        let text = "GET /a HTTP/1.1\r\nX:  HTTP/1.1\r\nY: HTTP/1.1\r\n\r\n\
            {\"a\":\r\n \" HTTP/1.1\"}GET / HTTP/1.1\r\n\r\n\
            {}GET /  HTTP/1.0\r\n\r\n HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n";
        for size in 1..text.len() {
            let mut lines = RequestLines::default();
            for part in text.as_bytes().chunks(size) {
                lines.read(part);
            }
            assert_eq!(lines.seen, 3, "in parts of {size}");
        }
    }

    #[test]
    fn only_errors_that_close_end_the_connection() {
        let head = |status, connection| {
            format!("HTTP/1.1 {status} X\r\nConnection: {connection}\r\n\r\n{{}}")
        };
        assert!(is_closing_error(head(408, "close").as_bytes()));
        assert!(is_closing_error(BARE.as_bytes()));
        assert!(!is_closing_error(head(404, "keep-alive").as_bytes()));
        assert!(!is_closing_error(head(200, "close").as_bytes()));
        assert!(!is_closing_error(
            b"HTTP/1.1 404 X\r\n\r\nconnection: close\r\n"
        ));
    }

    #[test]
    fn answers_of_the_application_are_left_alone() {
        for answer in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\nX-Request-Id: a\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\n\r\n\r\n",
            "{}",
            "\r\n\r\n",
            "",
        ] {
            assert_eq!(find_bare_answer(answer.as_bytes()), None, "{answer:?}");
        }
    }
}
