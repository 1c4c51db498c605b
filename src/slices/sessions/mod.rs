//! Sessions: logging in, refreshing, and ending them; and what others need to check their tokens.
//!
//! Only it and [`access`](crate::access) write `sessions`; [`attempts`](crate::attempts) count failed
//! logins. [`session`] is a session as it is stored, [`http`] makes the tokens of one.

mod end;
pub mod http;
mod problems;
pub mod session;
#[cfg(test)]
pub(crate) mod testing;

use crate::access::auth_log;

slices![
    login,
    reauthenticate,
    refresh,
    logout,
    list_sessions,
    end_session,
    end_other_sessions,
    jwks,
    introspect,
    revocations,
    housekeeping,
];
