//! The way of a boot, stage by stage: each begins with what the one before leads to.

use crate::Level;
use crate::cmdline::{self, Root};
use crate::context::Context;
use crate::drivers::Drivers;
use crate::files::{Mount, Tree};
use crate::firmware;
use crate::initrd::{self, Needs, Unpacked};
use crate::kernel::{self, Kernel};
use crate::loader::{self, Boot};
use crate::network;
use crate::partitions::Layout;
use crate::provisioning::{self, CloudInit};
use crate::reachable;
use crate::report::{Generation, Stage};
use crate::rules;
use crate::sizes;
use crate::system::{self, System};
use crate::unread::{Unread, contained};
use crate::volumes::{Volume, Volumes};

/// Options with which distributions mount their root: none, and the subvolumes of Ubuntu and Fedora.
const LIKELY_OPTIONS: [&str; 3] = ["", "subvol=@", "subvol=root"];

/// Follows a boot from the firmware to the SSH server.
///
/// Where a stage cannot be followed, what comes behind it is judged as far as it can be found
/// without; the stage itself stays unknown.
pub(crate) fn follow(layout: &Layout, generation: Generation, context: &Context<'_>) {
    let volumes = Volumes::open(layout, context);
    if layout.partitions.is_empty() && !layout.is_divided() {
        return;
    }
    let start = firmware::follow(layout, &volumes, generation, context);
    let boot = loader::follow(start, &volumes, context);
    let kernel = boot
        .as_ref()
        .and_then(|boot| kernel::follow(boot, &volumes, context));
    let booted = boot.as_ref().zip(kernel.as_ref());
    let (cmdline, unpacked, root) = match booted {
        Some((boot, kernel)) => before_root(boot, kernel, &volumes, context),
        None => (String::new(), Unpacked::Unread, None),
    };
    context.step("root file system");
    let is_named = root.is_some();
    let found = match root {
        Some(root) => mount_root(root, boot.as_ref(), &cmdline, context).map(|mount| (root, mount)),
        None => likely_root(&volumes).or_else(|| {
            report_no_root(&volumes, context);
            None
        }),
    };
    let Some((root, mount)) = found else {
        return;
    };
    // Others stop where `init=` names nothing: dracut in an emergency shell, the kernel at once.
    let replaces_init = unpacked.is_initramfs_tools() || matches!(unpacked, Unpacked::Unread);
    let opened = contained(|| System::open(mount, &cmdline, replaces_init, &volumes, context));
    let mut system = match opened {
        Ok(system) => system,
        Err(reason) => {
            context.find(&rules::system::ROOT_UNKNOWN, reason.to_string());
            return;
        }
    };
    let release = kernel.as_ref().and_then(|kernel| kernel.release.clone());
    let drivers = release.as_deref().and_then(|release| {
        contained(|| drivers_of(release, boot.as_ref(), &system.tree, &volumes)).ok()
    });
    if let Some((boot, release)) = boot.as_ref().zip(release.as_deref()) {
        let of_boot = OfBoot {
            boot,
            release,
            cmdline: &cmdline,
            root,
            drivers: drivers.as_ref(),
        };
        judge_boot(&of_boot, &unpacked, &system.tree, &volumes, context);
    }
    judge_system(&mut system, root, drivers.as_ref(), &volumes, context);
    if is_named {
        for stage in [
            Stage::Cmdline,
            Stage::System,
            Stage::Provisioning,
            Stage::Network,
            Stage::Reachable,
        ] {
            context.followed(stage);
        }
    }
}

/// Command line, initial RAM disk and root file system.
fn before_root<'v>(
    boot: &Boot,
    kernel: &Kernel,
    volumes: &'v Volumes,
    context: &Context<'_>,
) -> (String, Unpacked, Option<&'v Volume>) {
    context.step("command line");
    let built_in = kernel.cmdline.clone().unwrap_or_default();
    let cmdline = format!("{built_in} {}", boot.cmdline).trim().to_owned();
    cmdline::judge(&cmdline, context);
    let named = cmdline::follow(boot, &cmdline, volumes, context);
    let unpacked = initrd::unpack(boot, kernel, volumes, context);
    cmdline::judge_delay(&cmdline, unpacked.is_initramfs_tools(), context);
    let root = match named {
        Root::On(volume) => Some(volume),
        Root::Lost => None,
        Root::Unnamed => unnamed(boot, &unpacked, volumes, context),
    };
    (cmdline, unpacked, root)
}

/// Without `root=`, the initial RAM disk may name the root file system.
fn unnamed<'v>(
    boot: &Boot,
    unpacked: &Unpacked,
    volumes: &'v Volumes,
    context: &Context<'_>,
) -> Option<&'v Volume> {
    let find = |rule, message: &str| context.find_at(rule, &boot.file, boot.line, message);
    let Unpacked::Files(initrd) = unpacked else {
        if matches!(unpacked, Unpacked::None) {
            find(
                &rules::cmdline::ROOT_UNNAMED,
                "the command line has no `root=`, and there is no initrd",
            );
        } else {
            find(
                &rules::cmdline::ROOT_UNNAMED_UNKNOWN,
                "the command line has no `root=`",
            );
        }
        return None;
    };
    let names = contained(|| initrd.root_names()).unwrap_or_default();
    if let Some((path, name)) = names.last() {
        let report = |rule: &rules::Rule, message: String| {
            let rule = if rule.level == Level::Error {
                &rules::initrd::INITRD_ROOT
            } else {
                rule
            };
            context.find_in(rule, path, message);
        };
        return match cmdline::resolve(name, "root=", volumes, &report) {
            Root::On(volume) => Some(volume),
            Root::Lost | Root::Unnamed => None,
        };
    }
    if contained(|| initrd.is_initramfs_tools()).unwrap_or(false) {
        find(
            &rules::cmdline::ROOT_UNNAMED,
            "the command line has no `root=`, which the initrd needs",
        );
    } else {
        find(
            &rules::cmdline::ROOT_UNNAMED_UNKNOWN,
            "the command line has no `root=`; the initrd may find it",
        );
    }
    None
}

/// What is known of a boot once its root file system is known.
struct OfBoot<'a> {
    boot: &'a Boot,
    release: &'a str,
    cmdline: &'a str,
    root: &'a Volume,
    drivers: Option<&'a Drivers>,
}

fn drivers_of(
    release: &str,
    boot: Option<&Boot>,
    root: &Tree,
    volumes: &Volumes,
) -> Result<Drivers, Unread> {
    let mut drivers = Drivers::read(root, release)?;
    // The configuration lies beside the kernel.
    if let Some(boot) = boot {
        let folder = boot
            .kernel
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        if let Some(tree) = volumes.tree_at(&boot.kernel)? {
            drivers.add_config(tree.text(&format!("{folder}/config-{release}"))?);
        }
    }
    Ok(drivers)
}

/// The rules of kernel and initial RAM disk that need the root file system.
fn judge_boot(
    of: &OfBoot<'_>,
    unpacked: &Unpacked,
    tree: &Tree,
    volumes: &Volumes,
    context: &Context<'_>,
) {
    kernel::judge_version(of.release, of.cmdline, context);
    let Some(drivers) = of.drivers else {
        return;
    };
    let judged = contained(|| kernel::judge_modules(of.release, drivers, tree, context));
    if judged.is_ok() {
        context.followed(Stage::Kernel);
    }
    let in_initrd = |module: &str| match unpacked {
        Unpacked::Files(initrd) => initrd.modules(of.release).contains(module),
        Unpacked::None | Unpacked::Unread => false,
    };
    let known = matches!(unpacked, Unpacked::Files(_));
    let in_initrd = known.then_some(&in_initrd as &dyn Fn(&str) -> bool);
    sizes::judge(of.release, drivers, in_initrd, context);
    context.step("initial RAM disk");
    match unpacked {
        Unpacked::Unread => return,
        Unpacked::None => {
            let name = cmdline::last(of.cmdline, "root").unwrap_or_default();
            initrd::judge_none(of.boot, drivers, name, Some(of.root), context);
        }
        Unpacked::Files(initrd) => {
            let needs = Needs {
                release: of.release,
                drivers,
                cmdline: of.cmdline,
                root: Some(of.root),
            };
            if let Err(reason) = contained(|| initrd.judge(&needs, volumes, context)) {
                let message = format!("the initrd could not be followed: {reason}");
                context.find(&rules::initrd::INITRD_UNREADABLE, message);
            }
        }
    }
    context.followed(Stage::Initrd);
}

fn judge_system(
    system: &mut System,
    root: &Volume,
    drivers: Option<&Drivers>,
    volumes: &Volumes,
    context: &Context<'_>,
) {
    let unreadable = |rule, name: &str, reason| {
        let message =
            format!("the file system could not be read for the topic \"{name}\": {reason}");
        context.find(rule, message);
    };
    if let Err(reason) = contained(|| system::judge(system, root, volumes, context)) {
        unreadable(&rules::system::ROOT_UNREADABLE, "system", reason);
    }
    let judged = contained(|| system::folders::judge_selinux(system, drivers, context));
    if let Err(reason) = judged {
        unreadable(&rules::system::ROOT_UNREADABLE, "SELinux", reason);
    }
    context.step("units");
    let system = &*system;
    let units = match contained(|| system::judge_units(system, context)) {
        Ok(units) => units,
        Err(reason) => {
            unreadable(&rules::system::ROOT_UNREADABLE, "units", reason);
            return;
        }
    };
    context.step("provisioning agent");
    let cloud_init = contained(|| CloudInit::read(system, &units));
    let cloud_init = cloud_init.unwrap_or_else(|reason| {
        unreadable(&rules::provisioning::AGENT_UNKNOWN, "cloud-init", reason);
        CloudInit::default()
    });
    let judged = contained(|| provisioning::judge(system, &units, &cloud_init, drivers, context));
    if let Err(reason) = judged {
        unreadable(&rules::provisioning::AGENT_UNKNOWN, "agent", reason);
    }
    context.step("network");
    let judged = contained(|| network::judge(system, &units, &cloud_init, drivers, context));
    if let Err(reason) = judged {
        unreadable(&rules::network::NETWORK_UNKNOWN, "network", reason);
    }
    context.step("SSH server");
    let judged = contained(|| reachable::judge(system, &units, &cloud_init, context));
    if let Err(reason) = judged {
        unreadable(&rules::reachable::SSH_UNKNOWN, "SSH server", reason);
    }
}

/// The root file system as the command line mounts it; `None` where that cannot be done.
fn mount_root(
    root: &Volume,
    boot: Option<&Boot>,
    cmdline: &str,
    context: &Context<'_>,
) -> Option<Mount> {
    let flags = cmdline::last(cmdline, "rootflags").unwrap_or_default();
    match root.mounted("", flags.split(',')) {
        Ok(mount) => Some(mount),
        Err(Unread::Missing) => {
            let (file, line) = boot.map_or(("", 0), |boot| (&boot.file, boot.line));
            let message = format!("`rootflags={flags}` names no subvolume of {}", root.place());
            context.find_at(&rules::cmdline::ROOT_SUBVOLUME, file, line, message);
            None
        }
        Err(reason) => {
            let message = format!("{} could not be read: {reason}", root.place());
            context.find(&rules::system::ROOT_UNKNOWN, message);
            None
        }
    }
}

/// The file system that looks like a root, where the command line does not lead to one.
fn likely_root(volumes: &Volumes) -> Option<(&Volume, Mount)> {
    for volume in volumes.iter().filter(|volume| volume.files.is_some()) {
        for options in LIKELY_OPTIONS {
            let Ok(mount) = volume.mounted("", options.split(',')) else {
                continue;
            };
            let tree = Tree::of(mount.files.clone());
            let looks =
                contained(|| Ok(tree.exists("/etc")? && tree.exists_any(&["/usr", "/bin"])?));
            if looks.unwrap_or(false) {
                return Some((volume, mount));
            }
        }
    }
    None
}

fn report_no_root(volumes: &Volumes, context: &Context<'_>) {
    let obstacles: Vec<_> = volumes
        .iter()
        .filter_map(|volume| {
            let why = volume.obstacle.as_ref()?;
            Some(format!(
                "{} could not be looked into: {why}",
                volume.place()
            ))
        })
        .collect();
    let message = match obstacles.is_empty() {
        true => "no Linux root file system was found".to_owned(),
        false => obstacles.join("; "),
    };
    context.find(&rules::system::ROOT_UNKNOWN, message);
}
