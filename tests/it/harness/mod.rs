//! What the tests share: real tools, real mounts, images to mount, and proof that sources stay
//! untouched.

pub(crate) mod azurite;
pub(crate) mod devices;
pub(crate) mod ignoring_case;
pub(crate) mod images;
pub(crate) mod inside;
pub(crate) mod log;
pub(crate) mod machine;
pub(crate) mod mount;
pub(crate) mod nbd;
pub(crate) mod options;
pub(crate) mod oracle;
pub(crate) mod process;
pub(crate) mod root;
pub(crate) mod snapshot;
mod tests;
pub(crate) mod tree;
pub(crate) mod user;
pub(crate) mod views;
pub(crate) mod writing;

pub(crate) use azurite::Azurite;
pub(crate) use devices::{FileSystem, Loop};
pub(crate) use images::{
    MIB, Rng, folder_with_a_warning, random_bytes, random_image, set_mtime, sparse_image,
};
pub(crate) use inside::Inside;
pub(crate) use mount::Mount;
pub(crate) use nbd::Nbd;
pub(crate) use options::Options;
pub(crate) use oracle::oracle_verify;
pub(crate) use process::{Lab, MemoryFs, run, run_ok, stdout_of, tool, vhdfs};
pub(crate) use snapshot::snapshot_of;
pub(crate) use tree::{
    assert_tree, errno_of, eventually, lines_with, list, listed_reasons, listed_views, tree,
};
pub(crate) use user::User;
