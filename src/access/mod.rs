//! Access rules: which callers may use an operation, over any transport.

/// Which callers may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every caller that can reach the port, for this reason.
    Public(&'static str),
}
