//! The default kernel: its command line, version, drivers and initial RAM disk.

use std::collections::BTreeSet;
use std::io::{BufReader, Read};

use byteorder::{ByteOrder, LittleEndian};

use super::super::context::Context;
use super::super::initrd;
use super::super::rules::{self, Rule};
use super::super::unread::Unread;
use super::drivers::{self, Driver, Drivers};
use super::loader::{Entry, Menu};
use super::{System, cmdline};

/// Configurations of boot loaders, the first that exists counts.
const GRUB_CONFIGS: [&str; 4] = [
    "/boot/grub2/grub.cfg",
    "/boot/grub/grub.cfg",
    "/boot/grub/grub.conf",
    "/boot/grub/menu.lst",
];
const GRUB_ENVIRONMENTS: [&str; 2] = ["/boot/grub2/grubenv", "/boot/grub/grubenv"];
const BLS_ENTRIES: &str = "/boot/loader/entries";
/// Largest initial RAM disk that is read, packed, in bytes.
const MAX_INITRD: u64 = 256 << 20;
/// Bytes of a kernel in which its version is looked for.
const KERNEL_HEAD: u64 = 64 << 10;
/// First kernel with NUMA on Hyper-V, and the first build of Red Hat's 2.6.32 that has it too.
const NUMA: Version = Version([2, 6, 37]);
const RED_HAT_BASE: Version = Version([2, 6, 32]);
const RED_HAT_NUMA_BUILD: u64 = 504;
/// Build of Red Hat Enterprise Linux 6.4, the first with the drivers for Hyper-V.
const RED_HAT_DRIVERS_BUILD: u64 = 358;
/// "If a custom kernel is required, we recommend a recent kernel version (such as 3.8+)."
const RECOMMENDED: Version = Version([3, 8, 0]);

/// Judges all that hangs on the default kernel.
pub(super) fn judge(system: &System, context: &mut Context<'_>) -> Result<(), Unread> {
    let Some(entry) = default_entry(system)? else {
        let places = GRUB_CONFIGS.join("`, `");
        context.find(
            &rules::BOOT_CONFIG,
            format!("no boot entry was found in `{places}` or `{BLS_ENTRIES}`"),
        );
        return Ok(());
    };
    cmdline::judge(&entry.cmdline, context);
    let Some(release) = release_of(system, &entry.kernel)? else {
        let kernel = &entry.kernel;
        context.find(
            &rules::KERNEL_UNKNOWN,
            format!("the version of the kernel `{kernel}` could not be found"),
        );
        return Ok(());
    };
    judge_version(&release, &entry.cmdline, context);
    let drivers = Drivers::read(system, &release)?;
    if drivers.are_unknown() {
        context.find(
            &rules::KERNEL_UNKNOWN,
            format!("neither modules nor configuration of the kernel {release} were found"),
        );
        return Ok(());
    }
    judge_hyper_v(system, &entry, &drivers, context)?;
    drivers::judge_file_systems(system, &drivers, context)
}

fn default_entry(system: &System) -> Result<Option<Entry>, Unread> {
    let mut menu = Menu::default();
    for path in GRUB_CONFIGS {
        if let Some(text) = system.text(path)? {
            menu = Menu::of_grub(&text);
            break;
        }
    }
    for path in GRUB_ENVIRONMENTS {
        if let Some(text) = system.text(path)? {
            menu.add_environment(&text);
        }
    }
    if menu.uses_bls || menu.entries.is_empty() {
        menu.add_bls(&system.texts_in(BLS_ENTRIES, ".conf")?);
    }
    menu.entries.retain(|entry| !entry.kernel.is_empty());
    Ok(menu.default_entry())
}

/// Where a file of the boot loader is: its paths begin at the file system that `/boot` is on.
fn boot_path(system: &System, path: &str) -> Result<String, Unread> {
    let below_boot = format!("/boot/{}", path.trim_start_matches('/'));
    Ok(match system.exists(&below_boot)? {
        true => below_boot,
        false => format!("/{}", path.trim_start_matches('/')),
    })
}

/// The release of a kernel, as in `/lib/modules`: from its name, else from its header.
fn release_of(system: &System, kernel: &str) -> Result<Option<String>, Unread> {
    let path = boot_path(system, kernel)?;
    let (tree, path) = system.locate(&path);
    let Some(path) = tree.canonical(path)? else {
        return Ok(None);
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    let named = name.split_once('-').map(|(_, release)| release.to_owned());
    if let Some(release) = named.filter(|release| Version::parse(release).is_some()) {
        return Ok(Some(release));
    }
    Ok(tree
        .head(&path, KERNEL_HEAD)?
        .and_then(|head| release_in(&head)))
}

/// The release in the header of an x86 kernel (the Linux/x86 Boot Protocol, `kernel_version`).
fn release_in(head: &[u8]) -> Option<String> {
    if head.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = usize::from(LittleEndian::read_u16(head.get(0x20e..0x210)?)) + 0x200;
    let text = head
        .get(at..)?
        .split(|&byte| byte == 0 || byte == b' ')
        .next()?;
    let release = std::str::from_utf8(text).ok()?;
    Version::parse(release).map(|_| release.to_owned())
}

/// The first three numbers of a kernel's version.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Version([u64; 3]);

impl Version {
    fn parse(release: &str) -> Option<Self> {
        let base = release.split(['-', '+', '_', '~']).next()?;
        let mut numbers = base.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Self([major, minor, numbers.next().flatten().unwrap_or(0)]))
    }
}

/// Build number of a kernel of Red Hat Enterprise Linux 6: 504 in `2.6.32-504.el6`.
fn red_hat_build(release: &str) -> Option<u64> {
    let (_, rest) = release.split_once('-')?;
    let is_red_hat = rest.contains(".el") && Version::parse(release) == Some(RED_HAT_BASE);
    let build = rest.split('.').next()?.parse().ok();
    build.filter(|_| is_red_hat)
}

fn judge_version(release: &str, cmdline: &str, context: &mut Context<'_>) {
    let Some(version) = Version::parse(release) else {
        return;
    };
    let build = red_hat_build(release).unwrap_or(0);
    let has_numa = version >= NUMA || build >= RED_HAT_NUMA_BUILD;
    if !has_numa && !cmdline::has(cmdline, "numa", "off") {
        context.find(
            &rules::KERNEL_NUMA,
            format!("the kernel {release} is older than 2.6.37 and not started with `numa=off`"),
        );
    }
    if version < RECOMMENDED && build < RED_HAT_DRIVERS_BUILD {
        context.find(
            &rules::KERNEL_VERSION,
            format!("the kernel is {release}, and 3.8 or newer is recommended"),
        );
    }
}

fn judge_hyper_v(
    system: &System,
    entry: &Entry,
    drivers: &Drivers,
    context: &mut Context<'_>,
) -> Result<(), Unread> {
    let needed: Vec<(&Rule, &str)> = [
        (
            &rules::HV_VMBUS,
            "hv_vmbus",
            &["HYPERV", "HYPERV_VMBUS"][..],
        ),
        (&rules::HV_STORVSC, "hv_storvsc", &["HYPERV_STORAGE"]),
    ]
    .into_iter()
    .filter(|(_, module, symbols)| drivers.find(module, symbols) != Driver::BuiltIn)
    .map(|(rule, module, _)| (rule, module))
    .collect();
    let mut missing: BTreeSet<&str> = needed.iter().map(|(_, module)| *module).collect();
    let mut is_readable = true;
    for path in &entry.initrds {
        if let Err(reason) = strike_out(system, path, &mut missing, context) {
            is_readable = false;
            if !missing.is_empty() {
                context.find(
                    &rules::INITRD_UNREADABLE,
                    format!("the initrd `{path}` could not be read: {reason}"),
                );
            }
        }
    }
    for (rule, module) in needed {
        if is_readable && missing.contains(module) {
            context.find(
                rule,
                format!("`{module}` is neither built into the kernel nor in its initrd"),
            );
        }
    }
    if drivers.find("hv_netvsc", &["HYPERV_NET"]) == Driver::Missing {
        context.find(
            &rules::HV_NETVSC,
            "the kernel has no `hv_netvsc`, and so no network on Azure",
        );
    }
    Ok(())
}

/// Removes the modules that an initial RAM disk holds from those that are missing.
fn strike_out(
    system: &System,
    path: &str,
    missing: &mut BTreeSet<&str>,
    context: &mut Context<'_>,
) -> Result<(), Unread> {
    context.step("initial RAM disk");
    let path = boot_path(system, path)?;
    let (tree, path) = system.locate(&path);
    tree.check_size(path, MAX_INITRD)?;
    let file = tree.open_file(path)?.ok_or(Unread::Missing)?;
    let reader = Ticking { file, context };
    initrd::visit_modules(&mut BufReader::new(reader), &mut |module| {
        missing.remove(module);
        !missing.is_empty()
    })?;
    Ok(())
}

/// A file that tells of progress as it is read.
struct Ticking<'a, 'b, R> {
    file: R,
    context: &'a mut Context<'b>,
}

impl<R: Read> Read for Ticking<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.context.tick();
        self.file.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions() {
        let parse = |release| Version::parse(release).map(|version| version.0);
        assert_eq!(parse("6.1.0-50-cloud-amd64"), Some([6, 1, 0]));
        assert_eq!(parse("2.6.32-504.el6.x86_64"), Some([2, 6, 32]));
        assert_eq!(parse("6.12+deb13-amd64"), Some([6, 12, 0]));
        assert_eq!(parse("rescue-0123"), None);
        assert_eq!(red_hat_build("2.6.32-504.el6.x86_64"), Some(504));
        assert_eq!(red_hat_build("2.6.32-5-amd64"), None);
        assert_eq!(red_hat_build("3.10.0-514.el7"), None);
    }

    #[test]
    fn the_header_of_a_kernel_tells_its_release() {
        let mut head = vec![0; 0x1000];
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        head[0x500..0x50f].copy_from_slice(b"6.1.0-1 (a@b) #");
        assert_eq!(release_in(&head).as_deref(), Some("6.1.0-1"));
        assert_eq!(release_in(&head[..0x480]), None);
    }

    proptest! {
        #[test]
        fn any_text_has_a_version_or_none(text: String, bytes: Vec<u8>) {
            let _ = (Version::parse(&text), red_hat_build(&text), release_in(&bytes));
        }
    }
}
