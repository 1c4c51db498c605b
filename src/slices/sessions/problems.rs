//! The kinds of problem of sessions.

use actix_web::http::StatusCode;

use crate::http::problem::{About, Member, ProblemType};

/// The refresh token is none.
pub const REFRESH_TOKEN_INVALID: ProblemType = ProblemType::new(&About {
    slug: "refresh-token-invalid",
    status: StatusCode::UNAUTHORIZED,
    title: "Invalid refresh token",
    meaning: "The refresh token is none of this service, or its session is no longer \
          known. Nothing was done.",
    advice: "The user has to log in again. Store each new refresh token before the \
          one before is forgotten.",
    detail: "The refresh token is invalid.",
    headers: &["WWW-Authenticate"],
    member: Member::None,
});

/// The session of the refresh token has ended.
pub const SESSION_ENDED: ProblemType = ProblemType::new(&About {
    slug: "session-ended",
    status: StatusCode::UNAUTHORIZED,
    title: "Session ended",
    meaning: "The session of the refresh token has ended; `reason` says why. `reused` \
          means that an old refresh token was presented again: two hold tokens of \
          the session, so it was ended for both.",
    advice: "The user has to log in again. After `reused`, warn the user if it was \
          not a client that lost its newest token.",
    detail: "The session has ended.",
    headers: &["WWW-Authenticate"],
    member: Member::Reason(&[
        "idle",
        "expired",
        "logged_out",
        "password_changed",
        "suspended",
        "revoked",
        "reused",
    ]),
});

/// The refresh token was exchanged twice over, a moment ago.
pub const REFRESH_TOKEN_SUPERSEDED: ProblemType = ProblemType::new(&About {
    slug: "refresh-token-superseded",
    status: StatusCode::CONFLICT,
    title: "Refresh token superseded",
    meaning: "A newer refresh token of the session was exchanged a moment ago, so this \
          request arrived late, or twice. The session goes on.",
    advice: "Use the newest refresh token that the client has. This does not end the \
          client's session.",
    detail: "The refresh token was superseded.",
    headers: &[],
    member: Member::None,
});

/// The caller has no such session.
pub const SESSION_NOT_FOUND: ProblemType = ProblemType::new(&About {
    slug: "session-not-found",
    status: StatusCode::NOT_FOUND,
    title: "Session not found",
    meaning: "The caller has no session with this id. Nothing was done.",
    advice: "Use an id of `GET /users/me/sessions`. A session that ended some days ago \
          is no longer known.",
    detail: "You have no session with this id.",
    headers: &[],
    member: Member::None,
});

/// The account is suspended.
pub const ACCOUNT_SUSPENDED: ProblemType = ProblemType::new(&About {
    slug: "account-suspended",
    status: StatusCode::FORBIDDEN,
    title: "Account suspended",
    meaning: "The password is right, and an administrator has suspended the account.",
    advice: "The user can ask the operator of the service.",
    detail: "The account is suspended.",
    headers: &[],
    member: Member::None,
});

/// The address has not been verified.
pub const EMAIL_NOT_VERIFIED: ProblemType = ProblemType::new(&About {
    slug: "email-not-verified",
    status: StatusCode::FORBIDDEN,
    title: "Email not verified",
    meaning: "The password is right, and the address of the account has not been \
          verified yet.",
    advice: "Let the user follow the link in the mail that came after the signup.",
    detail: "The address has not been verified.",
    headers: &[],
    member: Member::None,
});
