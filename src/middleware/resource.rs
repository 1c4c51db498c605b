//! What every resource has: an answer to wrong methods, a deadline, and a guard against panics.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web;
use actix_web::{Error, FromRequest, Handler, Resource, Responder, Route, guard};

use super::deadline::deadline;
use super::panics::catch_panics;
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
// The guards sit here and not around the whole application: there, holding on to the request,
// which they need to answer it, would keep the router from changing it.
pub fn resource<F, Args>(path: &str, methods: Methods, handler: F) -> Resource<impl Guarded>
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
        .wrap(from_fn(deadline))
        .wrap(from_fn(catch_panics))
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
