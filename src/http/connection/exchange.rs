//! The exchange of a request and its response, between hyper and actix-web.
//!
//! The two libraries use different versions of the crate `http`, so names and values are copied.
//! Bodies are streamed piece by piece in both directions.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::error::PayloadError;
use actix_http::{BoxedPayloadStream, ConnectionType, Payload};
use actix_service::Service;
use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http as old;
use actix_web::web::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response, header};
use pin_project_lite::pin_project;

use super::Thread;
use super::connections::{Phase, Place};
use crate::http::static_content::Shared;

/// The size of the pieces of a response body.
pub const PIECE: usize = 16 * 1024;

/// How long a pipelined request may wait for its turn. Then it is served anyway.
const PIPELINED_WAIT: Duration = Duration::from_secs(1);

/// The application, on one of the server's threads.
pub trait App:
    Service<
        actix_http::Request,
        Response = ServiceResponse<Self::Body>,
        Error = actix_web::Error,
        Future: 'static,
    > + 'static
{
    /// The body of a response.
    type Body: MessageBody + 'static;
}

impl<S, B> App for S
where
    S: Service<
            actix_http::Request,
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
            Future: 'static,
        > + 'static,
    B: MessageBody + 'static,
{
    type Body = B;
}

/// The current exchange of a connection.
pub struct Exchange {
    pub place: Place,
    peer: Option<SocketAddr>,
    /// Whether the whole response was passed to hyper.
    is_written: Cell<bool>,
    /// Whether any bytes were ever read.
    has_read: Cell<bool>,
    /// Whether a request has begun since the connection last yielded to others.
    has_begun: Cell<bool>,
    /// Whether a response was sent, and nothing read since: a request that is already there is
    /// pipelined.
    is_behind: Cell<bool>,
    /// Whether the arriving head has a `Content-Length`.
    has_content_length: Cell<bool>,
}

impl Exchange {
    pub fn new(place: Place, peer: Option<SocketAddr>) -> Self {
        Self {
            place,
            peer,
            is_written: Cell::new(false),
            has_read: Cell::new(false),
            has_begun: Cell::new(false),
            is_behind: Cell::new(false),
            has_content_length: Cell::new(false),
        }
    }

    /// It is the connection's turn.
    pub fn turn_begins(&self) {
        self.has_begun.set(false);
    }

    /// Whether any bytes have ever arrived.
    pub fn has_read(&self) -> bool {
        self.has_read.get()
    }

    /// Records bytes that arrived.
    pub fn read(&self, bytes: &[u8]) {
        self.has_read.set(true);
        self.is_behind.set(false);
        match self.place.phase() {
            Phase::Idle => {
                self.place.enter(Phase::Head);
                self.has_content_length.set(has_content_length(bytes));
            }
            Phase::Head => {
                let before = self.has_content_length.get();
                self.has_content_length
                    .set(before || has_content_length(bytes));
            }
            Phase::Serving | Phase::Responding | Phase::Queued => {}
        }
        self.place.read(bytes.len());
    }

    /// Records that everything passed to hyper so far has been flushed.
    pub fn flushed(&self) {
        if self.is_written.get() && self.place.phase() == Phase::Responding {
            self.is_written.set(false);
            self.is_behind.set(true);
            self.place.done();
            self.place.enter(Phase::Idle);
        }
    }
}

/// Whether a head has a `Content-Length`, as far as it is in these bytes. GET requests are skipped.
///
/// A request with both that and a `Transfer-Encoding` may be read as two by another server. hyper
/// uses the encoding and closes the connection after it, as RFC 9112, section 6.3 requires; but it
/// drops the length, so that nothing else shows that such a request should be refused.
fn has_content_length(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    let bytes = &bytes[start.unwrap_or(bytes.len())..];
    if bytes.starts_with(b"GET ") {
        return false;
    }
    bytes
        .split(|byte| *byte == b'\n')
        .skip(1)
        .take_while(|line| *line != b"\r")
        .any(|line| line.len() >= NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
}

/// Passes a request to the application, and returns its response.
pub async fn handle<A: App>(
    thread: Rc<Thread<A>>,
    exchange: Rc<Exchange>,
    request: Request<Incoming>,
) -> Result<Response<Sending<EitherBody<A::Body>>>, Infallible> {
    let _turn = if exchange.has_begun.replace(true) || exchange.is_behind.get() {
        exchange.place.enter(Phase::Queued);
        // One request per turn, on few connections at a time: clients that pipeline must not keep
        // the thread from others, nor fill the database queues.
        tokio::task::yield_now().await;
        let turn = tokio::time::timeout(PIPELINED_WAIT, thread.pipelined.acquire()).await;
        exchange.has_begun.set(true);
        turn.ok()
    } else {
        None
    };
    exchange.place.enter(Phase::Serving);
    let is_read = Rc::new(Cell::new(true));
    let is_ambiguous = exchange.has_content_length.take()
        && request.headers().contains_key(header::TRANSFER_ENCODING);
    let request = if is_ambiguous {
        None
    } else {
        received(request, exchange.peer, &is_read)
    };
    let Some(request) = request else {
        return Ok(unreadable(exchange));
    };
    let response = match thread.app.call(request).await {
        Ok(response) => {
            actix_http::Response::from(response).map_body(|_, body| EitherBody::left(body))
        }
        Err(error) => actix_http::Response::from(error.error_response())
            .map_body(|_, body| EitherBody::right(body)),
    };
    let bytes = bytes_of(response.body().size());
    poll_fn(|cx| exchange.place.poll_room(bytes, cx)).await;
    Ok(sent(exchange, response, is_read.get()))
}

/// The size of a body, as far as it is held at a time.
fn bytes_of(size: BodySize) -> usize {
    match size {
        BodySize::None => 0,
        BodySize::Sized(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        BodySize::Stream => PIECE,
    }
}

/// A bare 400, which the connection replaces by a problem.
fn unreadable<B>(exchange: Rc<Exchange>) -> Response<Sending<EitherBody<B>>> {
    let mut response = Response::new(Sending {
        body: EitherBody::right(actix_web::body::BoxBody::new(())),
        size: BodySize::None,
        rest: Bytes::new(),
        written: Written(exchange),
    });
    *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
    response.headers_mut().insert(
        header::CONNECTION,
        header::HeaderValue::from_static("close"),
    );
    response
}

/// The request for actix-web; `None` if its parts are invalid there. `is_read` reports from then on
/// whether its body has been read to the end.
fn received(
    request: Request<Incoming>,
    peer: Option<SocketAddr>,
    is_read: &Rc<Cell<bool>>,
) -> Option<actix_http::Request> {
    let (parts, body) = request.into_parts();
    let payload = if body.is_end_stream() {
        Payload::None
    } else {
        is_read.set(false);
        let body: BoxedPayloadStream = Box::pin(Receiving {
            body,
            is_read: Rc::clone(is_read),
        });
        Payload::Stream { payload: body }
    };
    let mut converted = actix_http::Request::with_payload(payload);
    let head = converted.head_mut();
    head.method = old::Method::from_bytes(parts.method.as_str().as_bytes()).ok()?;
    head.uri = match (parts.uri.scheme(), parts.uri.path_and_query()) {
        (None, Some(path)) if parts.uri.authority().is_none() => {
            old::Uri::from_maybe_shared(Bytes::copy_from_slice(path.as_str().as_bytes())).ok()?
        }
        _ => parts.uri.to_string().parse().ok()?,
    };
    head.version = match parts.version {
        hyper::Version::HTTP_10 => old::Version::HTTP_10,
        _ => old::Version::HTTP_11,
    };
    for (name, value) in &parts.headers {
        head.headers.append(
            old::header::HeaderName::from_bytes(name.as_str().as_bytes()).ok()?,
            old::header::HeaderValue::from_bytes(value.as_bytes()).ok()?,
        );
    }
    head.peer_addr = peer;
    Some(converted)
}

/// The response for hyper. A connection with an unread body is closed, and the response says so.
fn sent<B: MessageBody>(
    exchange: Rc<Exchange>,
    response: actix_http::Response<B>,
    is_read: bool,
) -> Response<Sending<B>> {
    let shared = response.extensions().contains::<Shared>();
    let (head, body) = response.into_parts();
    let size = body.size();
    let bytes = bytes_of(size);
    let own = if shared { bytes.min(PIECE) } else { bytes };
    exchange.is_written.set(false);
    exchange.place.enter(Phase::Responding);
    exchange.place.respond(bytes, own);
    let closes = !is_read || head.head().connection_type() == ConnectionType::Close;
    let mut converted = Response::new(Sending {
        body,
        size,
        rest: Bytes::new(),
        written: Written(exchange),
    });
    *converted.status_mut() = hyper::StatusCode::from_u16(head.status().as_u16())
        .unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = converted.headers_mut();
    headers.reserve(head.headers().len() + 1);
    for (name, value) in head.headers() {
        // A value valid in one version is valid in the other: both follow RFC 9110, section 5.
        if let (Some(name), Ok(value)) = (
            name_of(name.as_str()),
            header::HeaderValue::from_bytes(value.as_bytes()),
        ) {
            headers.append(name, value);
        }
    }
    if closes {
        headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("close"),
        );
    }
    converted
}

/// The headers of most responses: a name that is not parsed again.
static USUAL: [header::HeaderName; 10] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ETAG,
    header::HeaderName::from_static("x-request-id"),
    header::HeaderName::from_static("x-correlation-id"),
    header::HeaderName::from_static("traceresponse"),
    header::X_CONTENT_TYPE_OPTIONS,
    header::VARY,
    header::DATE,
    header::LOCATION,
];

fn name_of(name: &str) -> Option<header::HeaderName> {
    let known = USUAL.iter().find(|known| known.as_str() == name).cloned();
    known.or_else(|| header::HeaderName::from_bytes(name.as_bytes()).ok())
}

/// The body of a request, for actix-web.
struct Receiving {
    body: Incoming,
    is_read: Rc<Cell<bool>>,
}

impl Stream for Receiving {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            return Poll::Ready(match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    // Trailers have no meaning here.
                    Err(_) => continue,
                },
                Some(Err(_)) => Some(Err(PayloadError::EncodingCorrupted)),
                None => {
                    self.is_read.set(true);
                    None
                }
            });
        }
    }
}

/// When dropped, the whole response was passed to hyper, or the rest is not wanted.
struct Written(Rc<Exchange>);

impl Drop for Written {
    fn drop(&mut self) {
        self.0.is_written.set(true);
    }
}

pin_project! {
    /// The body of a response, for hyper.
    pub struct Sending<B> {
        #[pin]
        body: B,
        size: BodySize,
        rest: Bytes,
        written: Written,
    }
}

impl<B: MessageBody> Body for Sending<B> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if this.rest.is_empty() {
            *this.rest = match ready!(this.body.poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => {
                    let error: Box<dyn std::error::Error> = error.into();
                    return Poll::Ready(Some(Err(std::io::Error::other(error.to_string()))));
                }
            };
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.size, BodySize::None | BodySize::Sized(0))
    }

    fn size_hint(&self) -> SizeHint {
        match self.size {
            BodySize::None => SizeHint::with_exact(0),
            BodySize::Sized(bytes) => SizeHint::with_exact(bytes),
            BodySize::Stream => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_length_is_found_in_the_head_only() {
        for (bytes, expected) in [
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", true),
            ("\r\n\r\nPOST / HTTP/1.1\r\ncontent-LENGTH:5\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nX: content-length: 5\r\n\r\n", false),
            ("POST / HTTP/1.1\r\n\r\n\r\ncontent-length: 5", false),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(has_content_length(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
