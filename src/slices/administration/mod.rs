//! Administration: the access of users, roles, and the keys of other services, on a listener of its own.
//!
//! What is changed is in [`access`](crate::access), as the command line changes it, too. [`http`] has
//! what the operations have in common.

pub mod http;
mod problems;

slices![
    get_user,
    change_user,
    reset_password,
    erase_user,
    grant_role,
    roles,
    service_keys,
];
