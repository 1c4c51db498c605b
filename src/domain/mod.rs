//! Value types of the domain, with their rules.
//!
//! Nothing here depends on HTTP, SQL or a clock. Values of these types are valid: parsing is the
//! only way to create them. A type moves here from a slice when a second slice needs it.

mod common;
mod email;
mod locale;
mod name;
mod password;
mod role;
pub mod rotation;
mod rule;
mod session;
mod store_error;
mod unicode;
mod user;

pub use email::Email;
pub use locale::{Locale, MAX_BYTES as MAX_LOCALE_BYTES};
pub use name::Name;
pub use password::{Candidate, Password, PasswordHash, PresentedPassword, at_least};
pub use role::{MAX_ROLE, Permission, Permissions, Role};
pub use rule::{BrokenRule, CODES};
pub use session::{EndReason, Generation, SessionId, TokenEpoch};
pub use store_error::StoreError;
pub use user::UserId;
