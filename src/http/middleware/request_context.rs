//! Request ids: taken from the client or generated, and sent in every response and log line.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;

use super::client::TrustedProxies;
use crate::platform::clock::{self, Clock, Randomness, uuid_v7};
use crate::platform::context::{self, RequestContext};
use crate::platform::telemetry::{Headers, Sampling};

/// The header of the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of the correlation id, which is shared by related requests.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The request's trace and span, for its client (W3C Trace Context, level 3 draft).
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// The longest id that is accepted from a client.
pub(super) const MAX_ID: usize = 128;

/// Generates ids for requests without one.
#[derive(Clone)]
pub struct RequestIds {
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl RequestIds {
    /// Generates ids by this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Self {
        Self { clock, randomness }
    }

    /// The current time of the clock.
    #[must_use]
    pub fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.clock.now()
    }

    /// A new id.
    #[must_use]
    pub fn make(&self) -> String {
        uuid_v7(self.clock.now(), self.randomness.as_ref()).to_string()
    }
}

/// Serves a request within its context.
///
/// # Errors
/// Those of the inner service.
pub async fn request_context<B: MessageBody>(
    ids: RequestIds,
    sampling: Sampling,
    proxies: TrustedProxies,
    timeout: Duration,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let request_id = taken(request.headers(), &REQUEST_ID).unwrap_or_else(|| ids.make());
    let correlation_id =
        taken(request.headers(), &CORRELATION_ID).unwrap_or_else(|| request_id.clone());
    let client = request
        .peer_addr()
        .map(|peer| proxies.client(peer, request.headers()));
    let is_trusted = client.is_some_and(|client| client.through_trusted_proxy);
    let context = Arc::new(RequestContext {
        request_id,
        correlation_id,
        client,
        deadline: clock::monotonic() + timeout,
        route: OnceLock::new(),
        trace: sampling.begin(request.headers(), is_trusted),
    });
    // The inner service starts inside the context, too.
    let served = async { next.call(request).await };
    let mut response = context::scope(Arc::clone(&context), served).await?;
    put(response.headers_mut(), REQUEST_ID, &context.request_id);
    put(
        response.headers_mut(),
        CORRELATION_ID,
        &context.correlation_id,
    );
    let place = context.trace.as_header();
    put(response.headers_mut(), TRACE_RESPONSE, &place);
    Ok(response)
}

impl Headers for HeaderMap {
    fn lines<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).map(HeaderValue::as_bytes)
    }
}

/// An id from the client: 1 to 128 visible ASCII characters, sent once.
fn taken(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name);
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.as_bytes();
    let fits = (1..=MAX_ID).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    fits.then(|| String::from_utf8_lossy(value).into_owned())
}

fn put(headers: &mut HeaderMap, name: HeaderName, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(name, value);
    }
}
