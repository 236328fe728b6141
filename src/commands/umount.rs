//! `vhdfs umount`.

use std::time::Duration;

use super::Failure;
use crate::cli::UmountArgs;
use crate::mount::client::Daemon;
use crate::mount::unmount::unmount;

/// How long a daemon may take to end, once nothing is mounted any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns when the daemon has ended, too: until then it keeps the file system of the images in use,
/// which systemd unmounts next when the machine is switched off.
pub(super) fn run(args: &UmountArgs) -> Result<(), Failure> {
    let daemon = Daemon::of(&args.mountpoint);
    unmount(&args.mountpoint, args.lazy)?;
    // Detached, it goes on as long as files are open.
    if let Some(daemon) = daemon.filter(|_| !args.lazy) {
        daemon.wait(PATIENCE);
    }
    Ok(())
}
