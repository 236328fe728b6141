//! The system on the root file system: what it mounts, its init, and what that starts.

pub(crate) mod accounts;
mod conditions;
pub(crate) mod folders;
pub(crate) mod fstab;
mod sysctl;
pub(crate) mod units;

use std::rc::Rc;

use crate::context::Context;
use crate::elf;
use crate::family::Tools;
use crate::files::{Mount, Tree};
use crate::report::Stage;
use crate::rules::system as rules;
use crate::unread::{Unread, contained};
use crate::volumes::{Volume, Volumes};
use accounts::Accounts;
use units::{Load, Units};

/// Programs that the kernel tries where the command line names none.
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];
/// Units of systemd without which nothing comes up.
const CORE_UNITS: [&str; 7] = [
    "sysinit.target",
    "basic.target",
    "local-fs.target",
    "multi-user.target",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-tmpfiles-setup.service",
];
/// What makes a root writable that the kernel mounted read-only, as its line in fstab says.
const REMOUNT_UNIT: &str = "systemd-remount-fs.service";
/// Targets in which no service of the system runs.
const DEAD_TARGETS: [&str; 10] = [
    "rescue.target",
    "emergency.target",
    "poweroff.target",
    "halt.target",
    "reboot.target",
    "kexec.target",
    "exit.target",
    "shutdown.target",
    "final.target",
    "sleep.target",
];
/// Least free space with which a system starts, in bytes, and what is too little to go on with.
const MIN_FREE: u64 = 4 << 20;
const LOW_FREE: u64 = 128 << 20;
const MIN_INODES: u64 = 64;

/// The system.
pub(crate) struct System {
    /// Its files.
    pub(crate) tree: Tree,
    /// The kernel's command line.
    pub(crate) cmdline: String,
    /// Its users.
    pub(crate) accounts: Accounts,
    /// Whether an initial RAM disk starts `/sbin/init` where `init=` names what is not there.
    replaces_init: bool,
    is_systemd: bool,
}

impl System {
    /// Puts the file systems together that are mounted on a root.
    pub(crate) fn open(
        root: Mount,
        cmdline: &str,
        replaces_init: bool,
        volumes: &Volumes,
        context: &Context<'_>,
    ) -> Result<Self, Unread> {
        let alone = Tree::of(Rc::clone(&root.files));
        // Where it cannot be read, that is a finding of its own.
        let fstab = contained(|| fstab::text(&alone, cmdline))
            .unwrap_or_default()
            .unwrap_or_default();
        let mut mounts = vec![root];
        mounts.extend(fstab::mounts(&fstab::parse(&fstab), volumes));
        let tree = Tree::new(mounts);
        let release = match tree.text("/etc/os-release")? {
            Some(text) => text,
            None => tree.text("/usr/lib/os-release")?.unwrap_or_default(),
        };
        context.tools.set(Tools::read(&tree, &release)?);
        let accounts = Accounts::read(&tree)?;
        Ok(Self {
            tree,
            cmdline: cmdline.to_owned(),
            accounts,
            replaces_init,
            is_systemd: false,
        })
    }

    /// The units of the system.
    pub(crate) fn units(&self) -> Units<'_> {
        Units::new(&self.tree, self.is_systemd, &self.cmdline)
    }
}

/// Judges mounts and space of the system, and finds its init.
pub(crate) fn judge(
    system: &mut System,
    root: &Volume,
    volumes: &Volumes,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let fstab = fstab::text(&system.tree, &system.cmdline)?;
    fstab::judge(
        fstab.as_deref(),
        &system.cmdline,
        root,
        &system.tree,
        volumes,
        context,
    )?;
    judge_space(root, context);
    folders::judge(system, context)?;
    judge_accounts(system, context)?;
    folders::judge_users(&system.tree, context)?;
    judge_init(system, context)
}

fn judge_space(root: &Volume, context: &Context<'_>) {
    let Some(space) = root.space else {
        return;
    };
    let place = root.place();
    if space.free_with_reserve < MIN_FREE {
        let free = space.free_with_reserve;
        context.find(
            &rules::SPACE_FULL,
            format!("the root file system on {place} is full: {free} bytes are free"),
        );
    } else if space.free_inodes < MIN_INODES {
        let free = space.free_inodes;
        context.find(
            &rules::SPACE_FULL,
            format!("the root file system on {place} has {free} free inodes"),
        );
    } else if space.free < LOW_FREE {
        let free = space.free >> 20;
        context.find(
            &rules::SPACE_LOW,
            format!("the root file system on {place} has {free} MiB free"),
        );
    }
}

fn judge_accounts(system: &System, context: &Context<'_>) -> Result<(), Unread> {
    if !system.accounts.has_user("root") {
        context.find_in(
            &rules::NO_ROOT_USER,
            "/etc/passwd",
            "`/etc/passwd` has no user `root`",
        );
    }
    for path in ["/bin/sh", "/etc/passwd", "/etc/group"] {
        if !system.tree.is_file(path)? {
            context.find_in(&rules::SYSTEM_FILE, path, format!("there is no `{path}`"));
        }
    }
    Ok(())
}

/// The init of the system: the one that the command line names, or the first that is there.
fn judge_init(system: &mut System, context: &Context<'_>) -> Result<(), Unread> {
    let tree = &system.tree;
    let mut named = crate::cmdline::last(&system.cmdline, "init").map(str::to_owned);
    if let Some(init) = &named
        && system.replaces_init
        && let Err(fault @ (elf::Fault::Missing(_) | elf::Fault::NotExecutable(_))) =
            elf::judge_program(tree, init)?
    {
        let message = format!("`init={init}` is on the command line: {fault}");
        context.find_in(&rules::INIT_NAMED, init, message);
        named = None;
    }
    let init = match named {
        Some(init) => Some(init),
        None => {
            let mut first = None;
            for path in INITS {
                if first.is_none() && tree.exists_as_link(path)? {
                    first = Some(path.to_owned());
                }
            }
            first
        }
    };
    let Some(init) = init.filter(|init| init != "/bin/sh") else {
        context.find_in(&rules::INIT, "/sbin/init", "there is no `/sbin/init`");
        return Ok(());
    };
    match elf::judge_program(tree, &init)? {
        Ok(()) => {}
        Err(elf::Fault::Unknown(why)) => {
            context.find_in(
                &rules::ROOT_UNREADABLE,
                &init,
                format!("init `{init}`: {why}"),
            );
        }
        Err(fault) => {
            context.find_in(
                &rules::INIT,
                &init,
                format!("the kernel starts `{init}`: {fault}"),
            );
            return Ok(());
        }
    }
    let resolved = tree
        .resolve(&init)?
        .map(|(path, _)| path)
        .unwrap_or_default();
    system.is_systemd = resolved.ends_with("/systemd");
    let shells = ["/sh", "/bash", "/dash", "/busybox"];
    if shells.iter().any(|shell| resolved.ends_with(shell)) && !tree.exists("/etc/inittab")? {
        context.find_in(
            &rules::INIT,
            &init,
            format!("`{init}` is a shell, and starts no service"),
        );
    }
    context.evidence(Stage::System, resolved);
    Ok(())
}

/// Judges the target that is started, and what it needs. Returns the units, with all that are
/// started known.
pub(crate) fn judge_units<'s>(
    system: &'s System,
    context: &Context<'_>,
) -> Result<Units<'s>, Unread> {
    let units = system.units();
    if !units.is_systemd() {
        return Ok(units);
    }
    folders::judge_udev(&system.tree, context)?;
    sysctl::judge(&system.tree, context)?;
    let target = units.default_target(&system.cmdline)?;
    let resolved = match units.load(&target)? {
        Load::Found(unit) => {
            let path = system
                .tree
                .resolve(&unit.path)?
                .map(|(path, _)| path)
                .unwrap_or_default();
            path.rsplit('/').next().unwrap_or_default().to_owned()
        }
        Load::Masked(path) | Load::Dangling(path) => {
            context.find_in(
                &rules::DEFAULT_TARGET,
                &path,
                format!("`{target}` leads nowhere (`{path}`)"),
            );
            return Ok(units);
        }
        Load::Missing => {
            context.find(&rules::DEFAULT_TARGET, format!("there is no `{target}`"));
            return Ok(units);
        }
    };
    let started = units.start(&target, &resolved)?;
    if DEAD_TARGETS.contains(&resolved.as_str()) {
        context.find(
            &rules::DEFAULT_TARGET,
            format!("the machine starts `{resolved}`, in which no service runs"),
        );
    } else if !started.contains("multi-user.target") {
        context.find(
            &rules::DEFAULT_TARGET_UNKNOWN,
            format!("the machine starts `{resolved}`, which does not start `multi-user.target`"),
        );
    }
    let remount = fstab::starts_read_only(&system.cmdline).then_some(REMOUNT_UNIT);
    for name in CORE_UNITS.into_iter().chain(remount) {
        if let Some(obstacle) = units.obstacle(name, &system.accounts, 0)? {
            let rule = match obstacle.is_unsure {
                true => &rules::ROOT_UNREADABLE,
                false => &rules::CORE_UNIT,
            };
            context.find_at(rule, &obstacle.path, obstacle.line, obstacle.why);
        }
    }
    Ok(units)
}
