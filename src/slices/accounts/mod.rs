//! Accounts: creating them, and reading them back.
//!
//! Only this area writes the tables `users`, `users_read` and `user_events`. [`user`] defines a
//! user.

pub mod get_user;
pub mod list_users;
mod problems;
pub mod signup;
#[cfg(test)]
mod testing;
pub mod user;
