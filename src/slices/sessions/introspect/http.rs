//! HTTP handler: the token, the response, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::Access;
use crate::access::feed::{Feed, Standing};
use crate::domain::Permission;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::slices::sessions::http::{EXAMPLE_ACCESS, EXAMPLE_SESSION};
use crate::tokens::Tokens;
use crate::tokens::access_token::{Claims, Parties};

/// The largest body, in bytes: twice the longest token.
const MAX_BODY: usize = 8 * 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/auth/introspect", Access::Needs(Permission::TokensCheck))
            .body(MAX_BODY)
            .documented(documentation)
            .handled_by(|dependencies| {
                let tokens = Arc::clone(&dependencies.tokens);
                let feed = Arc::clone(&dependencies.feed);
                move |call| introspect(Arc::clone(&tokens), Arc::clone(&feed), call)
            }),
    ]
}

// It has no `Debug`, as it carries a token.
/// The body of an introspection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionRequest {
    /// An access token.
    #[schema(value_type = String, required = true, example = json!(EXAMPLE_ACCESS))]
    token: Option<SecretString>,
    /// Has no effect: there is one kind of token that can be introspected.
    #[serde(rename = "token_type_hint")]
    #[schema(example = "access_token")]
    _hint: Option<String>,
}

impl IntrospectionRequest {
    fn parse(self) -> Result<SecretString, Vec<FieldError>> {
        let mut errors = Vec::new();
        let token = check(&mut errors, "/token", required(self.token, Ok));
        token.ok_or(errors)
    }
}

/// What is known of a token. All members but `active` are those of a valid token, by the names of
/// RFC 7662 and RFC 9068; times are in seconds since 1970.
#[derive(Default, Serialize, ToSchema)]
pub struct Introspection {
    /// Whether the token is valid: signed by this service, not expired, and not revoked.
    #[schema(example = true)]
    active: bool,
    /// Always `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>, example = "Bearer")]
    token_type: Option<&'static str>,
    /// The issuer: the public URL of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "https://signup.example")]
    iss: Option<String>,
    /// The audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "https://signup.example")]
    aud: Option<String>,
    /// The id of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "uuid", example = json!(EXAMPLE_SESSION))]
    sub: Option<String>,
    /// When it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_795_242_867)]
    exp: Option<i64>,
    /// When it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_795_241_067)]
    iat: Option<i64>,
    /// The client that it was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "first-party")]
    client_id: Option<String>,
    /// The id of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "uuid", example = json!(EXAMPLE_SESSION))]
    sid: Option<String>,
    /// When the user last sent the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_795_241_067)]
    auth_time: Option<i64>,
    /// How the user proved who they are, by the names of RFC 8176.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(["pwd"]))]
    amr: Option<Vec<String>>,
    /// The roles of the user when it was issued, beside `user`, which every user has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(["support"]))]
    roles: Option<Vec<String>>,
    /// How often all tokens of the user had been revoked when it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0)]
    epoch: Option<i32>,
}

impl Introspection {
    fn of(claims: &Claims, parties: &Parties) -> Self {
        Self {
            active: true,
            token_type: Some("Bearer"),
            iss: Some(parties.issuer.clone()),
            aud: Some(parties.audience.clone()),
            sub: Some(claims.sub.to_string()),
            exp: Some(claims.exp.timestamp()),
            iat: Some(claims.iat.timestamp()),
            client_id: Some(claims.client_id.clone()),
            sid: Some(claims.sid.to_string()),
            auth_time: Some(claims.auth_time.timestamp()),
            amr: Some(claims.amr.clone()),
            roles: Some(claims.roles.clone()),
            epoch: Some(claims.epoch.get()),
        }
    }
}

async fn introspect(
    tokens: Arc<Tokens>,
    feed: Arc<Feed>,
    mut call: Call,
) -> Result<HttpResponse, Problem> {
    let token = call.validated_form(IntrospectionRequest::parse).await?;
    let Ok(claims) = tokens.access.verify(token.expose_secret()).await else {
        return Ok(HttpResponse::Ok().json(Introspection::default()));
    };
    let standing = feed.standing(claims.sid, claims.sub, claims.epoch).await?;
    let response = match standing {
        Standing::Good => Introspection::of(&claims, tokens.access.parties()),
        Standing::Revoked | Standing::Erased => Introspection::default(),
    };
    Ok(HttpResponse::Ok().json(response))
}

fn documentation() -> Documentation {
    Documentation::new(
        "introspect",
        "sessions",
        "Whether an access token is valid, and what it says (RFC 7662).",
    )
    .description(
        "For services that cannot check the signature of tokens, or must know of revocations within two seconds. The \
         body is a form, as the standard wants it, or JSON. A token that has expired, was revoked or is none is \
         `{\"active\": false}`, without a reason. A refresh token and a service key are no access tokens.",
    )
    .form_body::<IntrospectionRequest>(
        "At most 8 KiB.",
        [(
            "introspection",
            "An access token",
            json!({ "token": EXAMPLE_ACCESS }),
        )],
    )
    .fields(&["/token"])
    .json_examples::<Introspection>(
        200,
        "What is known of the token.",
        [
            ("active", "A valid token", active()),
            ("inactive", "Any other token", json!({ "active": false })),
        ],
        [],
    )
    .problems(&[ProblemType::VALIDATION_FAILED, ProblemType::UNAVAILABLE])
}

fn active() -> Value {
    json!({
        "active": true,
        "token_type": "Bearer",
        "iss": "https://signup.example",
        "aud": "https://signup.example",
        "sub": EXAMPLE_SESSION,
        "exp": 1_795_242_867,
        "iat": 1_795_241_067,
        "client_id": "first-party",
        "sid": EXAMPLE_SESSION,
        "auth_time": 1_795_241_067,
        "amr": ["pwd"],
        "roles": ["support"],
        "epoch": 0,
    })
}
