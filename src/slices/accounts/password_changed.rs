//! The event of a change of password, by whichever way.

use serde::Serialize;

use crate::access::history::Event;

/// The password of an account was changed.
#[derive(Serialize)]
pub struct PasswordChanged {
    /// How: `reset`, by a mail; `user`, with the password before; `undo`, when an address was restored.
    pub by: &'static str,
}

impl Event for PasswordChanged {
    const TYPE: &'static str = "user.password_changed";
}
