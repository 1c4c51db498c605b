//! The contract of an import, on both databases.
