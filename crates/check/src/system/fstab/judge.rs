//! What the lines of `/etc/fstab` do to a boot.

use super::{Line, PATH, normal, parse, starts_read_only};
use crate::cmdline::is_kind;
use crate::content::Content;
use crate::context::Context;
use crate::files::Tree;
use crate::mount_options::{self, Refusal};
use crate::rules::Rule;
use crate::rules::system as rules;
use crate::unread::Unread;
use crate::volumes::{Named, Volume, Volumes};

/// File systems without a device of a disk.
const WITHOUT_DEVICE: [&str; 24] = [
    "proc",
    "sysfs",
    "tmpfs",
    "devtmpfs",
    "devpts",
    "securityfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "configfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "ramfs",
    "efivarfs",
    "bpf",
    "overlay",
    "binfmt_misc",
    "pstore",
    "rpc_pipefs",
    "autofs",
    "none",
    "selinuxfs",
];
/// Devices and paths that are not on the OS disk: the resource disk, and memory.
const NOT_ON_OS_DISK: [&str; 6] = [
    "/mnt/",
    "/dev/disk/cloud/azure_resource",
    "/dev/disk/azure/resource",
    "/dev/disk/azure/scsi",
    "/dev/zram",
    "/dev/sdb",
];

/// Folders of the system itself: what is mounted over one of them hides it.
const OF_SYSTEM: [&str; 10] = [
    "/etc",
    "/usr",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
];

/// Judges the lines.
pub(crate) fn judge(
    text: Option<&str>,
    cmdline: &str,
    root: &Volume,
    tree: &Tree,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let lines = parse(text.unwrap_or_default());
    let find = |rule: &Rule, line: u32, message: String| {
        context.find_at(rule, PATH, line, message);
    };
    let stays_read_only = starts_read_only(cmdline);
    let of_root = lines
        .iter()
        .flatten()
        .find(|line| normal(&line.folder).is_empty() && line.folder.starts_with('/'));
    if of_root.is_none() && stays_read_only {
        let message = "the kernel mounts the root file system read-only, and no line of \
                       `/etc/fstab` makes it writable";
        context.find_in(&rules::FSTAB_ROOT, PATH, message);
    }
    for line in &lines {
        match line {
            Ok(line) => judge_line(line, stays_read_only, root, tree, volumes, &find)?,
            Err(number) => find(
                &rules::FSTAB_FORM,
                *number,
                format!("line {number} of `{PATH}` has too few fields, and is left out"),
            ),
        }
    }
    Ok(())
}

fn judge_line(
    line: &Line,
    stays_read_only: bool,
    root: &Volume,
    tree: &Tree,
    volumes: &Volumes,
    find: &dyn Fn(&Rule, u32, String),
) -> Result<(), Unread> {
    let number = line.number;
    if line.kind == "swap" {
        let elsewhere = NOT_ON_OS_DISK
            .iter()
            .any(|place| line.device.starts_with(place));
        if !elsewhere && !line.has("noauto") {
            let device = &line.device;
            find(
                &rules::FSTAB_SWAP,
                number,
                format!("`/etc/fstab` has swap on the OS disk: {device}"),
            );
        }
        return Ok(());
    }
    let folder = normal(&line.folder);
    judge_cover(line, &folder, find);
    if WITHOUT_DEVICE.contains(&line.kind.as_str()) && !line.is_bind() {
        return Ok(());
    }
    if folder.is_empty() {
        return judge_root(line, stays_read_only, root, volumes, find);
    }
    if !line.is_required() {
        return Ok(());
    }
    if line.is_bind() || line.device.starts_with('/') && !line.device.starts_with("/dev/") {
        if !tree.exists(&line.device)? {
            let (device, folder) = (&line.device, &line.folder);
            find(
                &rules::FSTAB_DEVICE,
                number,
                format!("`{device}` is to be mounted on `{folder}`, and is not there"),
            );
        }
        return Ok(());
    }
    judge_device(line, volumes, find);
    Ok(())
}

/// Judges what is mounted over the folders of the system, and how.
fn judge_cover(line: &Line, folder: &str, find: &dyn Fn(&Rule, u32, String)) {
    let is_root = folder.is_empty();
    if line.has("noauto") || !is_root && !OF_SYSTEM.contains(&folder) {
        return;
    }
    let (shown, number) = (&line.folder, line.number);
    if line.has("noexec") && folder != "/etc" {
        let message =
            format!("`{shown}` is mounted with `noexec`: no program on it can be started");
        find(&rules::FSTAB_HIDES, number, message);
    }
    if matches!(line.kind.as_str(), "tmpfs" | "ramfs") && !is_root {
        let message = format!(
            "an empty {} is mounted over `{shown}`, and hides it",
            line.kind
        );
        find(&rules::FSTAB_HIDES, number, message);
    } else if line.is_bind() || line.kind == "overlay" {
        let device = &line.device;
        let message = format!("`{device}` is mounted over `{shown}`, which was not followed");
        find(&rules::FSTAB_UNKNOWN, number, message);
    }
}

fn judge_device(line: &Line, volumes: &Volumes, find: &dyn Fn(&Rule, u32, String)) {
    let (device, folder, number) = (&line.device, &line.folder, line.number);
    match volumes.named(device) {
        Named::Found(volume) if !is_kind(&line.kind, volume.content) => find(
            &rules::FSTAB_TYPE,
            number,
            format!(
                "`{device}` is to be mounted on `{folder}` as {}, and {} holds {}",
                line.kind,
                volume.place(),
                volume.content.name()
            ),
        ),
        Named::Found(volume) if matches!(volume.content, Content::Unknown | Content::Swap) => find(
            &rules::FSTAB_TYPE,
            number,
            format!("`{device}` is to be mounted on `{folder}`, and holds no file system"),
        ),
        Named::Found(volume) => {
            let options = line.options.iter().map(String::as_str);
            if let Some((option, refusal)) = mount_options::refused(volume.content, options) {
                let rule = match refusal {
                    Refusal::Sure => &rules::FSTAB_TYPE,
                    Refusal::Unsure => &rules::FSTAB_UNKNOWN,
                };
                find(rule, number, refused(folder, option, volume, refusal));
            }
            let options = line.options.iter().map(String::as_str);
            if let Err(Unread::Missing) = volume.mounted("", options) {
                let options = line.options.join(",");
                find(
                    &rules::FSTAB_SUBVOLUME,
                    number,
                    format!("`{device}` has no subvolume as `{options}` names it"),
                );
            }
        }
        Named::Missing => {
            let hint = volumes.other_spelling(device);
            find(
                &rules::FSTAB_DEVICE,
                number,
                format!(
                    "`{device}` is to be mounted on `{folder}`, and nothing in this image has \
                     this name; without it the boot stops{hint}"
                ),
            );
        }
        Named::Unknown(why) => find(
            &rules::FSTAB_UNKNOWN,
            number,
            format!("`{device}` is to be mounted on `{folder}` and was not followed: {why}"),
        ),
        Named::NoDevice => find(
            &rules::FSTAB_UNKNOWN,
            number,
            format!("`{device}` is to be mounted on `{folder}`, and is no device"),
        ),
    }
}

/// What is told of an option.
fn refused(folder: &str, option: &str, volume: &Volume, refusal: Refusal) -> String {
    let found = volume.content.name();
    match refusal {
        Refusal::Sure => format!("`{folder}` has the option `{option}`, which {found} refuses"),
        Refusal::Unsure => {
            format!("`{folder}` has the option `{option}`, which {found} may refuse")
        }
    }
}

/// The line of the root file system makes it writable: where its name is wrong, it stays as the
/// kernel mounted it.
fn judge_root(
    line: &Line,
    stays_read_only: bool,
    root: &Volume,
    volumes: &Volumes,
    find: &dyn Fn(&Rule, u32, String),
) -> Result<(), Unread> {
    let (device, number) = (&line.device, line.number);
    let rule = match stays_read_only {
        true => &rules::FSTAB_ROOT,
        false => &rules::FSTAB_ROOT_NAME,
    };
    match volumes.named(device) {
        Named::Found(volume) if volume.number == root.number => {
            if !is_kind(&line.kind, volume.content) {
                let (kind, found) = (&line.kind, volume.content.name());
                // It is mounted already: a remount does not look at the type.
                find(
                    &rules::FSTAB_ROOT_NAME,
                    number,
                    format!("the root file system is given as {kind}, and is {found}"),
                );
            }
        }
        Named::Found(volume) => find(
            &rules::FSTAB_ROOT_NAME,
            number,
            format!(
                "the root file system is given as `{device}`, which is {}",
                volume.place()
            ),
        ),
        Named::Missing => find(
            rule,
            number,
            format!(
                "the root file system is given as `{device}`, which is not in this image; it stays read-only"
            ),
        ),
        Named::Unknown(_) | Named::NoDevice => {}
    }
    let options = line.options.iter().map(String::as_str);
    if stays_read_only
        && let Some((option, refusal)) = mount_options::refused(root.content, options)
    {
        let rule = match refusal {
            Refusal::Sure => &rules::FSTAB_ROOT,
            Refusal::Unsure => &rules::FSTAB_UNKNOWN,
        };
        find(rule, number, refused("/", option, root, refusal));
    }
    if line.has("ro") && !line.has("rw") {
        find(
            &rules::ROOT_READ_ONLY,
            number,
            "the root file system is mounted read-only; whether the system runs so is not known"
                .to_owned(),
        );
    }
    Ok(())
}
