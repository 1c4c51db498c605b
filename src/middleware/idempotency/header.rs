//! The header, read before the body is.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use super::Idempotency;
use crate::domain::IdempotencyKey;
use crate::platform::problem::{Problem, ProblemType};

const NAME: &str = "idempotency-key";

/// The key of a request, if it has one.
pub struct IdempotencyHeader(pub Option<IdempotencyKey>);

impl FromRequest for IdempotencyHeader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request))
    }
}

fn read(request: &HttpRequest) -> Result<IdempotencyHeader, Problem> {
    let lines = request
        .headers()
        .get_all(NAME)
        .map(actix_web::http::header::HeaderValue::as_bytes);
    let key = IdempotencyKey::read(lines).map_err(|invalid| {
        Problem::new(ProblemType::IdempotencyKeyInvalid, invalid.to_string()).closing()
    })?;
    let idempotency: Option<&Data<Idempotency>> = request.app_data();
    let is_required = idempotency.ok_or_else(Problem::internal)?.required;
    if key.is_none() && is_required {
        return Err(Problem::new(
            ProblemType::IdempotencyKeyMissing,
            "Send an Idempotency-Key: a new one for each signup, the same for each try.",
        )
        .closing());
    }
    Ok(IdempotencyHeader(key))
}
