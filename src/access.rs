//! Who may call an operation, of whatever face.

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the port, for this reason.
    Public(&'static str),
}
