//! What to do about an error of the system, in words that follow its message.

use std::io;

/// About a source or an image that cannot be read.
pub fn on_reading(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; name an image, or a folder of images",
        io::ErrorKind::PermissionDenied => "; run as a user who may read it",
        io::ErrorKind::IsADirectory => "; name one image",
        io::ErrorKind::ResourceBusy => {
            "; close what writes to it, or say `--writers allow` and take what is there"
        }
        io::ErrorKind::StaleNetworkFileHandle => "; wait until nobody writes to it, and try again",
        _ => on_resources(error),
    }
}

/// About something that the process needs and does not get.
pub fn on_resources(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            "; raise the limit of open files with `ulimit -n`, or LimitNOFILE= of the systemd unit"
        }
        Some(libc::EAGAIN) => "; free memory, or raise the limit of processes",
        Some(libc::ENOSPC | libc::EDQUOT) => "; make room, or write elsewhere",
        // Also what this process itself could not get, which has no number.
        _ if error.kind() == io::ErrorKind::OutOfMemory => {
            "; free memory, or raise the limit of it"
        }
        _ => "",
    }
}

/// About a mount that the kernel or fusermount3 refuses.
pub fn on_mounting(error: &io::Error) -> &'static str {
    let text = error.to_string();
    if text.contains("no write access") {
        "; name a folder that you own, or mount as root"
    } else if text.contains("mount_max") {
        "; raise mount_max in /etc/fuse.conf"
    } else if error.kind() == io::ErrorKind::PermissionDenied || text.contains("not permitted") {
        "; root needs CAP_SYS_ADMIN to mount, in a container `--cap-add SYS_ADMIN`; `vhdfs cat` needs neither"
    } else {
        on_resources(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_has_advice_whoever_noticed_it() {
        for error in [
            io::Error::from_raw_os_error(libc::ENOMEM),
            io::ErrorKind::OutOfMemory.into(),
        ] {
            assert_eq!(
                on_reading(&error),
                "; free memory, or raise the limit of it"
            );
        }
    }
}
