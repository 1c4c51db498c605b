//! The kinds of problem of accounts.

use actix_web::http::StatusCode;

use crate::http::problem::{About, Member, ProblemType};

/// There is no such user.
pub const USER_NOT_FOUND: ProblemType = ProblemType::USER_NOT_FOUND;

/// The address has an account.
pub const EMAIL_ALREADY_REGISTERED: ProblemType = ProblemType::new(&About {
    slug: "email-already-registered",
    status: StatusCode::CONFLICT,
    title: "Email already registered",
    meaning: "One address has one account, and this address has one already. \
          Addresses are compared in lower case, so that `Ada@example.org` is \
          `ada@example.org`.",
    advice: "Ask for another address. If an earlier attempt of this signup got no \
          definite response, it may have created the account itself: send an \
          `Idempotency-Key` with each signup, and a retry with the same key gets \
          the outcome of the first attempt.",
    detail: "The address has an account already.",
    headers: &["Idempotent-Replayed"],
    member: Member::None,
});

/// The token of a link is none of this service.
pub const TOKEN_INVALID: ProblemType = ProblemType::new(&About {
    slug: "token-invalid",
    status: StatusCode::BAD_REQUEST,
    title: "Invalid token",
    meaning: "The token is none that this service sent for this operation, or its \
          account is gone. Nothing was done.",
    advice: "Use the whole token of the link in the mail: what follows the `#`. Ask for \
          another mail if it is damaged.",
    detail: "The token is invalid.",
    headers: &[],
    member: Member::None,
});

/// The token of a link is too old, or was replaced.
pub const TOKEN_EXPIRED: ProblemType = ProblemType::new(&About {
    slug: "token-expired",
    status: StatusCode::GONE,
    title: "Token expired",
    meaning: "The token is too old, a newer mail has replaced it, or the password or the \
          address has changed since. Nothing was done.",
    advice: "Ask for another mail, and use its link.",
    detail: "The token has expired.",
    headers: &[],
    member: Member::None,
});

/// The token of a link was used.
pub const TOKEN_USED: ProblemType = ProblemType::new(&About {
    slug: "token-used",
    status: StatusCode::GONE,
    title: "Token used",
    meaning: "The token has been used, and each works once. This request did nothing.",
    advice: "If the password was just chosen, log in with it. Otherwise ask for another \
          mail. A retry of the request that used the token gets its outcome if both have \
          the same `Idempotency-Key`.",
    detail: "The token was used.",
    headers: &["Idempotent-Replayed"],
    member: Member::None,
});

/// The account of a signup was erased.
pub const ACCOUNT_ERASED: ProblemType = ProblemType::new(&About {
    slug: "account-erased",
    status: StatusCode::GONE,
    title: "Account erased",
    meaning: "An earlier request with this `Idempotency-Key` created an account, and the account \
          has been erased since. This request did nothing.",
    advice: "Stop retrying. To create another account, use a new key.",
    detail: "The account of this Idempotency-Key was erased.",
    headers: &["Idempotent-Replayed"],
    member: Member::None,
});

/// The password changed while the request was under way.
pub const CHANGED_MEANWHILE: ProblemType = ProblemType::new(&About {
    slug: "changed-meanwhile",
    status: StatusCode::CONFLICT,
    title: "Changed meanwhile",
    meaning: "Another request changed the password of the account at the same time. This request \
          did nothing.",
    advice: "Ask for the current password again, and retry.",
    detail: "The password was changed meanwhile.",
    headers: &[],
    member: Member::None,
});

/// The representation is not the one that the client has.
pub const PRECONDITION_FAILED: ProblemType = ProblemType::new(&About {
    slug: "precondition-failed",
    status: StatusCode::PRECONDITION_FAILED,
    title: "Precondition failed",
    meaning: "The account has changed since the client read it: its `ETag` is none of those in \
          `If-Match`. Nothing was done.",
    advice: "Read `GET /users/me` again, apply the change to it, and send its `ETag`.",
    detail: "The account has changed since.",
    headers: &[],
    member: Member::None,
});
