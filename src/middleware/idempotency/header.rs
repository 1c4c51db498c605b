//! The header, read before the body is.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::domain::IdempotencyKey;
use crate::platform::problem::{Problem, ProblemType};

const NAME: &str = "idempotency-key";

/// The key of a request, if it has one.
pub struct IdempotencyHeader(pub Option<IdempotencyKey>);

impl FromRequest for IdempotencyHeader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let lines = request
            .headers()
            .get_all(NAME)
            .map(actix_web::http::header::HeaderValue::as_bytes);
        ready(IdempotencyKey::read(lines).map(Self).map_err(|invalid| {
            Problem::new(ProblemType::IdempotencyKeyInvalid, invalid.to_string()).closing()
        }))
    }
}
