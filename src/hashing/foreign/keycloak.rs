//! Keycloak's credentials, as its export and its administration API have them: an object with the texts
//! `secretData` (`value` and `salt`, in base64) and `credentialData` (`algorithm`, `hashIterations`,
//! `additionalParameters`), each of which is JSON again. They may also be objects.
//!
//! Source: `PasswordCredentialModel`, `PasswordSecretData` and `PasswordCredentialData` in
//! <https://www.keycloak.org/docs-api/latest/javadocs/>.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pbkdf2::{self, Hash};
use super::text::{base64, number};
use super::{ForeignHash, Refused, argon2};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exported {
    #[serde(rename = "type")]
    kind: Option<String>,
    secret_data: Value,
    credential_data: Value,
}

#[derive(Deserialize)]
struct SecretData {
    value: String,
    salt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialData {
    hash_iterations: u64,
    algorithm: String,
    #[serde(default)]
    additional_parameters: Option<BTreeMap<String, Vec<String>>>,
}

impl CredentialData {
    /// A parameter that has one value.
    fn parameter(&self, name: &str) -> Result<&str, Refused> {
        let all = self.additional_parameters.as_ref();
        match all.and_then(|all| all.get(name)).map(Vec::as_slice) {
            Some([value]) => Ok(value),
            _ => Err(Refused::Malformed),
        }
    }
}

/// Reads a credential.
///
/// # Errors
/// See [`Refused`].
pub fn read(text: &str) -> Result<ForeignHash, Refused> {
    let credential: Exported = serde_json::from_str(text).map_err(|_| Refused::Malformed)?;
    if credential.kind.is_some_and(|kind| kind != "password") {
        return Err(Refused::Unknown);
    }
    let secret: SecretData = inner(credential.secret_data)?;
    let about: CredentialData = inner(credential.credential_data)?;
    let iterations = u32::try_from(about.hash_iterations).map_err(|_| Refused::OutOfBounds)?;
    let (salt, digest) = (base64(&secret.salt)?, base64(&secret.value)?);
    let hash = match about.algorithm.as_str() {
        "pbkdf2-sha256" => Hash::Sha256,
        "pbkdf2-sha512" => Hash::Sha512,
        "argon2" => {
            let version = argon2::version_named(about.parameter("version")?)?;
            let memory = number(about.parameter("memory")?)?;
            let lanes = number(about.parameter("parallelism")?)?;
            let costs = [memory, iterations, lanes];
            let parameters = argon2::Parameters::new(about.parameter("type")?, version, costs)?;
            return argon2::new(parameters, salt, digest);
        }
        // With SHA-1.
        "pbkdf2" => return Err(Refused::Weak),
        _ => return Err(Refused::Unknown),
    };
    pbkdf2::new(pbkdf2::Parameters::new(hash, iterations)?, salt, digest)
}

/// What a text of JSON holds; or an object in its place.
fn inner<T: DeserializeOwned>(value: Value) -> Result<T, Refused> {
    let read = match value {
        Value::String(text) => serde_json::from_str(&text),
        other => serde_json::from_value(other),
    };
    read.map_err(|_| Refused::Malformed)
}
