//! Authorization over HTTP: the credentials of a request, and the responses to those that may not.
//!
//! A credential is a bearer token (RFC 6750) in the header `Authorization`, never in a query: an
//! access token, or a service key.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::access::authenticator::{Authenticator, NotAuthenticated, Reason};
use crate::access::{Access, Caller, Denied};
use crate::domain::{Permissions, UserId};
use crate::http::problem::{About, Member, Problem, ProblemType};

/// The longest credential that is looked at, in bytes.
pub const MAX_CREDENTIAL: usize = 4096;

/// The operation needs a credential, and the request has none.
pub const AUTHENTICATION_REQUIRED: ProblemType = ProblemType::new(&About {
    slug: "authentication-required",
    status: StatusCode::UNAUTHORIZED,
    title: "Authentication required",
    meaning: "The operation is not public, and the request has no credential. \
          Nothing was done.",
    advice: "Log in with `POST /auth/login`, and send the access token as \
          `Authorization: Bearer …`; a machine sends its service key there.",
    detail: "Send an access token or a service key in the header Authorization.",
    headers: &["WWW-Authenticate"],
    member: Member::None,
});

/// The credential is not accepted.
pub const ACCESS_TOKEN_INVALID: ProblemType = ProblemType::new(&About {
    slug: "access-token-invalid",
    status: StatusCode::UNAUTHORIZED,
    title: "Invalid access token",
    meaning: "The access token or service key in `Authorization` is not accepted: it \
          has expired, its session has ended or its account has changed \
          (`revoked`), its account was erased, or it is none of this service \
          (`invalid`). Nothing was done.",
    advice: "Refresh with `POST /auth/refresh`, and send the request again with the \
          new access token. Only `refresh-token-invalid` and `session-ended` mean \
          that the user has to log in again.",
    detail: "The access token has expired.",
    headers: &["WWW-Authenticate"],
    member: Member::Reason(&["expired", "revoked", "erased", "invalid"]),
});

/// The caller lacks a permission.
pub const PERMISSION_DENIED: ProblemType = ProblemType::new(&About {
    slug: "permission-denied",
    status: StatusCode::FORBIDDEN,
    title: "Permission denied",
    meaning: "The caller is known, and may not use this operation. Nothing was done.",
    advice: "Use a credential with the permission that the operation needs; its \
          description in `/openapi.json` names it. An operation on the caller's own \
          account needs a user: a service key has no account.",
    detail: "The caller lacks the permission users:read.",
    headers: &["WWW-Authenticate"],
    member: Member::None,
});

/// The password was sent too long ago.
pub const REAUTHENTICATION_REQUIRED: ProblemType = ProblemType::new(&About {
    slug: "reauthentication-required",
    status: StatusCode::UNAUTHORIZED,
    title: "Reauthentication required",
    meaning: "The operation needs a user who sent the password within the last \
          `max_age` seconds (RFC 9470). Nothing was done.",
    advice: "Ask the user for the password, send it to `POST /auth/reauthenticate`, \
          and send the request again with the new access token.",
    detail: "Send the password again; it was sent too long ago.",
    headers: &["WWW-Authenticate"],
    member: Member::MaxAge,
});

/// The problems that follow from an access rule.
#[must_use]
pub fn problems(access: Access, foreign: ProblemType) -> Vec<ProblemType> {
    let credential = [AUTHENTICATION_REQUIRED, ACCESS_TOKEN_INVALID];
    let own = match access {
        Access::Public(_) => return Vec::new(),
        Access::User | Access::Needs(_) => vec![PERMISSION_DENIED],
        Access::Fresh(_) => vec![PERMISSION_DENIED, REAUTHENTICATION_REQUIRED],
        Access::Own(_) => vec![foreign],
    };
    [&credential, &own[..]].concat()
}

/// The guard of a listener's operations.
pub struct Guard {
    /// Finds out who calls.
    pub authenticator: Arc<Authenticator>,
    /// The permissions that no one needs here.
    pub opened: Permissions,
}

impl Guard {
    /// The caller of an operation with this access rule, if it may use it; none if every caller may.
    /// `owner` is the value of the variable of the path that the rule names;
    /// what is foreign gets the response `foreign`.
    ///
    /// # Errors
    /// Why not. The body need not be read.
    pub async fn admit(
        &self,
        access: Access,
        headers: &HeaderMap,
        owner: Option<&str>,
        foreign: ProblemType,
    ) -> Result<Option<Caller>, Refusal> {
        if access.is_open(self.opened) {
            return Ok(None);
        }
        let credential = credential(headers)
            .map_err(|problem| Refusal::counted(Reason::Invalid.as_str(), problem))?
            .ok_or_else(|| Refusal::counted("missing", required()))?;
        let caller = match self.authenticator.authenticate(credential).await {
            Ok(caller) => caller,
            Err(NotAuthenticated::Refused(reason)) => {
                return Err(Refusal::counted(reason.as_str(), invalid(reason)));
            }
            Err(NotAuthenticated::Store(error)) => {
                return Err(Refusal {
                    problem: error.into(),
                    reason: None,
                });
            }
        };
        let owner: Option<UserId> = owner.and_then(|text| text.parse().ok());
        let now = self.authenticator.clock.now();
        match access.allows(&caller, owner, now) {
            Ok(()) => Ok(Some(caller)),
            Err(why) => Err(Refusal::counted(why.as_str(), denied(access, why, foreign))),
        }
    }
}

/// A request is not admitted.
#[derive(Debug)]
pub struct Refusal {
    /// The response.
    pub problem: Problem,
    /// Why, in a word for metrics; `None` if it could not be found out whether it may be.
    pub reason: Option<&'static str>,
}

impl Refusal {
    const fn counted(reason: &'static str, problem: Problem) -> Self {
        Self {
            problem,
            reason: Some(reason),
        }
    }
}

/// The credential of a request, if it has one.
///
/// # Errors
/// 401 if the header is repeated, or is of another scheme, or too long.
pub fn credential(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut lines = headers.get_all(AUTHORIZATION).map(HeaderValue::to_str);
    let text = match (lines.next(), lines.next()) {
        (None, _) => return Ok(None),
        (Some(Ok(text)), None) => text,
        _ => return Err(invalid(Reason::Invalid)),
    };
    // The scheme is case-insensitive: RFC 9110, section 11.1.
    let token = text
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_matches(' '))
        .filter(|token| !token.is_empty() && token.len() <= MAX_CREDENTIAL);
    token.map(Some).ok_or_else(|| invalid(Reason::Invalid))
}

/// 401 for a request without a credential. RFC 6750, section 3.1: the challenge has no error then.
#[must_use]
pub fn required() -> Problem {
    AUTHENTICATION_REQUIRED.into()
}

/// 401 for a credential that is not accepted.
#[must_use]
pub fn invalid(reason: Reason) -> Problem {
    let detail = match reason {
        Reason::Expired => "The access token has expired.",
        Reason::Revoked => "The access token was revoked.",
        Reason::Erased => "The account of the access token was erased.",
        Reason::Invalid => "The credential in Authorization is invalid.",
    };
    Problem::new(ACCESS_TOKEN_INVALID, detail)
        .because(reason.as_str())
        .challenge("Bearer error=\"invalid_token\"")
}

/// The response to a caller who may not use an operation with this access rule.
#[must_use]
pub fn denied(access: Access, denied: Denied, foreign: ProblemType) -> Problem {
    match denied {
        Denied::Foreign => foreign.into(),
        Denied::NotFresh(within) => not_fresh(within),
        Denied::NotPermitted => {
            let (detail, scope) = match access {
                Access::Needs(permission) => (
                    format!("The caller lacks the permission {permission}."),
                    format!(", scope=\"{permission}\""),
                ),
                _ => (
                    "The operation is for users on their own account.".to_owned(),
                    String::new(),
                ),
            };
            Problem::new(PERMISSION_DENIED, detail)
                .challenge(format!("Bearer error=\"insufficient_scope\"{scope}"))
        }
    }
}

/// RFC 9470, section 3.
fn not_fresh(within: Duration) -> Problem {
    Problem::from(REAUTHENTICATION_REQUIRED)
        .max_age(within)
        .challenge(format!(
            "Bearer error=\"insufficient_user_authentication\", max_age={}",
            within.as_secs()
        ))
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use actix_web::http::header::WWW_AUTHENTICATE;
    use rstest::rstest;

    use super::*;
    use crate::domain::Permission;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_str(line).expect("visible");
            headers.append(AUTHORIZATION, value);
        }
        headers
    }

    #[rstest]
    #[case(&["Bearer abc"], "abc")]
    #[case(&["bearer  abc "], "abc")]
    #[case(&["BEARER a.b-c_d"], "a.b-c_d")]
    fn a_bearer_token_is_read(#[case] lines: &[&str], #[case] expected: &str) {
        let headers = headers(lines);
        let found = credential(&headers).expect("valid");
        assert_eq!(found, Some(expected));
    }

    #[rstest]
    #[case(&["Basic abc"])]
    #[case(&["Bearer"])]
    #[case(&["Bearer "])]
    #[case(&["abc"])]
    #[case(&["Bearer abc", "Bearer abc"])]
    fn any_other_header_is_refused(#[case] lines: &[&str]) {
        let response = credential(&headers(lines)).expect_err("refused");
        let response = response.error_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let challenge = response.headers().get(WWW_AUTHENTICATE);
        assert_eq!(
            challenge.expect("present"),
            "Bearer error=\"invalid_token\""
        );
    }

    #[test]
    fn a_long_credential_is_refused_and_a_missing_one_is_none() {
        let longest = format!("Bearer {}", "a".repeat(MAX_CREDENTIAL));
        assert!(credential(&headers(&[&longest])).is_ok());
        assert!(credential(&headers(&[&(longest + "a")])).is_err());
        assert_eq!(credential(&headers(&[])).expect("none"), None);
    }

    #[test]
    fn every_401_has_a_challenge() {
        let challenge = |problem: Problem| {
            let response = problem.error_response();
            let value = response.headers().get(WWW_AUTHENTICATE).cloned();
            let value = value.expect("present");
            value.to_str().expect("visible").to_owned()
        };
        assert_eq!(challenge(required()), "Bearer realm=\"signup-service\"");
        let denied = |access, why| denied(access, why, ProblemType::NOT_FOUND);
        let lacks = denied(Access::Needs(Permission::UsersRead), Denied::NotPermitted);
        assert_eq!(
            challenge(lacks),
            "Bearer error=\"insufficient_scope\", scope=\"users:read\""
        );
        let fresh = Access::Fresh(Duration::from_mins(10));
        assert_eq!(
            challenge(denied(fresh, Denied::NotFresh(Duration::from_mins(10)))),
            "Bearer error=\"insufficient_user_authentication\", max_age=600"
        );
        assert_eq!(
            denied(fresh, Denied::NotPermitted)
                .error_response()
                .status(),
            StatusCode::FORBIDDEN
        );
    }
}
