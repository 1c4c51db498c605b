//! `POST /auth/email/confirm` and `POST /auth/email/undo`: an account moves to another address, or back.
//!
//! The token of the mail is the credential. A confirmation ends the other sessions than the one that asked
//! for it. To undo it is for an owner whose account was taken over: it restores the address, removes the
//! password, ends all sessions and sends a mail to choose another password. It works for seven days, also
//! after a change of the password, and after a second change of the address.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
