//! Request bodies, read within limits: JSON objects, and forms where a standard wants them.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::error::QueryPayloadError;
use actix_web::http::header;
use actix_web::web::{Payload, Query};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::problem::{Problem, ProblemType};
use crate::platform::clock;
use crate::platform::context;

/// Limits on the size of a body and the time to read it.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The largest body, in bytes.
    pub bytes: usize,
    /// How long the whole body may take to arrive.
    pub time: Duration,
}

/// Reads a JSON object; refuses duplicate fields, and unknown ones if `T` denies them.
///
/// # Errors
/// 415 for another media type, 413 over the limit (before reading the rest), 408 when the body is
/// late, 400 when it is not valid JSON for `T`.
pub async fn read_json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: &mut Payload,
    limits: BodyLimits,
) -> Result<T, Problem> {
    if media_type(request).as_deref() != Some(JSON) {
        return Err(unsupported(
            "Send the body with the header Content-Type: application/json.",
        ));
    }
    let body = read_body(request, payload, limits).await?;
    parse_object(&body)
}

/// Reads a form or a JSON object, by its media type, as [`read_json`] does. A form has the names and
/// values of the fields, percent-encoded.
///
/// # Errors
/// Those of [`read_json`].
pub async fn read_form_or_json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: &mut Payload,
    limits: BodyLimits,
) -> Result<T, Problem> {
    match media_type(request).as_deref() {
        Some(JSON) => read_json(request, payload, limits).await,
        Some(FORM) => {
            let body = read_body(request, payload, limits).await?;
            parse_form(&body)
        }
        _ => Err(unsupported(
            "Send the body with the header Content-Type: application/x-www-form-urlencoded, or \
             application/json.",
        )),
    }
}

/// A field of a JSON merge patch: one that is missing is not the same as null (RFC 7396, section 1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Patched<T> {
    /// It stays. Needs `#[serde(default)]` on the field.
    #[default]
    Missing,
    /// It is removed.
    Null,
    /// It is replaced.
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patched<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Option::deserialize(from)?;
        Ok(value.map_or(Self::Null, Self::Set))
    }
}

/// Reads a JSON merge patch (RFC 7396), which may also be sent as `application/json`, as [`read_json`]
/// does.
///
/// # Errors
/// Those of [`read_json`].
pub async fn read_patch<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: &mut Payload,
    limits: BodyLimits,
) -> Result<T, Problem> {
    if !matches!(media_type(request).as_deref(), Some(PATCH | JSON)) {
        return Err(unsupported(
            "Send the body with the header Content-Type: application/merge-patch+json, or \
             application/json.",
        ));
    }
    let body = read_body(request, payload, limits).await?;
    parse_object(&body)
}

/// The media type of JSON merge patches.
pub const PATCH: &str = "application/merge-patch+json";

/// The media type of forms.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// The media type of JSON.
pub const JSON: &str = "application/json";

fn unsupported(detail: &'static str) -> Problem {
    Problem::new(ProblemType::UNSUPPORTED_MEDIA_TYPE, detail).closing()
}

/// Whether a request has a body (RFC 9112, section 6.3).
#[must_use]
pub fn has_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// The media type of the body, in lower case; `None` if there is not exactly one.
fn media_type(request: &HttpRequest) -> Option<String> {
    let mut values = request.headers().get_all(header::CONTENT_TYPE);
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let media_type = value.to_str().ok()?.split(';').next()?;
    Some(media_type.trim().to_ascii_lowercase())
}

async fn read_body(
    request: &HttpRequest,
    payload: &mut Payload,
    limits: BodyLimits,
) -> Result<Vec<u8>, Problem> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(unsupported("Send the body without a Content-Encoding."));
    }
    let too_large = || {
        Problem::new(
            ProblemType::PAYLOAD_TOO_LARGE,
            format!("The body is over {} bytes.", limits.bytes),
        )
        .closing()
    };
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.bytes as u64) {
        return Err(too_large());
    }
    let read = async {
        let mut body = Vec::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| {
                Problem::new(
                    ProblemType::MALFORMED_REQUEST,
                    "The body ended early or is not encoded as its headers say.",
                )
                .closing()
            })?;
            if body.len() + chunk.len() > limits.bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    // The request's own deadline would report that the outcome is unknown, which it is not.
    let rest = context::with_current(|context| {
        context.map(|context| {
            context
                .deadline
                .saturating_duration_since(clock::monotonic())
        })
    });
    let time = rest.map_or(limits.time, |rest| limits.time.min(rest * 9 / 10));
    match tokio::time::timeout(time, read).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(
            ProblemType::REQUEST_TIMEOUT,
            format!("The body took over {} ms to arrive.", time.as_millis()),
        )
        .closing()),
    }
}

/// Parses a JSON object from a whole body, as [`read_json`] does.
///
/// # Errors
/// 400 when it is not valid JSON for `T`. The text never repeats a value.
pub fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let malformed = |detail: String| Problem::new(ProblemType::MALFORMED_REQUEST, detail);
    if std::str::from_utf8(body).is_err() {
        return Err(malformed("The body is not UTF-8.".to_owned()));
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None => return Err(malformed("The body is empty.".to_owned())),
        // serde would also deserialize a struct from an array, in the order of its fields.
        Some(b'{') => {}
        Some(_) => return Err(malformed("The body is not a JSON object.".to_owned())),
    }
    serde_json::from_slice(body).map_err(|error| {
        let otherwise = if error.is_data() {
            "A field has the wrong type"
        } else {
            "The body is not valid JSON"
        };
        let what = what_is_wrong(&error.to_string(), otherwise);
        malformed(format!(
            "{what}, at line {}, column {}.",
            error.line(),
            error.column()
        ))
    })
}

/// Parses a form from a whole body.
fn parse_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let malformed = |detail: String| Problem::new(ProblemType::MALFORMED_REQUEST, detail);
    let text = std::str::from_utf8(body);
    let text = text.map_err(|_| malformed("The body is not UTF-8.".to_owned()))?;
    let parsed = Query::<T>::from_query(text).map(Query::into_inner);
    parsed.map_err(|error| {
        let error = match &error {
            QueryPayloadError::Deserialize(error) => error.to_string(),
            _ => String::new(),
        };
        let what = what_is_wrong(&error, "The body is not a valid form");
        malformed(format!("{what}."))
    })
}

/// What is wrong with a body. The deserializer's own text may contain a value, and a value may be a
/// password.
fn what_is_wrong(error: &str, otherwise: &'static str) -> &'static str {
    if error.starts_with("duplicate field") {
        "A field is repeated"
    } else if error.starts_with("unknown field") {
        "A field is unknown"
    } else {
        otherwise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq, Eq)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        token: Option<String>,
        hint: Option<String>,
    }

    #[test]
    fn a_form_is_read_as_the_same_object_would_be() {
        let read = |body: &[u8]| parse_form::<Fields>(body).map_err(|error| error.to_string());
        let fields = |token: Option<&str>| Fields {
            token: token.map(str::to_owned),
            hint: None,
        };
        assert_eq!(read(b"token=a%20b+c"), Ok(fields(Some("a b c"))));
        assert_eq!(read(b"token="), Ok(fields(Some(""))));
        assert_eq!(read(b""), Ok(fields(None)));
        for (body, what) in [
            (&b"token=a&token=secret"[..], "A field is repeated."),
            (b"token=a&secret=b", "A field is unknown."),
            (b"\xff", "The body is not UTF-8."),
        ] {
            assert_eq!(read(body), Err(format!("malformed-request: {what}")));
        }
    }
}
