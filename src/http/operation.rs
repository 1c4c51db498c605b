//! Operations: the HTTP operations of a slice, as data.
//!
//! A slice returns a list of them. Everything common to all operations follows from the data, so
//! that a slice cannot forget it: access, the rate limit, the key, the limit of the body, 405 with
//! `Allow`, the deadline, the guard against panics, and their description in the OpenAPI document.

use std::future::Future;
use std::sync::Arc;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use tracing::Span;

use super::json::{BodyLimits, has_body, read_form_or_json, read_json, read_patch};
use super::openapi::Documentation;
use super::problem::{FieldError, Problem, ProblemType};
use crate::access::{Access, Caller, UserCaller};
use crate::config::{Rate, Settings};
use crate::dependencies::Dependencies;
use crate::idempotency::{Begun, Idempotency, IdempotencyKey, Outcome};
use crate::platform::context::RequestContext;
use crate::platform::telemetry::spans;

/// A method that an operation can have. GET implies HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Reads a resource.
    Get,
    /// Does something that is not idempotent.
    Post,
    /// Replaces a resource.
    Put,
    /// Changes part of a resource.
    Patch,
    /// Removes a resource.
    Delete,
}

impl Method {
    /// The methods that a client may send for this one, as `Allow` lists them.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Get => &["GET", "HEAD"],
            Self::Post => &["POST"],
            Self::Put => &["PUT"],
            Self::Patch => &["PATCH"],
            Self::Delete => &["DELETE"],
        }
    }
}

/// The variables of a path: their names and values, in the order of the path.
pub(super) type PathParameters = Vec<(&'static str, String)>;

/// What an operation does with an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// It takes none.
    None,
    /// The outcome is recorded under it.
    Recorded,
    /// The handler uses it, as a refresh does: its session remembers the key.
    Own,
}

/// A request to an operation.
pub struct Call {
    /// The request, without its body.
    pub request: HttpRequest,
    pub(super) parameters: PathParameters,
    /// Who calls; none if the operation is open to every caller.
    pub caller: Option<Caller>,
    /// Its ids, client and deadline.
    pub context: Arc<RequestContext>,
    /// Its key, if the operation is keyed and the client sent one.
    pub(super) key: Option<IdempotencyKey>,
    /// The scope of its key: `POST /signup`.
    pub(super) scope: Arc<str>,
    pub(super) idempotency: Arc<Idempotency>,
    pub(super) payload: Payload,
    pub(super) limits: BodyLimits,
}

impl Call {
    /// A path parameter, with percent-encoded letters and digits decoded; empty if the path has no
    /// such variable.
    #[must_use]
    pub fn path(&self, name: &str) -> &str {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The user who calls an operation that only users may use.
    ///
    /// # Errors
    /// 500 if the operation's access rule admits others.
    pub fn user(&self) -> Result<&UserCaller, Problem> {
        let user = self.caller.as_ref().and_then(Caller::user);
        user.ok_or_else(Problem::internal)
    }

    /// The key of an operation that uses it itself.
    pub fn take_key(&mut self) -> Option<IdempotencyKey> {
        self.key.take()
    }

    /// Looks up the outcome of this request's key. `fields` are its values, in a fixed order: two
    /// requests with the same values, and the same values in the path, are the same.
    ///
    /// # Errors
    /// 409, 422 or 429 if the key was used with another request, or with one that is still running.
    pub async fn begin<O: Outcome>(
        &mut self,
        fields: &[Option<&[u8]>],
    ) -> Result<Begun<O>, Problem> {
        let in_path = self.parameters.iter();
        let fields: Vec<Option<&[u8]>> = in_path
            .map(|(_, value)| Some(value.as_bytes()))
            .chain(fields.iter().copied())
            .collect();
        // Callers choose their keys by themselves.
        let scope = match &self.caller {
            Some(caller) => format!("{} {}", self.scope, caller.actor()).into(),
            None => Arc::clone(&self.scope),
        };
        let begun = self.idempotency.begin(self.key.take(), &scope, &fields);
        Ok(begun.await?)
    }

    /// Reads the body as a JSON object, within the operation's limit, if the request has a body.
    ///
    /// # Errors
    /// Those of [`read_json`].
    pub async fn optional_body<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Problem> {
        if !has_body(&self.request) {
            return Ok(None);
        }
        let body = read_json(&self.request, &mut self.payload, self.limits);
        body.await.map(Some)
    }

    /// Reads the body as a JSON object, within the operation's limit, and validates its fields with
    /// `parse`, which returns all invalid ones.
    ///
    /// # Errors
    /// Those of [`read_json`]; 422 for invalid fields.
    pub async fn validated<T: DeserializeOwned, V>(
        &mut self,
        parse: impl FnOnce(T) -> Result<V, Vec<FieldError>>,
    ) -> Result<V, Problem> {
        let body = read_json(&self.request, &mut self.payload, self.limits).await?;
        validate(body, parse)
    }

    /// The same for a JSON merge patch.
    ///
    /// # Errors
    /// Those of [`Call::validated`].
    pub async fn validated_patch<T: DeserializeOwned, V>(
        &mut self,
        parse: impl FnOnce(T) -> Result<V, Vec<FieldError>>,
    ) -> Result<V, Problem> {
        let body = read_patch(&self.request, &mut self.payload, self.limits).await?;
        validate(body, parse)
    }

    /// The same for a body that may also be a form.
    ///
    /// # Errors
    /// Those of [`Call::validated`].
    pub async fn validated_form<T: DeserializeOwned, V>(
        &mut self,
        parse: impl FnOnce(T) -> Result<V, Vec<FieldError>>,
    ) -> Result<V, Problem> {
        let body = read_form_or_json(&self.request, &mut self.payload, self.limits).await?;
        validate(body, parse)
    }
}

fn validate<T, V>(
    body: T,
    parse: impl FnOnce(T) -> Result<V, Vec<FieldError>>,
) -> Result<V, Problem> {
    let validation = spans::child(&Span::current(), "validation");
    validation
        .in_scope(|| parse(body))
        .map_err(Problem::validation)
}

/// The handler of an operation, for a call.
pub(super) type Respond =
    Arc<dyn Fn(Call) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> + Send + Sync>;

/// Receives the status of each response, [`ABANDONED`](crate::platform::metrics::ABANDONED) if the
/// client disconnected before there was one.
pub(super) type Observe = Arc<dyn Fn(u16) + Send + Sync>;

/// One method of one path.
pub struct Operation {
    pub(super) spec: OperationSpec,
    pub(super) bind: Box<dyn Fn(&Dependencies) -> Respond>,
}

/// An operation without a handler yet.
pub struct OperationSpec {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) key: KeyUse,
    /// In bytes; `None` if there is no body.
    pub(super) body_limit: Option<usize>,
    pub(super) rate_limit: Option<fn(&Settings) -> Option<Rate>>,
    pub(super) user_rate_limit: Option<fn(&Settings) -> Option<Rate>>,
    pub(super) observe: Option<fn(&Dependencies) -> Observe>,
    pub(super) documentation: Option<fn() -> Documentation>,
    pub(super) foreign: ProblemType,
}

impl Operation {
    /// GET of a path, such as `/users/{id}`; it includes HEAD.
    #[must_use]
    pub const fn get(path: &'static str, access: Access) -> OperationSpec {
        Self::of(Method::Get, path, access)
    }

    /// POST of a path.
    #[must_use]
    pub const fn post(path: &'static str, access: Access) -> OperationSpec {
        Self::of(Method::Post, path, access)
    }

    /// An operation of any method.
    #[must_use]
    pub const fn of(method: Method, path: &'static str, access: Access) -> OperationSpec {
        OperationSpec {
            method,
            path,
            access,
            key: KeyUse::None,
            body_limit: None,
            rate_limit: None,
            user_rate_limit: None,
            observe: None,
            documentation: None,
            foreign: ProblemType::NOT_FOUND,
        }
    }

    /// The same operation, left out of the OpenAPI document of its listener.
    #[must_use]
    pub fn undocumented(mut self) -> Self {
        self.spec.documentation = None;
        self
    }

    /// Its method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.spec.method
    }

    /// Its path, with variables in braces.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.spec.path
    }

    /// Its access rule.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.spec.access
    }

    /// Whether it takes an `Idempotency-Key`.
    #[must_use]
    pub const fn is_keyed(&self) -> bool {
        matches!(self.spec.key, KeyUse::Recorded)
    }

    /// The maximum of its body, in bytes; `None` if it takes no body.
    #[must_use]
    pub const fn body_limit(&self) -> Option<usize> {
        self.spec.body_limit
    }

    /// Whether each client or user may call it only so often.
    #[must_use]
    pub const fn is_rate_limited(&self) -> bool {
        self.spec.rate_limit.is_some() || self.spec.user_rate_limit.is_some()
    }
}

impl OperationSpec {
    /// Accepts an `Idempotency-Key`, whose outcome is recorded.
    #[must_use]
    pub const fn keyed(mut self) -> Self {
        self.key = KeyUse::Recorded;
        self
    }

    /// Accepts an `Idempotency-Key` that the handler uses itself, see [`Call::take_key`].
    #[must_use]
    pub const fn own_key(mut self) -> Self {
        self.key = KeyUse::Own;
        self
    }

    /// Accepts a JSON body of at most this many bytes.
    #[must_use]
    pub const fn body(mut self, bytes: usize) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// Limits the rate of calls by each client; the setting is the limit.
    #[must_use]
    pub const fn rate_limited(mut self, rate: fn(&Settings) -> Option<Rate>) -> Self {
        self.rate_limit = Some(rate);
        self
    }

    /// Limits the rate of calls by each user; the setting is the limit.
    #[must_use]
    pub const fn rate_limited_by_user(mut self, rate: fn(&Settings) -> Option<Rate>) -> Self {
        self.user_rate_limit = Some(rate);
        self
    }

    /// Observes the status of each response, 499 if the client disconnected before.
    #[must_use]
    pub const fn observed(mut self, observe: fn(&Dependencies) -> Observe) -> Self {
        self.observe = Some(observe);
        self
    }

    /// The response to a caller who may not see the resource: the same as when there is none.
    #[must_use]
    pub const fn hidden_as(mut self, kind: ProblemType) -> Self {
        self.foreign = kind;
        self
    }

    /// Adds it to the OpenAPI document.
    #[must_use]
    pub const fn documented(mut self, documentation: fn() -> Documentation) -> Self {
        self.documentation = Some(documentation);
        self
    }

    /// Completes the operation. `bind` is called once, with the dependencies of the handler.
    #[must_use]
    pub fn handled_by<H, F>(self, bind: impl Fn(&Dependencies) -> H + 'static) -> Operation
    where
        H: Fn(Call) -> F + Send + Sync + 'static,
        F: Future<Output = Result<HttpResponse, Problem>> + 'static,
    {
        Operation {
            spec: self,
            bind: Box::new(move |dependencies| {
                let handler = bind(dependencies);
                Arc::new(move |call| Box::pin(handler(call)))
            }),
        }
    }
}
