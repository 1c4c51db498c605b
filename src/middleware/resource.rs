//! What every resource has: an answer to wrong methods, a deadline, and a guard against panics.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web;
use actix_web::{Error, FromRequest, Handler, Resource, Responder, Route, guard};

use super::deadline::deadline;
use super::panics::catch_panics;
use crate::platform::problem::Problem;

/// A resource that answers GET and HEAD, and 405 to the rest.
pub fn get<F, Args>(path: &str, handler: F) -> Resource<impl Guarded>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder<Body: MessageBody> + 'static,
{
    let route = web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    resource(path, route.to(handler), "GET, HEAD")
}

/// A resource that answers POST, and 405 to the rest.
pub fn post<F, Args>(path: &str, handler: F) -> Resource<impl Guarded>
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder<Body: MessageBody> + 'static,
{
    resource(path, web::post().to(handler), "POST")
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

// The guards sit here and not around the whole application: there, holding on to the request,
// which they need to answer it, would keep the router from changing it.
fn resource(path: &str, route: Route, allow: &'static str) -> Resource<impl Guarded> {
    web::resource(path)
        .route(route)
        .default_service(web::to(move || async move {
            Err::<&'static str, _>(Problem::method_not_allowed(allow))
        }))
        .wrap(from_fn(deadline))
        .wrap(from_fn(catch_panics))
}
