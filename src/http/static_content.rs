//! Static responses: pages, scripts, images.
//!
//! Each is held once, and sent without a copy; compressed at the first request that accepts gzip. A
//! client revalidates its copy by the `ETag`, and gets 304 if it is current.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::Duration;

use actix_web::http::header::{
    AcceptEncoding, CacheControl, CacheDirective, ContentEncoding, ETag, Encoding, EntityTag,
    Header, VARY,
};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

use super::conditional::{is_known, tag};

/// Marks a response whose body is shared by all requests: it costs no memory of its own.
#[derive(Debug, Clone, Copy)]
pub struct Shared;

/// Content that does not change as long as the service runs.
pub struct StaticContent {
    content_type: Cow<'static, str>,
    bytes: Bytes,
    prepared: OnceCell<Prepared>,
    max_age: Duration,
}

/// Data derived from the content at the first request for it.
#[derive(Default)]
struct Prepared {
    /// The entity tag.
    tag: String,
    /// The content compressed, if that makes it smaller.
    compressed: Option<Bytes>,
}

impl StaticContent {
    /// Wraps the bytes. Clients may cache them for `max_age` without revalidation.
    #[must_use]
    pub fn new(
        bytes: impl Into<Cow<'static, [u8]>>,
        content_type: impl Into<Cow<'static, str>>,
        max_age: Duration,
    ) -> Self {
        let bytes = match bytes.into() {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        Self {
            content_type: content_type.into(),
            bytes,
            prepared: OnceCell::new(),
            max_age,
        }
    }

    /// The response to a request: the content, or 304.
    pub async fn respond(&self, request: &HttpRequest) -> HttpResponse {
        let Prepared { tag, compressed } = self.prepared().await;
        let compressed = compressed.as_ref().filter(|_| accepts_gzip(request));
        // One tag per representation: a strong tag identifies bytes (RFC 9110, section 8.8.3).
        let tag = match compressed {
            Some(_) => format!("{tag}-gzip"),
            None => tag.clone(),
        };
        let is_known = is_known(request, &tag);
        let mut response = if is_known {
            HttpResponse::NotModified()
        } else {
            HttpResponse::Ok()
        };
        let seconds = u32::try_from(self.max_age.as_secs()).unwrap_or(u32::MAX);
        response
            .insert_header(ETag(EntityTag::new_strong(tag)))
            .insert_header((VARY, "accept-encoding"))
            .insert_header(CacheControl(vec![
                CacheDirective::Public,
                CacheDirective::MaxAge(seconds),
            ]));
        if is_known {
            return response.finish();
        }
        response.content_type(self.content_type.as_ref());
        let body = match compressed {
            Some(compressed) => {
                response.insert_header(ContentEncoding::Gzip);
                compressed.clone()
            }
            None => self.bytes.clone(),
        };
        let mut response = response.body(body);
        response.extensions_mut().insert(Shared);
        response
    }

    async fn prepared(&self) -> &Prepared {
        let prepare = || async {
            let bytes = self.bytes.clone();
            // Takes some milliseconds: not on a thread that serves requests.
            let work = tokio::task::spawn_blocking(move || Prepared {
                tag: tag(&bytes),
                compressed: compress(&bytes),
            });
            work.await.unwrap_or_default()
        };
        self.prepared.get_or_init(prepare).await
    }
}

fn accepts_gzip(request: &HttpRequest) -> bool {
    let offered = [Encoding::identity(), Encoding::gzip()];
    AcceptEncoding::parse(request)
        .is_ok_and(|accepted| accepted.negotiate(offered.iter()) == Some(Encoding::gzip()))
}

fn compress(bytes: &Bytes) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).ok()?;
    let compressed = encoder.finish().ok()?;
    (compressed.len() < bytes.len()).then(|| compressed.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use actix_web::body::to_bytes;
    use actix_web::http::StatusCode;
    use actix_web::test::TestRequest;

    use super::*;

    const TEXT: &[u8] = &[b'a'; 10_000];

    async fn get(content: &StaticContent, headers: &[(&str, &str)]) -> HttpResponse {
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, header| {
                request.append_header(*header)
            });
        content.respond(&request.to_http_request()).await
    }

    fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
        response.headers().get(name)?.to_str().ok()
    }

    #[actix_web::test]
    async fn each_representation_has_its_own_tag() {
        let content = StaticContent::new(TEXT, "text/plain", Duration::from_mins(1));
        let plain = get(&content, &[]).await;
        let gzip = get(&content, &[("accept-encoding", "gzip, br")]).await;
        assert_eq!(header(&plain, "cache-control"), Some("public, max-age=60"));
        assert_eq!(header(&plain, "content-encoding"), None);
        assert_eq!(header(&gzip, "content-encoding"), Some("gzip"));
        assert_eq!(header(&gzip, "vary"), Some("accept-encoding"));
        assert_ne!(header(&plain, "etag"), header(&gzip, "etag"));
        let tag = header(&gzip, "etag").expect("a tag").to_owned();
        let known = [("accept-encoding", "gzip"), ("if-none-match", tag.as_str())];
        let again = get(&content, &known).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, "etag"), Some(tag.as_str()));
        let other = get(&content, &[("if-none-match", tag.as_str())]).await;
        assert_eq!(other.status(), StatusCode::OK);

        assert_eq!(to_bytes(plain.into_body()).await.expect("bytes"), TEXT);
        let body = to_bytes(gzip.into_body()).await.expect("bytes");
        assert!(body.len() < TEXT.len());
        let mut text = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&body[..]);
        decoder.read_to_end(&mut text).expect("gzip");
        assert_eq!(text, TEXT);
    }

    #[actix_web::test]
    async fn incompressible_content_is_sent_uncompressed() {
        let content = StaticContent::new(&b"ab"[..], "text/plain", Duration::ZERO);
        let response = get(&content, &[("accept-encoding", "gzip")]).await;
        assert_eq!(header(&response, "content-encoding"), None);
        let refused = [("accept-encoding", "gzip;q=0")];
        let content = StaticContent::new(TEXT, "text/plain", Duration::ZERO);
        let response = get(&content, &refused).await;
        assert_eq!(header(&response, "content-encoding"), None);
    }
}
