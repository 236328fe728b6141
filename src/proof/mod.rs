//! Sums that prove what a view holds, on any host and after any journey.

mod hash;
mod manifest;
mod verify;

pub use hash::{HashError, Source, Sums, hash};
pub use manifest::{BLOCK_SIZE, Manifest, ManifestError, SCHEMA, ViewSums};
pub use verify::{Difference, Judge, Outcome};

use sha2::{Digest, Sha256};

/// A SHA-256 sum.
pub type Sha256Sum = [u8; 32];
/// An MD5 sum.
pub type Md5Sum = [u8; 16];

/// The sum of a block; `None` if it holds zeros only.
pub(crate) fn block_sum(bytes: &[u8]) -> Option<Sha256Sum> {
    (!vhd::map::is_zero(bytes)).then(|| Sha256::digest(bytes).into())
}
