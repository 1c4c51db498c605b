//! `POST /signup`: makes an account.
//!
//! The endpoint parses and validates, the command hashes the password and then hands everything
//! that must commit together to the store.

pub mod command;
mod endpoint;
pub mod store;

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, web};

use crate::middleware::rate_limit::RateLimit;
use crate::middleware::resource::{Methods, resource};
use crate::platform::body::BodyLimits;
use crate::platform::metrics::{ABANDONED, Metrics};
use crate::slice::{Platform, Routes};

pub use endpoint::{SignUpRequest, api};

/// The largest body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// The slice's resource.
pub fn routes(platform: &Platform) -> Routes {
    let endpoint = web::Data::new(endpoint::Endpoint {
        handler: command::SignUpHandler {
            hasher: Arc::clone(&platform.hasher),
            store: store::SignupStore::new(platform.database.clone()),
            clock: Arc::clone(&platform.clock),
            randomness: Arc::clone(&platform.randomness),
            write_reserve: platform.settings.http.request_timeout / 5,
        },
        idempotency: Arc::clone(&platform.idempotency),
        rate_limit: platform.settings.signup_rate.map(RateLimit::new),
        metrics: platform.metrics.clone(),
        limits: BodyLimits {
            bytes: MAX_BODY,
            time: platform.settings.http.read_timeout,
        },
    });
    let metrics = platform.metrics.clone();
    Arc::new(move |config| {
        let metrics = metrics.clone();
        config.app_data(endpoint.clone()).service(
            resource("/signup", Methods::Post, endpoint::sign_up).wrap(from_fn(
                move |request, next| counted(metrics.clone(), request, next),
            )),
        );
    })
}

/// Counts the answer, whoever gave it; or that there was none.
async fn counted<B: MessageBody>(
    metrics: Metrics,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if request.method() != Method::POST {
        return next.call(request).await;
    }
    let mut signup = Counted {
        metrics,
        status: ABANDONED,
    };
    let response = next.call(request).await?;
    signup.status = response.status().as_u16();
    Ok(response)
}

/// Counts a signup when it is dropped.
struct Counted {
    metrics: Metrics,
    status: u16,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.signup(self.status);
    }
}
