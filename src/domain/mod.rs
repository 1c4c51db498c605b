//! The words of the field, with the rules that make a value one of them.
//!
//! Nothing here knows HTTP, SQL or a clock. A value of these types is valid: it can only be made
//! by parsing. A type moves here from a slice when a second slice needs it.

mod common;
mod email;
mod event;
mod name;
mod password;
mod rule;
mod store_error;
mod unicode;
mod user;

pub use email::Email;
pub use event::UserSignedUp;
pub use name::Name;
pub use password::{Candidate, Password, PasswordHash};
pub use rule::{BrokenRule, CODES};
pub use store_error::StoreError;
pub use user::UserId;
