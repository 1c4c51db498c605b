//! Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13.1.2).

use actix_web::body::{BoxBody, MessageBody};
use actix_web::http::header::{
    CACHE_CONTROL, ETAG, Header, HeaderValue, IF_NONE_MATCH, IfNoneMatch,
};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::platform::context::push_hex;

/// For the client that asked only, which asks each time whether its copy is current.
const PRIVATE: &str = "private, no-cache";

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
        && IfNoneMatch::parse(request).is_ok_and(|known| match known {
            IfNoneMatch::Any => true,
            IfNoneMatch::Items(tags) => tags.iter().any(|known| known.tag() == tag),
        })
}

/// A JSON response with its tag, or 304 if the client has it. The client may keep it, but not use
/// it unasked.
pub fn json(request: &HttpRequest, value: &impl Serialize) -> HttpResponse {
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
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(PRIVATE));
    if let Ok(tag) = HeaderValue::try_from(format!("\"{tag}\"")) {
        headers.insert(ETAG, tag);
    }
    response
}
