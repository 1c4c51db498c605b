//! The pages on which people sign up, log in, follow the links of mails, and look after their account.
//!
//! They are files: HTML in `page/`, scripts in `script/`, and the style sheet of the documentation. They
//! call the JSON operations as any other client does. To add one, add its files, and its row to
//! [`PAGES`](assets). `PAGES=off` leaves them out, for an own front end.

mod assets;
mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    is_on: |settings| settings.http.pages,
    ..Slice::new(http::operations)
};
