//! The kinds of problem that accounts have.

use actix_web::http::StatusCode;

use crate::http::problem::{About, Member, ProblemType};

/// There is no such user.
pub const USER_NOT_FOUND: ProblemType = ProblemType::new(&About {
    slug: "user-not-found",
    status: StatusCode::NOT_FOUND,
    title: "User not found",
    meaning: "No user has this id.",
    advice: "Use the id that signup gave, a UUID in its hyphenated form. Right \
          after a signup, a service that reads from a replica may not know the \
          user yet: try again after a moment.",
    detail: "No user has this id.",
    headers: &[],
    member: Member::None,
});

/// The address has an account.
pub const EMAIL_ALREADY_REGISTERED: ProblemType = ProblemType::new(&About {
    slug: "email-already-registered",
    status: StatusCode::CONFLICT,
    title: "Email already registered",
    meaning: "One address has one account, and this one has it already. Addresses \
          are compared in lower case, so that `Ada@example.org` is \
          `ada@example.org`.",
    advice: "Ask for another address. If an earlier try of this signup got no \
          certain answer, the account may be its own: send an \
          `Idempotency-Key` with each signup, and a later try with the same \
          key tells.",
    detail: "The address has an account already.",
    headers: &["Idempotent-Replayed"],
    member: Member::None,
});
