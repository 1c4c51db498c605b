//! For people with a browser: the pages of an account.

slices![pages];
