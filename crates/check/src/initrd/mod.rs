//! The initial RAM disk: whether it brings the machine to its root file system.

mod archive;
mod logical;
mod parts;
mod without;

use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::rc::Rc;

use crate::content::Content;
use crate::context::Context;
use crate::drivers::{self, Drivers};
use crate::elf;
use crate::files::{Files, Memory, Tree};
use crate::grub::{Place, World};
use crate::kernel::Kernel;
use crate::loader::Boot;
use crate::report::Stage;
use crate::rules::initrd as rules;
use crate::unread::{Unread, contained};
use crate::volumes::{Named, Volume, Volumes};

pub(crate) use archive::InitrdError;
use archive::Unpacker;
pub(crate) use without::judge_none;

/// Largest initial RAM disk that is read, packed, in bytes.
const MAX_INITRD: u64 = 512 << 20;
/// Folders in which modules are.
const MODULE_FOLDERS: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];

/// An initial RAM disk that was unpacked.
pub(crate) struct Initrd {
    /// Its files.
    pub(crate) tree: Tree,
    files: Rc<Memory>,
}

/// What the initial RAM disks of a boot come to.
pub(crate) enum Unpacked {
    /// There are none.
    None,
    /// They could not be read; there is a finding.
    Unread,
    /// These files.
    Files(Initrd),
}

impl Unpacked {
    /// Whether initramfs-tools made them, as far as is known.
    pub(crate) fn is_initramfs_tools(&self) -> bool {
        match self {
            Self::Files(initrd) => contained(|| initrd.is_initramfs_tools()).unwrap_or(false),
            Self::None | Self::Unread => false,
        }
    }
}

/// Unpacks the initial RAM disks of a boot.
pub(crate) fn unpack(
    boot: &Boot,
    kernel: &Kernel,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Unpacked {
    context.step("initial RAM disk");
    let mut unpacker = Unpacker::default();
    let built_in = kernel
        .initrd
        .as_deref()
        .map(|bytes| unpacker.read(&mut &bytes[..]));
    if let Some(Err(error)) = built_in {
        report(error, "the unified kernel image", boot, context);
        return Unpacked::Unread;
    }
    for place in &boot.initrds {
        let shown = volumes.shown(place);
        match contained(|| unpack_one(place, &mut unpacker, volumes, context)) {
            Ok(()) => {}
            Err(Unread::Missing) => {
                let message = format!("the boot loader loads `{shown}`, and there is no such file");
                context.find_at(&rules::INITRD_MISSING, &boot.file, boot.line, message);
                return Unpacked::Unread;
            }
            Err(Unread::Initrd(error)) => {
                report(error, &shown, boot, context);
                return Unpacked::Unread;
            }
            Err(reason) => {
                let message = format!("the initrd `{shown}` could not be read: {reason}");
                context.find_in(&rules::INITRD_UNREADABLE, &shown, message);
                return Unpacked::Unread;
            }
        }
    }
    if boot.initrds.is_empty() && kernel.initrd.is_none() {
        return Unpacked::None;
    }
    let files = Rc::new(unpacker.into_files());
    let shown: Vec<_> = boot
        .initrds
        .iter()
        .map(|place| volumes.shown(place))
        .collect();
    context.evidence(
        Stage::Initrd,
        format!("{} ({} files)", shown.join(", "), files.len()),
    );
    let tree = Tree::of(Rc::clone(&files) as Rc<dyn Files>);
    Unpacked::Files(Initrd { tree, files })
}

fn report(error: InitrdError, shown: &str, boot: &Boot, context: &Context<'_>) {
    let rule = match error.is_damage() {
        true => &rules::INITRD_DAMAGED,
        false => &rules::INITRD_UNREADABLE,
    };
    let at = if shown.starts_with('/') {
        shown
    } else {
        &boot.file
    };
    context.find_in(
        rule,
        at,
        format!("the initrd `{shown}` cannot be unpacked to its end: {error}"),
    );
}

fn unpack_one(
    place: &Place,
    unpacker: &mut Unpacker,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let tree = volumes.tree_at(place)?.ok_or(Unread::Missing)?;
    let meta = tree.meta(&place.path)?.ok_or(Unread::Missing)?;
    if meta.size > MAX_INITRD {
        let (path, size) = (place.path.clone(), meta.size);
        return Err(Unread::FileSize {
            path,
            size,
            limit: MAX_INITRD,
        });
    }
    if meta.size == 0 {
        return Err(InitrdError::Cpio("it is empty").into());
    }
    let file = tree.open(&place.path)?.ok_or(Unread::Missing)?;
    let reader = Ticking { file, context };
    unpacker.read(&mut BufReader::with_capacity(256 << 10, reader))?;
    Ok(())
}

/// A file that reports progress as it is read.
struct Ticking<'a, 'b, R> {
    file: R,
    context: &'a Context<'b>,
}

impl<R: Read> Read for Ticking<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.context.tick();
        self.file.read(buffer)
    }
}

/// What an initial RAM disk is judged for.
pub(crate) struct Needs<'a> {
    /// Release of the kernel.
    pub(crate) release: &'a str,
    /// The kernel's drivers, as far as the root file system says.
    pub(crate) drivers: &'a Drivers,
    /// The kernel's command line.
    pub(crate) cmdline: &'a str,
    /// The root file system.
    pub(crate) root: Option<&'a Volume>,
}

impl Initrd {
    /// The values that command lines built into it give `root=`; the last one counts.
    pub(crate) fn root_names(&self) -> Result<Vec<(String, String)>, Unread> {
        let mut found = Vec::new();
        let mut texts = self.tree.texts_in("/etc/cmdline.d", ".conf")?;
        texts.extend(
            self.tree
                .text("/etc/cmdline")?
                .map(|text| ("/etc/cmdline".to_owned(), text)),
        );
        for (path, text) in texts {
            if let Some(name) = crate::cmdline::last(&text, "root") {
                found.push((path, name.to_owned()));
            }
        }
        Ok(found)
    }

    /// Whether it was made by initramfs-tools, which takes the root file system from the command
    /// line only.
    pub(crate) fn is_initramfs_tools(&self) -> Result<bool, Unread> {
        self.tree.exists("/scripts/functions")
    }

    /// Judges whether it starts, and brings up the disk.
    pub(crate) fn judge(
        &self,
        needs: &Needs<'_>,
        volumes: &Volumes,
        context: &Context<'_>,
    ) -> Result<(), Unread> {
        self.judge_init(needs.cmdline, context)?;
        self.judge_udev(context)?;
        self.judge_parts(needs, context)?;
        self.judge_modules(needs, context)?;
        self.judge_logical(needs, &self.modules(needs.release), volumes, context)?;
        self.judge_blocks(context)?;
        self.judge_waits(volumes, context)
    }

    fn judge_init(&self, cmdline: &str, context: &Context<'_>) -> Result<(), Unread> {
        let init = crate::cmdline::last(cmdline, "rdinit").unwrap_or("/init");
        match elf::judge_program(&self.tree, init)? {
            Ok(()) => {}
            Err(elf::Fault::Unknown(why)) => context.find_in(
                &rules::INITRD_UNREADABLE,
                init,
                format!("`{init}` of the initrd could not be followed: {why}"),
            ),
            Err(fault) => context.find_in(
                &rules::INITRD_INIT,
                init,
                format!("the kernel starts `{init}` of the initrd: {fault}"),
            ),
        }
        Ok(())
    }

    /// Judges that udev can run, which loads the drivers of the disk.
    fn judge_udev(&self, context: &Context<'_>) -> Result<(), Unread> {
        let Some(path) = self.tree.first_of(&parts::UDEVD)? else {
            let is_wanted = self.is_systemd()? || self.tree.exists("/scripts/init-top/udev")?;
            if is_wanted {
                let message = "there is no udev in the initrd, which loads the drivers of the disk";
                context.find_in(&rules::INITRD_INIT, parts::UDEVD[0], message);
            }
            return Ok(());
        };
        if let Err(fault) = elf::judge_program(&self.tree, path)?
            && !matches!(fault, elf::Fault::Unknown(_))
        {
            let message = format!("`{path}` of the initrd loads the drivers of the disk: {fault}");
            context.find_in(&rules::INITRD_INIT, path, message);
        }
        Ok(())
    }

    /// The modules of a release that are in it.
    pub(crate) fn modules(&self, release: &str) -> BTreeSet<String> {
        let of_release = |path: &&str| {
            MODULE_FOLDERS.iter().any(|folder| {
                let rest = path
                    .strip_prefix(folder)
                    .and_then(|rest| rest.strip_prefix('/'));
                rest.is_some_and(|rest| rest.split('/').next() == Some(release))
            })
        };
        let paths = self.files.paths().filter(of_release);
        paths.filter_map(drivers::module_name).collect()
    }

    fn judge_modules(&self, needs: &Needs<'_>, context: &Context<'_>) -> Result<(), Unread> {
        let present = self.modules(needs.release);
        let mut own = Drivers::default();
        for folder in MODULE_FOLDERS {
            let folder = format!("{folder}/{}", needs.release);
            if !own.has_modules() && self.tree.exists(&folder)? {
                own = Drivers::of_folder(&self.tree, &folder)?;
            }
        }
        if needs.drivers.are_unknown() && !own.has_modules() {
            return Ok(());
        }
        if !present.is_empty() {
            self.judge_index(needs.release, context)?;
        }
        let mut wanted: Vec<(&crate::rules::Rule, &str, &[&str])> = vec![
            (&rules::HV_VMBUS, "hv_vmbus", &["HYPERV", "HYPERV_VMBUS"]),
            (&rules::HV_STORVSC, "hv_storvsc", &["HYPERV_STORAGE"]),
            (&rules::INITRD_MODULES, "sd_mod", &["BLK_DEV_SD"]),
        ];
        if let Some((module, symbols)) = needs.root.and_then(|root| module_of(root.content)) {
            wanted.push((&rules::INITRD_MODULES, module, symbols));
        }
        let mut reported = BTreeSet::new();
        for (rule, module, symbols) in wanted {
            if needs.drivers.find(module, symbols) == drivers::Driver::BuiltIn
                || own.find(module, &[]) == drivers::Driver::BuiltIn
            {
                continue;
            }
            if !present.contains(module) {
                let other = match self.other_release(needs.release) {
                    Some(other) => format!("; it holds modules of the kernel {other}"),
                    None => String::new(),
                };
                let release = needs.release;
                reported.insert(module.to_owned());
                context.find(
                    rule,
                    format!(
                        "`{module}` is neither built into the kernel {release} nor in its \
                         initrd{other}"
                    ),
                );
                continue;
            }
            let needed = if own.has_modules() {
                &own
            } else {
                needs.drivers
            };
            let closure = needed.closure(module);
            let lacking = |name: &&String| !present.contains(*name) && !reported.contains(*name);
            if let Some(first) = closure.iter().find(lacking) {
                context.find(
                    &rules::INITRD_MODULES,
                    format!("`{module}` needs `{first}`, which is not in the initrd"),
                );
            }
        }
        Ok(())
    }

    /// Judges that the lists are there by which a module is found for a device. Those of kmod are
    /// in a form of their own; busybox reads the texts.
    fn judge_index(&self, release: &str, context: &Context<'_>) -> Result<(), Unread> {
        let kmods = ["/usr/bin/kmod", "/bin/kmod", "/sbin/kmod"];
        let by_kmod = self.tree.exists_any(&kmods)?;
        for list in ["modules.dep", "modules.alias"] {
            let mut found = false;
            for folder in MODULE_FOLDERS {
                let text = format!("{folder}/{release}/{list}");
                let index = format!("{text}.bin");
                found |= self.tree.exists(&index)? || !by_kmod && self.tree.exists(&text)?;
            }
            if !found {
                let message = format!("the initrd has modules of {release} and no `{list}.bin`");
                context.find(&rules::INITRD_MODULES, message);
            }
        }
        Ok(())
    }

    /// Another kernel whose modules it has.
    fn other_release(&self, release: &str) -> Option<String> {
        let mut releases = self.files.paths().filter_map(|path| {
            let folder = MODULE_FOLDERS
                .iter()
                .find_map(|folder| path.strip_prefix(folder))?;
            let release = folder.strip_prefix('/')?.split('/').next()?;
            Some(release.to_owned())
        });
        releases.find(|found| found != release)
    }

    /// Judges lines within that keep a driver of Hyper-V from being loaded.
    fn judge_blocks(&self, context: &Context<'_>) -> Result<(), Unread> {
        for folder in ["/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"] {
            for (path, text) in self.tree.texts_in(folder, ".conf")? {
                for (number, line) in (1..).zip(text.lines()) {
                    let blocked = ["hv_vmbus", "hv_storvsc", "sd_mod"]
                        .iter()
                        .find(|module| drivers::blocks(line, module));
                    if let Some(module) = blocked {
                        context.find_at(
                            &rules::INITRD_BLOCKED,
                            &path,
                            number,
                            format!("`{path}` in the initrd keeps `{module}` from being loaded"),
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// Judges the devices that dracut waits for, as the machine had them that it ran on.
    fn judge_waits(&self, volumes: &Volumes, context: &Context<'_>) -> Result<(), Unread> {
        for folder in [
            "/usr/lib/dracut/hooks/initqueue/finished",
            "/lib/dracut/hooks/initqueue/finished",
            "/var/lib/dracut/hooks/initqueue/finished",
        ] {
            for name in self.tree.list(folder)? {
                let Some(device) = name.strip_prefix("devexists-") else {
                    continue;
                };
                let device = device.trim_end_matches(".sh").replace("\\x2f", "/");
                if let Named::Missing = volumes.named(&device) {
                    context.find_in(
                        &rules::INITRD_WAITS,
                        &format!("{folder}/{name}"),
                        format!("the initrd waits for `{device}`, which is not in this image"),
                    );
                }
            }
        }
        Ok(())
    }
}

/// The module of a file system.
fn module_of(content: Content) -> Option<(&'static str, &'static [&'static str])> {
    match content {
        Content::Ext => Some(("ext4", &["EXT4_FS"])),
        Content::Xfs => Some(("xfs", &["XFS_FS"])),
        Content::Btrfs => Some(("btrfs", &["BTRFS_FS"])),
        Content::F2fs => Some(("f2fs", &["F2FS_FS"])),
        Content::Squashfs => Some(("squashfs", &["SQUASHFS"])),
        Content::Erofs => Some(("erofs", &["EROFS_FS"])),
        _ => None,
    }
}
