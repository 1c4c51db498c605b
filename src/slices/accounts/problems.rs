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
