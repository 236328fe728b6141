//! `vhdfs umount`.

use super::Failure;
use crate::cli::UmountArgs;
use crate::session;

pub(super) fn run(args: &UmountArgs) -> Result<(), Failure> {
    Ok(session::unmount(&args.mountpoint, args.lazy)?)
}
