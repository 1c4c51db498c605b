//! The pages on which people sign up, log in, follow the links of mails, and look after their account; and,
//! on the administration listener, the page on which administrators look after users.
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
    on_administration: http::on_administration,
    ..Slice::new(http::operations)
};
