//! HTTP handlers: the body of a new key, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::ResponseBuilder;

use crate::access::Access;
use crate::access::service_keys::{
    CreateOutcome, Listed, MAX_DAYS, NewKey, RotateOutcome, ServiceKeys,
};
use crate::dependencies::Dependencies;
use crate::domain::{BrokenRule, Name, Permission};
use crate::http::changes::Circumstances;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::platform::clock::timestamp;
use crate::slices::administration::http::{
    EXAMPLE_ADMIN, EXAMPLE_KEY, EXAMPLE_KEY_ID, EXAMPLE_TIME, cursor, lacking, names, of_key,
    paged, permissions,
};
use crate::slices::administration::problems::{LIMIT_REACHED, SERVICE_KEY_NOT_FOUND};
use crate::slices::user::PersonName;
use crate::tokens::service_key::ServiceKeyId;

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

const LIST: &str = "/admin/keys";

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    let access = Access::Needs(Permission::KeysWrite);
    vec![
        Operation::get(LIST, access)
            .documented(document_list)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| list(Arc::clone(&state), call)
            }),
        Operation::post(LIST, access)
            .body(MAX_BODY)
            .documented(document_creation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| create(Arc::clone(&state), call)
            }),
        Operation::of(Method::Delete, "/admin/keys/{id}", access)
            .documented(document_revocation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| revoke(Arc::clone(&state), call)
            }),
        Operation::post("/admin/keys/{id}/rotate", access)
            .documented(document_rotation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| rotate(Arc::clone(&state), call)
            }),
        Operation::post("/admin/keys/{id}/finish-rotation", access)
            .documented(document_end_of_rotation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| finish_rotation(Arc::clone(&state), call)
            }),
    ]
}

/// The dependencies of the handlers.
struct State {
    keys: ServiceKeys,
    circumstances: Circumstances,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            keys: ServiceKeys::new(
                dependencies.database.clone(),
                Arc::clone(&dependencies.tokens.secrets),
                Arc::clone(&dependencies.randomness),
                Some(Arc::clone(&dependencies.feed)),
            ),
            circumstances: Circumstances::new(dependencies),
        }
    }
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKeyRequest {
    /// What it is for.
    #[schema(value_type = PersonName, required = true)]
    name: Option<String>,
    /// At least one permission, and only those that the caller has.
    #[schema(value_type = Vec<String>, required = true, min_items = 1, example = json!(["users:read"]))]
    permissions: Option<Vec<String>>,
    /// For how many days it is valid.
    #[schema(value_type = u32, required = true, minimum = 1, maximum = 365, example = 90)]
    expires_in_days: Option<u32>,
}

impl CreateKeyRequest {
    fn parse(self) -> Result<NewKey, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = check(
            &mut errors,
            "/name",
            required(self.name, |text| Name::parse(&text)),
        );
        let permissions = check(
            &mut errors,
            "/permissions",
            required(self.permissions, permissions),
        );
        let days = check(
            &mut errors,
            "/expires_in_days",
            required(self.expires_in_days, days),
        );
        match (name, permissions, days) {
            (Some(name), Some(permissions), Some(days)) => Ok(NewKey {
                name,
                permissions,
                days,
            }),
            _ => Err(errors),
        }
    }
}

fn days(days: u32) -> Result<u32, BrokenRule> {
    let valid = (1..=MAX_DAYS).contains(&days).then_some(days);
    valid.ok_or(BrokenRule::new("out_of_range", "Must be from 1 to 365."))
}

/// A key that was made. It has no `Debug`, as it carries a secret.
#[derive(Serialize, ToSchema)]
pub struct CreatedKey {
    /// Its id.
    #[schema(example = json!(EXAMPLE_KEY_ID))]
    id: String,
    /// The whole key, for the header `Authorization`. It is shown only here.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String, example = json!(EXAMPLE_KEY))]
    key: SecretString,
    /// What it is for.
    #[schema(example = "dashboard")]
    name: String,
    /// What it permits.
    #[schema(value_type = Vec<String>, example = json!(["users:read"]))]
    permissions: Vec<&'static str>,
    /// When it expires.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    expires_at: String,
}

/// A key with a new secret. It has no `Debug`, as it carries a secret.
#[derive(Serialize, ToSchema)]
pub struct RotatedKey {
    /// Its id.
    #[schema(example = json!(EXAMPLE_KEY_ID))]
    id: String,
    /// The whole key with the new secret, for the header `Authorization`. It is shown only here.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String, example = json!(EXAMPLE_KEY))]
    key: SecretString,
}

fn exposed<S: Serializer>(secret: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose_secret())
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
pub struct ListedKey {
    /// Its id.
    #[schema(example = json!(EXAMPLE_KEY_ID))]
    id: String,
    /// What it is for.
    #[schema(example = "dashboard")]
    name: String,
    /// What it permits.
    #[schema(value_type = Vec<String>, example = json!(["users:read"]))]
    permissions: Vec<&'static str>,
    /// Who made it: the id of a user or of a service key, or `cli`.
    #[schema(example = json!(EXAMPLE_ADMIN))]
    created_by: String,
    /// When it was made.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    created_at: String,
    /// When it expires.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    expires_at: String,
    /// The last day on which it was used, in UTC; null if it never was.
    #[schema(format = "date", required = true, example = "2026-11-21")]
    last_used_on: Option<String>,
    /// When it was revoked; null if it was not.
    #[schema(format = "date-time", required = true)]
    revoked_at: Option<String>,
    /// Whether it has two secrets.
    #[schema(example = false)]
    rotating: bool,
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub struct KeyPage {
    /// The keys, by id; also those that have expired or were revoked.
    #[schema(max_items = 100)]
    keys: Vec<ListedKey>,
    /// The cursor of the next page; null on the last page.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

impl From<Listed> for ListedKey {
    fn from(key: Listed) -> Self {
        Self {
            id: key.id,
            name: key.name,
            permissions: names(key.permissions),
            created_by: key.created_by,
            created_at: timestamp(key.created_at),
            expires_at: timestamp(key.expires_at),
            last_used_on: key
                .last_used_on
                .map(|day| day.format("%Y-%m-%d").to_string()),
            revoked_at: key.revoked_at.map(timestamp),
            rotating: key.is_rotating,
        }
    }
}

/// The key in the path. An invalid id belongs to no key.
fn key(call: &Call) -> Result<ServiceKeyId, Problem> {
    ServiceKeyId::parse(call.path("id")).ok_or_else(|| SERVICE_KEY_NOT_FOUND.into())
}

async fn list(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    let after = cursor(&call, ServiceKeyId::parse)?;
    let after = after.as_ref().map_or("", ServiceKeyId::as_str);
    let (page, has_more) = state.keys.page(after).await?;
    let next_cursor = page.last().filter(|_| has_more).map(|last| last.id.clone());
    Ok(HttpResponse::Ok().json(KeyPage {
        keys: page.into_iter().map(ListedKey::from).collect(),
        next_cursor,
    }))
}

async fn create(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let new = call.validated(CreateKeyRequest::parse).await?;
    let (change, limit) = state.circumstances.of(&call)?;
    let (name, permissions) = (new.name.as_str().to_owned(), new.permissions);
    match state.keys.create(new, limit, change).await? {
        CreateOutcome::Created(issued, expires_at) => {
            tracing::info!(key_id = %issued.id, "service key created");
            Ok(HttpResponse::Created().json(CreatedKey {
                id: issued.id.to_string(),
                key: issued.text,
                name,
                permissions: names(permissions),
                expires_at: timestamp(expires_at),
            }))
        }
        CreateOutcome::Lacking(permissions) => Err(lacking(permissions)),
        CreateOutcome::TooMany => Err(LIMIT_REACHED.into()),
    }
}

async fn rotate(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    let id = key(&call)?;
    let (change, limit) = state.circumstances.of(&call)?;
    match state.keys.rotate(id, limit, change).await? {
        RotateOutcome::Rotated(issued) => {
            tracing::info!(key_id = %issued.id, "service key rotated");
            Ok(HttpResponse::Ok().json(RotatedKey {
                id: issued.id.to_string(),
                key: issued.text,
            }))
        }
        RotateOutcome::NoSuchKey => Err(SERVICE_KEY_NOT_FOUND.into()),
        RotateOutcome::Lacking(permissions) => Err(lacking(permissions)),
    }
}

async fn finish_rotation(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    let id = key(&call)?;
    let (change, _) = state.circumstances.of(&call)?;
    let known = state.keys.finish_rotation(id, change).await?;
    done(known)
}

async fn revoke(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    let id = key(&call)?;
    let (change, _) = state.circumstances.of(&call)?;
    let known = state.keys.revoke(id.clone(), change).await?;
    if known {
        tracing::info!(key_id = %id, "service key revoked");
    }
    done(known)
}

fn done(known: bool) -> Result<HttpResponse, Problem> {
    if known {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(SERVICE_KEY_NOT_FOUND.into())
    }
}

fn document_list() -> Documentation {
    let example = json!({
        "id": EXAMPLE_KEY_ID,
        "name": "dashboard",
        "permissions": ["users:read"],
        "created_by": EXAMPLE_ADMIN,
        "created_at": EXAMPLE_TIME,
        "expires_at": EXAMPLE_TIME,
        "last_used_on": "2026-11-21",
        "revoked_at": null,
        "rotating": false,
    });
    paged(Documentation::new(
        "list_keys",
        "keys",
        "The keys of other services, without their secrets.",
    ))
    .json::<KeyPage>(
        200,
        "The keys.",
        json!({ "keys": [example], "next_cursor": null }),
    )
    .problems(&[ProblemType::INVALID_PARAMETER, ProblemType::UNAVAILABLE])
}

fn document_creation() -> Documentation {
    Documentation::new("create_key", "keys", "Creates a key for another service.")
        .description(
            "The caller must have every permission of the key. The key is shown only in this response, which is not \
             kept, so there is no `Idempotency-Key`: if the response is lost, rotate or revoke the key that \
             `GET /admin/keys` lists.",
        )
        .body::<CreateKeyRequest>(
            "At most 4 KiB.",
            [(
                "dashboard",
                "A key that reads users",
                json!({ "name": "dashboard", "permissions": ["users:read"], "expires_in_days": 90 }),
            )],
        )
        .fields(&["/name", "/permissions", "/expires_in_days"])
        .json::<CreatedKey>(
            201,
            "The key.",
            json!({
                "id": EXAMPLE_KEY_ID,
                "key": EXAMPLE_KEY,
                "name": "dashboard",
                "permissions": ["users:read"],
                "expires_at": EXAMPLE_TIME,
            }),
        )
        .problems(&[
            LIMIT_REACHED,
            ProblemType::VALIDATION_FAILED,
            ProblemType::UNAVAILABLE,
        ])
}

fn document_rotation() -> Documentation {
    of_key(Documentation::new(
        "rotate_key",
        "keys",
        "Makes a second secret of a key.",
    ))
    .description(
        "The caller must have every permission of the key. The secret in use stays valid beside the new one until \
         `POST /admin/keys/{id}/finish-rotation`, or until the key expires. If the response is lost, rotate again: this \
         replaces the new secret, and not the one in use.",
    )
    .json::<RotatedKey>(
        200,
        "The key with its new secret.",
        json!({ "id": EXAMPLE_KEY_ID, "key": EXAMPLE_KEY }),
    )
    .problems(&[SERVICE_KEY_NOT_FOUND, ProblemType::UNAVAILABLE])
}

fn document_end_of_rotation() -> Documentation {
    let finished = ResponseBuilder::new().description("The key has one secret: the new one.");
    of_key(Documentation::new(
        "finish_rotation_of_key",
        "keys",
        "Ends the rotation of a key.",
    ))
    .description(
        "Only the new secret is accepted from now on, on every instance within two seconds. Nothing happens to a key \
         that is not being rotated.",
    )
    .response(204, finished)
    .problems(&[SERVICE_KEY_NOT_FOUND, ProblemType::UNAVAILABLE])
}

fn document_revocation() -> Documentation {
    let revoked = ResponseBuilder::new().description("The key is not accepted any more.");
    of_key(Documentation::new("revoke_key", "keys", "Revokes a key."))
        .description("Every instance refuses it within two seconds.")
        .response(204, revoked)
        .problems(&[SERVICE_KEY_NOT_FOUND, ProblemType::UNAVAILABLE])
}
