//! Whether a client prefers a page to JSON, by its `Accept` header (RFC 9110, section 12.5.1).

use actix_web::http::header::{self, HeaderMap, q};
use actix_web::mime::{self, Mime};

/// The longest `Accept` that is parsed, in bytes of all its lines. Those of browsers are shorter,
/// and a client must not be able to cause much work.
const MAX_BYTES: usize = 1024;

/// Whether HTML is preferred to every kind of JSON. It is not if there is no header, or if both are
/// equally preferred: many programs send no preference.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let lines = || headers.get_all(header::ACCEPT);
    if lines().map(header::HeaderValue::len).sum::<usize>() > MAX_BYTES {
        return false;
    }
    let ranges: Vec<header::QualityItem<Mime>> =
        header::from_comma_delimited(lines()).unwrap_or_default();
    // The quality of a type is that of the most specific range that matches it.
    let quality = |essence: &str| {
        let fits = |range: &Mime| match (range.type_(), range.subtype()) {
            (mime::STAR, _) => Some(0),
            (kind, mime::STAR) => (essence.split('/').next() == Some(kind.as_str())).then_some(1),
            _ => (range.essence_str() == essence).then_some(2),
        };
        ranges
            .iter()
            .filter_map(|range| Some((fits(&range.item)?, range.quality)))
            .max_by_key(|(specific, _)| *specific)
            .map_or(q(0.0), |(_, quality)| quality)
    };
    quality("text/html") > quality("application/json").max(quality("application/problem+json"))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    // Firefox, Chromium and Safari.
    #[case(
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        true
    )]
    #[case(
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
        true
    )]
    #[case("text/html", true)]
    #[case("TEXT/HTML; charset=utf-8", true)]
    #[case("text/*", true)]
    #[case("application/json;q=0.5, text/html;q=0.6", true)]
    #[case("*/*;q=0.1, text/html;q=0.2", true)]
    #[case("*/*", false)]
    #[case("", false)]
    #[case("application/json", false)]
    #[case("text/html, application/json", false)]
    #[case("text/html;q=0.9, application/problem+json", false)]
    #[case("text/html;q=0, */*", false)]
    #[case("text/html;q=0", false)]
    #[case("image/png", false)]
    #[case("text/html;q=nonsense", false)]
    #[case("nonsense", false)]
    fn a_page_is_for_clients_that_prefer_one(#[case] accept: &str, #[case] page: bool) {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(accept).expect("a value");
        headers.insert(header::ACCEPT, value);
        assert_eq!(prefers_html(&headers), page, "{accept}");
    }

    #[test]
    fn a_missing_or_oversized_header_means_json() {
        let mut headers = HeaderMap::new();
        assert!(!prefers_html(&headers));
        for _ in 0..200 {
            headers.append(header::ACCEPT, HeaderValue::from_static("text/html"));
        }
        assert!(!prefers_html(&headers));
    }
}
