//! Resources: the operations of one path, and the processing common to all calls.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix_web::http::Method as Verb;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use futures_util::FutureExt;

use super::authorization::Guard;
use super::json::BodyLimits;
use super::middleware::idempotency;
use super::operation::{Call, KeyUse, Method, Observe, Operation, PathParameters, Respond};
use super::problem::{Problem, ProblemType};
use super::rate_limit::RateLimit;
use crate::access::{Access, Caller};
use crate::dependencies::Dependencies;
use crate::domain::UserId;
use crate::idempotency::Idempotency;
use crate::platform::context::{self, RequestContext};
use crate::platform::metrics::{ABANDONED, Metrics};

/// The operations of one path.
pub struct Resource {
    path: &'static str,
    /// The names of its path's variables, in their order.
    variables: Vec<&'static str>,
    /// The value of `Allow`.
    allow: String,
    operations: Vec<Bound>,
}

/// An operation with its handler bound to its dependencies.
struct Bound {
    method: Method,
    path: &'static str,
    access: Access,
    respond: Respond,
    rate_limit: Option<RateLimit>,
    user_rate_limit: Option<RateLimit<UserId>>,
    limits: BodyLimits,
    key: Option<KeyRules>,
    scope: Arc<str>,
    idempotency: Arc<Idempotency>,
    guard: Arc<Guard>,
    foreign: ProblemType,
    metrics: Metrics,
    observe: Option<Observe>,
}

/// The key settings of a keyed operation.
struct KeyRules {
    is_required: bool,
}

/// The resources of these operations, one per path.
#[must_use]
pub fn bind(
    operations: &[Operation],
    dependencies: &Dependencies,
    guard: &Arc<Guard>,
) -> Vec<Resource> {
    let mut by_path: Vec<(&'static str, Vec<Bound>)> = Vec::new();
    for operation in operations {
        let bound = Bound::new(operation, dependencies, guard);
        let path = operation.path();
        match by_path.iter_mut().find(|(known, _)| *known == path) {
            Some((_, operations)) => operations.push(bound),
            None => by_path.push((path, vec![bound])),
        }
    }
    let resources = by_path.into_iter().map(|(path, mut operations)| {
        operations.sort_by_key(|bound| bound.method);
        Resource {
            path,
            variables: variables(path).collect(),
            allow: allow(operations.iter().map(|bound| bound.method)),
            operations,
        }
    });
    resources.collect()
}

/// Every possible value of `Allow` for these operations, each once.
pub fn allowed(operations: &[Operation]) -> Vec<String> {
    let mut by_path: BTreeMap<&str, BTreeSet<Method>> = BTreeMap::new();
    for operation in operations {
        let methods = by_path.entry(operation.path()).or_default();
        methods.insert(operation.method());
    }
    let texts: BTreeSet<String> = by_path.into_values().map(allow).collect();
    texts.into_iter().collect()
}

fn allow(methods: impl IntoIterator<Item = Method>) -> String {
    let names = methods.into_iter().flat_map(Method::names);
    names.copied().collect::<Vec<_>>().join(", ")
}

/// The names of the variables of a path.
fn variables(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

/// The methods of some operations, for CORS.
pub fn methods(operations: &[Operation]) -> Vec<&'static str> {
    let mut methods: Vec<Method> = operations.iter().map(Operation::method).collect();
    methods.sort_unstable();
    methods.dedup();
    methods
        .iter()
        .flat_map(|method| method.names())
        .copied()
        .collect()
}

impl Resource {
    /// A resource without operations.
    #[cfg(test)]
    pub fn bare(path: &'static str) -> Self {
        Self {
            path,
            variables: variables(path).collect(),
            allow: String::new(),
            operations: Vec::new(),
        }
    }

    /// Its path, with variables in braces.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// The names of its variables with these values, which are in the order of the path.
    pub fn parameters<'a>(&self, values: impl Iterator<Item = &'a str>) -> PathParameters {
        let values = values.map(str::to_owned);
        self.variables.iter().copied().zip(values).collect()
    }

    fn find(&self, verb: &Verb) -> Option<&Bound> {
        let verb = verb.as_str();
        let is_of = |bound: &&Bound| bound.method.names().contains(&verb);
        self.operations.iter().find(is_of)
    }
}

impl Bound {
    fn new(operation: &Operation, dependencies: &Dependencies, guard: &Arc<Guard>) -> Self {
        let spec = &operation.spec;
        let settings = &dependencies.settings;
        let rate = spec.rate_limit.and_then(|rate| rate(settings));
        let user_rate = spec.user_rate_limit.and_then(|rate| rate(settings));
        if !spec.access.is_open(guard.opened) {
            dependencies.metrics.may_deny(spec.path);
        }
        Self {
            method: spec.method,
            path: spec.path,
            access: spec.access,
            respond: (operation.bind)(dependencies),
            rate_limit: rate.map(|rate| RateLimit::new(rate, Arc::clone(&dependencies.clock))),
            user_rate_limit: user_rate
                .map(|rate| RateLimit::new(rate, Arc::clone(&dependencies.clock))),
            limits: BodyLimits {
                bytes: spec.body_limit.unwrap_or(0),
                time: settings.http.read_timeout,
            },
            key: match spec.key {
                KeyUse::None => None,
                KeyUse::Recorded => Some(KeyRules {
                    is_required: settings.idempotency.required,
                }),
                KeyUse::Own => Some(KeyRules { is_required: false }),
            },
            scope: format!("{} {}", spec.method.names()[0], spec.path).into(),
            idempotency: Arc::clone(&dependencies.idempotency),
            guard: Arc::clone(guard),
            foreign: spec.foreign,
            metrics: dependencies.metrics.clone(),
            observe: spec.observe.map(|observe| observe(dependencies)),
        }
    }

    async fn handle(
        &self,
        request: HttpRequest,
        parameters: PathParameters,
        payload: Payload,
        context: Option<Arc<RequestContext>>,
    ) -> Result<HttpResponse, Problem> {
        let context = context.ok_or_else(Problem::internal)?;
        let owner = match self.access {
            Access::Own(own) => {
                let mut parameters = parameters.iter();
                let found = parameters.find(|(name, _)| *name == own.variable);
                found.map(|(_, value)| value.as_str())
            }
            _ => None,
        };
        let admitted = self
            .guard
            .admit(self.access, request.headers(), owner, self.foreign);
        let caller = admitted.await.map_err(|refusal| {
            if let Some(reason) = refusal.reason {
                self.metrics.access_denied(self.path, reason);
            }
            refusal.problem
        })?;
        // Checking the key is cheap, and happens before a body is read.
        let key = match &self.key {
            Some(spec) => idempotency::read(&request, spec.is_required)?,
            None => None,
        };
        if let (Some(rate_limit), Some(client)) = (&self.rate_limit, context.client) {
            rate_limit.admit(client)?;
        }
        if let (Some(rate_limit), Some(Caller::User(user))) = (&self.user_rate_limit, &caller) {
            rate_limit.admit_one(user.user)?;
        }
        (self.respond)(Call {
            request,
            parameters,
            caller,
            context,
            key,
            scope: Arc::clone(&self.scope),
            idempotency: Arc::clone(&self.idempotency),
            payload,
            limits: self.limits,
        })
        .await
    }
}

/// Responds to a request for a resource: 405 if it has no such operation, 500 if the handler
/// panics, and 503 if it has not ended by the deadline: the outcome is then unknown. Work that must
/// not be interrupted continues in its own task.
pub async fn serve(
    resource: &Resource,
    parameters: PathParameters,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    let context = context::current();
    if let Some(context) = &context {
        let _ = context.route.set(resource.path);
    }
    let Some(operation) = resource.find(request.method()) else {
        return Problem::method_not_allowed(&resource.allow).error_response();
    };
    let mut observed = Observed {
        observe: operation.observe.as_ref(),
        status: ABANDONED,
    };
    let deadline = context.as_ref().map(|context| context.deadline);
    // The request's state is dropped with its future; shared state protects itself.
    let handler =
        AssertUnwindSafe(operation.handle(request, parameters, payload, context)).catch_unwind();
    let outcome = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), handler).await,
        None => Ok(handler.await),
    };
    let response = match outcome {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(problem))) => problem.error_response(),
        // The panic hook has logged it by now.
        Ok(Err(_panic)) => Problem::internal().closing().error_response(),
        Err(_elapsed) => {
            tracing::warn!("request deadline exceeded");
            Problem::unavailable().closing().error_response()
        }
    };
    observed.status = response.status().as_u16();
    response
}

/// Reports the status when it is dropped: also if the client disconnected.
struct Observed<'a> {
    observe: Option<&'a Observe>,
    status: u16,
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        if let Some(observe) = self.observe {
            observe(self.status);
        }
    }
}
