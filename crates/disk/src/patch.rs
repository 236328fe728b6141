//! Bytes that replace those of a disk.

/// Bytes that replace those of a disk and its padding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Patch {
    /// Offset of the first replaced byte.
    pub offset: u64,
    /// The bytes that stand there instead.
    pub bytes: Vec<u8>,
}
