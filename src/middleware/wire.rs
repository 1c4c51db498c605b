//! Answers what never becomes a request.
//!
//! Bytes that are no HTTP, a head that is too large or never ends: actix-http answers those
//! itself, before any middleware, with a bare status. The contract promises a problem with a
//! request id on every answer, so the connection is wrapped, and such a bare answer, which is
//! always the last thing on a connection, leaves as a problem. See ADR 6.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::rt::net::{ActixStream, TcpStream};
use actix_web::ResponseError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, Ready};

use super::request_context::Ids;
use crate::platform::problem::{MEDIA_TYPE, Problem, ProblemType};

/// The longest bare answer: a status line, `content-length`, `connection` and `date`.
const MAX_BARE_ANSWER: usize = 256;

/// A connection of the HTTP server.
pub struct Wire {
    stream: TcpStream,
    ids: Ids,
    replacement: Option<Replacement>,
}

struct Replacement {
    bytes: Vec<u8>,
    written: usize,
    /// How many bytes of the caller's it stands for.
    stands_for: usize,
}

impl Wire {
    /// Wraps a connection.
    #[must_use]
    pub fn new(stream: TcpStream, ids: Ids) -> Self {
        Self {
            stream,
            ids,
            replacement: None,
        }
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
            self.replacement = self.replace(buffer);
        }
        let this = &mut *self;
        let Some(replacement) = &mut this.replacement else {
            return Pin::new(&mut this.stream).poll_write(cx, buffer);
        };
        while replacement.written < replacement.bytes.len() {
            let rest = &replacement.bytes[replacement.written..];
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            replacement.written += written;
        }
        let stands_for = replacement.stands_for;
        this.replacement = None;
        Poll::Ready(Ok(stands_for))
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
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl ActixStream for Wire {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.stream, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.stream, cx)
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
