//! The kinds of problem of administration.

use actix_web::http::StatusCode;

use crate::http::problem::{About, Member, ProblemType};

/// There is no such role.
pub const ROLE_NOT_FOUND: ProblemType = ProblemType::new(&About {
    slug: "role-not-found",
    status: StatusCode::NOT_FOUND,
    title: "Role not found",
    meaning: "No role has this name. Nothing was done.",
    advice: "Use `admin`, `support`, or a role that `GET /admin/roles` lists; `PUT \
          /admin/roles/{role}` defines another. A name is 1 to 64 lower-case letters, \
          digits, `-` and `_`, the first one a letter.",
    detail: "No role has this name.",
    headers: &[],
    member: Member::None,
});

/// There is no such service key.
pub const SERVICE_KEY_NOT_FOUND: ProblemType = ProblemType::new(&About {
    slug: "service-key-not-found",
    status: StatusCode::NOT_FOUND,
    title: "Service key not found",
    meaning: "No service key has this id; or it has expired or was revoked, and cannot be \
          rotated. Nothing was done.",
    advice: "Use an id that `GET /admin/keys` lists. It is the second part of a key: \
          `ssk_{id}_…`.",
    detail: "No service key has this id.",
    headers: &[],
    member: Member::None,
});

/// The role is built in.
pub const ROLE_FIXED: ProblemType = ProblemType::new(&About {
    slug: "role-fixed",
    status: StatusCode::CONFLICT,
    title: "Fixed role",
    meaning: "The roles `user`, `support` and `admin` are part of the service: what they \
          permit does not change, and every user has the role `user`. Nothing was done.",
    advice: "Define a role with another name.",
    detail: "The role is built in.",
    headers: &[],
    member: Member::None,
});

/// Users have the role.
pub const ROLE_IN_USE: ProblemType = ProblemType::new(&About {
    slug: "role-in-use",
    status: StatusCode::CONFLICT,
    title: "Role in use",
    meaning: "Users have the role. Nothing was done.",
    advice: "Take it away from the users that `GET /admin/roles/{role}` lists, or take its \
          permissions away by `PUT /admin/roles/{role}`.",
    detail: "Users have the role.",
    headers: &[],
    member: Member::None,
});

/// There are as many as may be.
pub const LIMIT_REACHED: ProblemType = ProblemType::new(&About {
    slug: "limit-reached",
    status: StatusCode::CONFLICT,
    title: "Limit reached",
    meaning: "There are as many roles or service keys as the service keeps: every instance \
          has all of them in memory. Nothing was done.",
    advice: "Remove roles, or revoke keys, that are not needed any more.",
    detail: "There are too many service keys.",
    headers: &[],
    member: Member::None,
});
