//! HTTP handler and its documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::Access;
use crate::http::conditional::{self, CachePolicy};
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::tokens::Tokens;
use crate::tokens::signing_keys::schedule::JWKS_MAX_AGE;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/.well-known/jwks.json",
            Access::Public("services that accept access tokens check them by these keys"),
        )
        .documented(documentation)
        .handled_by(|dependencies| {
            let tokens = Arc::clone(&dependencies.tokens);
            move |call| {
                let response = jwks(&tokens, &call);
                async { Ok(response) }
            }
        }),
    ]
}

/// The public keys of access tokens (RFC 7517, section 5).
#[derive(Serialize, ToSchema)]
pub struct Jwks {
    /// The keys, the newest last. One of them may not sign yet.
    keys: Vec<Jwk>,
}

/// A public key (RFC 7517, section 4).
#[derive(Serialize, ToSchema)]
pub struct Jwk {
    /// The type of the key: `EC` or `RSA`.
    #[schema(example = "EC")]
    kty: String,
    /// Its id: the thumbprint (RFC 7638), as in the header of tokens.
    #[schema(example = json!(EXAMPLE_KID))]
    kid: String,
    /// The algorithm of its tokens: `ES256` or `RS256`.
    #[schema(example = "ES256")]
    alg: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    purpose: String,
    /// The curve of an `EC` key.
    #[schema(nullable = false, example = "P-256")]
    crv: Option<String>,
    /// The first coordinate of an `EC` key.
    #[schema(nullable = false)]
    x: Option<String>,
    /// The second coordinate of an `EC` key.
    #[schema(nullable = false)]
    y: Option<String>,
    /// The modulus of an `RSA` key.
    #[schema(nullable = false)]
    n: Option<String>,
    /// The exponent of an `RSA` key.
    #[schema(nullable = false)]
    e: Option<String>,
}

/// The id of a key in examples.
const EXAMPLE_KID: &str = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U";

fn jwks(tokens: &Tokens, call: &Call) -> HttpResponse {
    let policy = CachePolicy::Public(JWKS_MAX_AGE);
    conditional::json_for(&call.request, &tokens.keyring.jwks(), policy)
}

fn documentation() -> Documentation {
    Documentation::new(
        "jwks",
        "sessions",
        "The public keys of access tokens, as a JWK set.",
    )
    .description(
        "A key is published ten minutes before it signs, and for as long as a token of it may be valid; the response \
         may be cached for five minutes. So a service that fetches it again at most every five minutes has the key \
         of each token. Check `alg`, `iss`, `aud`, `exp`, and the `typ` `at+jwt` of a token as well (RFC 9068, section 4).",
    )
    .conditional()
    .json::<Jwks>(200, "The keys.", example())
}

fn example() -> Value {
    json!({
        "keys": [{
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "kid": EXAMPLE_KID,
            "alg": "ES256",
            "use": "sig",
        }],
    })
}
