//! Operations: what a slice offers over HTTP, as data.
//!
//! A slice returns a list of them. Everything that is the same for all operations follows from the
//! data and from nothing that a slice would have to remember: who may call it, the rate limit, the
//! key, the limit of the body, 405 with `Allow`, the deadline, the guard against panics, and what the
//! OpenAPI document says of these.

use std::future::Future;
use std::sync::Arc;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use tracing::Span;

use super::json::{BodyLimits, read_json};
use super::openapi::Documentation;
use super::problem::{FieldError, Problem};
use crate::access::Access;
use crate::config::{Rate, Settings};
use crate::dependencies::Dependencies;
use crate::idempotency::{Begun, Idempotency, IdempotencyKey, Outcome};
use crate::platform::context::RequestContext;
use crate::platform::telemetry::spans;

/// A method that an operation can have. HEAD is answered wherever GET is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Does something that repeated does more.
    Post,
    /// Replaces.
    Put,
    /// Changes a part.
    Patch,
    /// Removes.
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

/// A request to an operation.
pub struct Call {
    /// The request, without its body.
    pub request: HttpRequest,
    /// Its ids, its client and its deadline.
    pub context: Arc<RequestContext>,
    /// Its key, where the operation is keyed and the client sent one.
    pub(super) key: Option<IdempotencyKey>,
    /// What its key is used on: `POST /signup`.
    pub(super) scope: Arc<str>,
    pub(super) idempotency: Arc<Idempotency>,
    pub(super) payload: Payload,
    pub(super) limits: BodyLimits,
}

impl Call {
    /// A variable of the path, with its escapes of letters and digits read.
    #[must_use]
    pub fn path(&self, name: &str) -> &str {
        self.request.match_info().query(name)
    }

    /// Looks what the key of this request came to. `fields` are its values, in an order of their own:
    /// they are what makes two requests the same.
    ///
    /// # Errors
    /// 409, 422 or 429 where the key stands for something else, or for something that is running.
    pub async fn begin<O: Outcome>(
        &mut self,
        fields: &[Option<&[u8]>],
    ) -> Result<Begun<O>, Problem> {
        let begun = self.idempotency.begin(self.key.take(), &self.scope, fields);
        Ok(begun.await?)
    }

    /// Reads the body as a JSON object, within the operation's limit, and then its fields, of which
    /// `parse` returns all that break their rules.
    ///
    /// # Errors
    /// Those of [`read_json`]; 422 where fields break their rules.
    pub async fn validated<T: DeserializeOwned, V>(
        &mut self,
        parse: impl FnOnce(T) -> Result<V, Vec<FieldError>>,
    ) -> Result<V, Problem> {
        let body = read_json(&self.request, &mut self.payload, self.limits).await?;
        let validation = spans::child(&Span::current(), "validation");
        validation
            .in_scope(|| parse(body))
            .map_err(Problem::validation)
    }
}

/// What an operation does with a call.
pub(super) type Respond =
    Arc<dyn Fn(Call) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> + Send + Sync>;

/// Is told the status of each response, [`ABANDONED`](crate::platform::metrics::ABANDONED) where
/// the client left before there was one.
pub(super) type Observe = Arc<dyn Fn(u16) + Send + Sync>;

/// One method of one path.
pub struct Operation {
    pub(super) terms: OperationBuilder,
    pub(super) bind: Box<dyn Fn(&Dependencies) -> Respond>,
}

/// An operation that has no handler yet.
pub struct OperationBuilder {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) is_keyed: bool,
    /// In bytes; none where there is no body.
    pub(super) body_limit: Option<usize>,
    pub(super) rate_limit: Option<fn(&Settings) -> Option<Rate>>,
    pub(super) observe: Option<fn(&Dependencies) -> Observe>,
    pub(super) documentation: Option<fn() -> Documentation>,
}

impl Operation {
    /// GET of a path, such as `/users/{id}`, which also answers HEAD.
    #[must_use]
    pub const fn get(path: &'static str, access: Access) -> OperationBuilder {
        Self::of(Method::Get, path, access)
    }

    /// POST of a path.
    #[must_use]
    pub const fn post(path: &'static str, access: Access) -> OperationBuilder {
        Self::of(Method::Post, path, access)
    }

    /// An operation of any method.
    #[must_use]
    pub const fn of(method: Method, path: &'static str, access: Access) -> OperationBuilder {
        OperationBuilder {
            method,
            path,
            access,
            is_keyed: false,
            body_limit: None,
            rate_limit: None,
            observe: None,
            documentation: None,
        }
    }

    /// Its method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.terms.method
    }

    /// Its path, with variables in braces.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.terms.path
    }

    /// Who may call it.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.terms.access
    }
}

impl OperationBuilder {
    /// Takes an `Idempotency-Key`.
    #[must_use]
    pub const fn keyed(mut self) -> Self {
        self.is_keyed = true;
        self
    }

    /// Takes a body of at most so many bytes of JSON.
    #[must_use]
    pub const fn body(mut self, bytes: usize) -> Self {
        self.body_limit = Some(bytes);
        self
    }

    /// Lets each client call it so often; the setting says how often.
    #[must_use]
    pub const fn rate_limited(mut self, rate: fn(&Settings) -> Option<Rate>) -> Self {
        self.rate_limit = Some(rate);
        self
    }

    /// Tells the status of each response, 499 where the client left before.
    #[must_use]
    pub const fn observed(mut self, observe: fn(&Dependencies) -> Observe) -> Self {
        self.observe = Some(observe);
        self
    }

    /// Is part of the OpenAPI document.
    #[must_use]
    pub const fn documented(mut self, documentation: fn() -> Documentation) -> Self {
        self.documentation = Some(documentation);
        self
    }

    /// The operation. `bind` is called once, with what the handler may use.
    #[must_use]
    pub fn handled_by<H, F>(self, bind: impl Fn(&Dependencies) -> H + 'static) -> Operation
    where
        H: Fn(Call) -> F + Send + Sync + 'static,
        F: Future<Output = Result<HttpResponse, Problem>> + 'static,
    {
        Operation {
            terms: self,
            bind: Box::new(move |dependencies| {
                let handler = bind(dependencies);
                Arc::new(move |call| Box::pin(handler(call)))
            }),
        }
    }
}
