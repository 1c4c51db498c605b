//! The connection: answers what never becomes a request, and ends what nobody else would.
//!
//! Bytes that are no HTTP, a head that is too large or never ends: actix-http answers those
//! itself, before any middleware, with a bare status. The contract promises a problem with a
//! request id on every answer, so the connection is wrapped, and such a bare answer, which is
//! always the last thing on a connection, leaves as a problem. See ADR 6.
//!
//! actix-http reads on, without a time limit, where a chunked body was not wanted: it waits for
//! the body to end before it closes or reuses the connection. So a connection ends here when too
//! long a time has passed since its last answer, or soon after an error that said `close`. Nor
//! has it a limit for a client that does not read what it asked for: that one is cut.
//!
//! It also takes every request that has arrived into memory, whatever waits to be answered, at
//! some hundred times the bytes that a small one needs. So reading pauses while many requests
//! of the connection have no answer.

mod answers;
mod request_lines;

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
use crate::platform::metrics::{InFlight, Metrics};
use crate::platform::problem::{MEDIA_TYPE, Problem};
use answers::{find_bare_answer, httpdate, is_closing_error};
use request_lines::RequestLines;

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
    metrics: Metrics,
    _counted: InFlight,
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
    pub fn new(stream: TcpStream, ids: Ids, metrics: Metrics, limit: Duration) -> Self {
        let end = Instant::now() + limit;
        Self {
            stream,
            ids,
            _counted: metrics.connection_begins(),
            metrics,
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
        self.metrics.unreadable_request(status.as_u16());
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
