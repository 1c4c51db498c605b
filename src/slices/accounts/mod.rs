//! Accounts: creating them, and reading them back.
//!
//! Only this area and [`access`](crate::access) write the tables `users` and `users_read`.
//! [`user`](super::user) defines a user, [`new_account`] inserts one, [`import`] many.

mod http;
pub mod import;
#[cfg(test)]
mod import_contract;
pub mod new_account;
mod password_changed;
mod problems;
#[cfg(test)]
mod testing;

pub use export_data::exported;

slices![
    signup,
    get_user,
    list_users,
    me,
    verify_email,
    request_mail,
    reset_password,
    change_password,
    change_email,
    confirm_email,
    export_data,
    erase,
    create_user,
    send_mail,
    expire_unverified,
    replace_breached_list,
];
