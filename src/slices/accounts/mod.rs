//! Accounts: creating them, and reading them back.
//!
//! Only this area writes the tables `users`, `users_read` and `user_events`. [`user`](super::user) defines a user.

mod history;
mod http;
mod problems;
#[cfg(test)]
mod testing;

slices![signup, get_user, list_users, me];
