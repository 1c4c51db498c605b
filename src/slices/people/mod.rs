//! For people with a browser: the pages of an account, and the page for administrators.

slices![pages];
