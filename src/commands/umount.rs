//! `vhdfs umount`.

use super::Failure;
use crate::cli::UmountArgs;
use crate::mount::unmount::unmount;

pub(super) fn run(args: &UmountArgs) -> Result<(), Failure> {
    Ok(unmount(&args.mountpoint, args.lazy)?)
}
