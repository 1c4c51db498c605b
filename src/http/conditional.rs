//! Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13.1.2).

use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::http::Method;
use actix_web::http::header::{
    CACHE_CONTROL, ETAG, EntityTag, Header, HeaderValue, IF_MATCH, IF_NONE_MATCH, IfMatch,
    IfNoneMatch,
};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::platform::context::push_hex;

/// Who may keep a response, and for how long without asking whether it is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// The client that asked only, which asks each time.
    Private,
    /// Every cache, for this time.
    Public(Duration),
}

impl CachePolicy {
    /// The value of `Cache-Control`.
    fn value(self) -> Option<HeaderValue> {
        match self {
            Self::Private => Some(HeaderValue::from_static("private, no-cache")),
            Self::Public(time) => {
                let text = format!("public, max-age={}", time.as_secs());
                HeaderValue::try_from(text).ok()
            }
        }
    }
}

/// The text of a strong tag for these bytes: the same on every instance.
#[must_use]
pub fn tag(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut text = String::with_capacity(digest.len());
    if let Some(half) = digest.first_chunk::<16>() {
        push_hex(&mut text, *half);
    }
    text
}

/// Whether the client has the representation with this tag.
#[must_use]
pub fn is_known(request: &HttpRequest, tag: &str) -> bool {
    // Most requests are not conditional. Tags are compared weakly (RFC 9110, section 13.1.2).
    request.headers().contains_key(IF_NONE_MATCH)
        && matches!(*request.method(), Method::GET | Method::HEAD)
        && IfNoneMatch::parse(request).is_ok_and(|known| match known {
            IfNoneMatch::Any => true,
            IfNoneMatch::Items(tags) => tags.iter().any(|known| known.tag() == tag),
        })
}

/// The representations that a client wants to change: `If-Match` (RFC 9110, section 13.1.1).
pub struct Expected(IfMatch);

/// Which representations the client of this request wants to change: any, if it does not say.
#[must_use]
pub fn expected(request: &HttpRequest) -> Expected {
    if !request.headers().contains_key(IF_MATCH) {
        return Expected(IfMatch::Any);
    }
    // One that cannot be read is met by none.
    Expected(IfMatch::parse(request).unwrap_or(IfMatch::Items(Vec::new())))
}

impl Expected {
    /// Whether this is one of them, by the tag of its JSON. Tags are compared strongly.
    #[must_use]
    pub fn is_met_by(&self, value: &impl Serialize) -> bool {
        match &self.0 {
            IfMatch::Any => true,
            IfMatch::Items(tags) => serde_json::to_vec(value).is_ok_and(|bytes| {
                let now = EntityTag::new_strong(tag(&bytes));
                tags.iter().any(|tag| tag.strong_eq(&now))
            }),
        }
    }
}

/// A JSON response with its tag, or 304 if the client has it. The client may keep it, but not use
/// it unasked.
pub fn json(request: &HttpRequest, value: &impl Serialize) -> HttpResponse {
    json_for(request, value, CachePolicy::Private)
}

/// The same, for those that the policy says.
pub fn json_for(
    request: &HttpRequest,
    value: &impl Serialize,
    policy: CachePolicy,
) -> HttpResponse {
    let response = HttpResponse::Ok().json(value);
    if !response.status().is_success() {
        return response;
    }
    let (head, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Ok(body) => body,
        Err(body) => return head.set_body(body),
    };
    let tag = tag(&body);
    let mut response = if is_known(request, &tag) {
        HttpResponse::NotModified().finish()
    } else {
        head.set_body(BoxBody::new(body))
    };
    let headers = response.headers_mut();
    if let Some(value) = policy.value() {
        headers.insert(CACHE_CONTROL, value);
    }
    if let Ok(tag) = HeaderValue::try_from(format!("\"{tag}\"")) {
        headers.insert(ETAG, tag);
    }
    response
}
