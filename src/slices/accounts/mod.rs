//! Accounts: making them, and reading them back.
//!
//! The tables `users`, `users_read` and `user_events` are written here only. What a user is stands
//! in [`user`].

pub mod get_user;
pub mod list_users;
mod problems;
pub mod signup;
#[cfg(test)]
mod testing;
pub mod user;
