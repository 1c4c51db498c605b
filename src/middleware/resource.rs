//! What every resource has: a name for the figures, an answer to wrong methods, a deadline, and
//! a guard against panics.

use std::panic::AssertUnwindSafe;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{
    Error, FromRequest, Handler, Resource, Responder, ResponseError, Route, guard, web,
};
use futures_util::FutureExt;

use crate::platform::context;
use crate::platform::problem::Problem;

/// The methods that a resource answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// GET, and HEAD as HTTP wants it.
    Get,
    /// POST.
    Post,
}

impl Methods {
    fn route(self) -> Route {
        match self {
            Self::Get => web::route().guard(guard::Any(guard::Get()).or(guard::Head())),
            Self::Post => web::post(),
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
        }
    }
}

/// A resource that answers these methods by the handler, and 405 to the rest.
// The guard sits here and not around the whole application: there, holding on to the request,
// which it needs to answer it, would keep the router from changing it.
pub fn resource<F, Args>(path: &'static str, methods: Methods, handler: F) -> Resource<impl Guarded>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder<Body: MessageBody> + 'static,
{
    web::resource(path)
        .route(methods.route().to(handler))
        .default_service(web::to(move || async move {
            Err::<&'static str, _>(Problem::method_not_allowed(methods.allow()))
        }))
        .wrap(from_fn(move |request, next| guarded(path, request, next)))
}

/// The service behind a resource.
pub trait Guarded:
    ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    > + 'static
{
}

impl<T> Guarded for T where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<BoxBody>,
            Error = Error,
            InitError = (),
        > + 'static
{
}

/// Answers 500 where the handler panics, and 503 where it is not done by the deadline: the
/// outcome is then unknown. Work that must not be cut in half runs on in a task of its own.
async fn guarded<B: MessageBody + 'static>(
    path: &'static str,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let http = request.request().clone();
    let deadline = context::with_current(|context| {
        context.map(|context| {
            let _ = context.route.set(path);
            context.deadline
        })
    });
    // The request's state is dropped with its future; what it shares guards itself.
    let handler = AssertUnwindSafe(next.call(request)).catch_unwind();
    let outcome = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), handler).await,
        None => Ok(handler.await),
    };
    Ok(match outcome {
        Ok(Ok(Ok(response))) => response.map_into_boxed_body(),
        Ok(Ok(Err(error))) => ServiceResponse::new(http, error.error_response()),
        // The panic hook has logged it by now.
        Ok(Err(_panic)) => {
            ServiceResponse::new(http, Problem::internal().closing().error_response())
        }
        Err(_elapsed) => {
            tracing::warn!("the request did not end by its deadline");
            ServiceResponse::new(http, Problem::unavailable().closing().error_response())
        }
    })
}
