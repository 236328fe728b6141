//! The agent that prepares the machine: the Azure Linux Agent, cloud-init, or azure-init.

mod cloud_init;
mod python;
mod remains;
mod waagent;

use crate::context::Context;
use crate::drivers::{self, Drivers};
use crate::elf;
use crate::files::Tree;
use crate::report::{Generation, Stage};
use crate::rules::provisioning as rules;
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;

pub(crate) use cloud_init::CloudInit;

const AZURE_INIT: [&str; 3] = [
    "/usr/bin/azure-init",
    "/usr/sbin/azure-init",
    "/usr/libexec/azure-init",
];

/// What useradd gives a user by default.
const USERADD_DEFAULTS: &str = "/etc/default/useradd";

/// Judges the agents. `drivers` are those of the kernel, where they are known.
pub(crate) fn judge(
    system: &System,
    units: &Units<'_>,
    cloud_init: &CloudInit,
    drivers: Option<&Drivers>,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let tree = &system.tree;
    let mut provisioners = Vec::new();
    if azure_init(system, units, context)? {
        provisioners.push("azure-init");
    }
    if cloud_init.works {
        provisioners.push("cloud-init");
    }
    let waagent = waagent::program(tree)?;
    let others = !provisioners.is_empty();
    match waagent {
        Some(program) => {
            let agent = waagent::judge(program, system, units, others, context)?;
            if agent.provisions {
                provisioners.push("Azure Linux Agent");
            }
        }
        None if others => context.find(
            &rules::AGENT_EXTENSIONS,
            "the machine is provisioned without the Azure Linux Agent, and there are no extensions",
        ),
        None => {}
    }
    if cloud_init.works && provisioners == ["cloud-init"] || provisioners.is_empty() {
        cloud_init.report(context);
    } else if cloud_init.is_installed && !cloud_init.works {
        context.find(
            &rules::CLOUD_INIT_IDLE,
            "cloud-init is installed and does not provision",
        );
    }
    if provisioners.is_empty() && waagent.is_none() && !cloud_init.is_installed {
        context.find(
            &rules::AGENT_MISSING,
            "neither the Azure Linux Agent, cloud-init nor azure-init is installed and enabled",
        );
    }
    if !provisioners.is_empty() {
        context.evidence(Stage::Provisioning, provisioners.join(", "));
        judge_tools(tree, context)?;
        judge_shell(tree, cloud_init, context)?;
    }
    if let Some(drivers) = drivers.filter(|drivers| !drivers.are_unknown()) {
        judge_file_systems(tree, drivers, context)?;
        judge_drive(tree, drivers, context)?;
    }
    remains::judge(tree, context)
}

/// Whether azure-init is there and provisions.
fn azure_init(system: &System, units: &Units<'_>, context: &Context<'_>) -> Result<bool, Unread> {
    let Some(program) = system.tree.first_of(&AZURE_INIT)? else {
        return Ok(false);
    };
    let name = "azure-init.service";
    if !units.is_started(name)? {
        context.find(
            &rules::AZURE_INIT,
            "azure-init is installed and not started at boot",
        );
        return Ok(false);
    }
    if let Some(obstacle) = units.obstacle_of_administrator(name, &system.accounts)? {
        context.find_at(
            &rules::AZURE_INIT,
            &obstacle.path,
            obstacle.line,
            obstacle.why,
        );
        return Ok(false);
    }
    if let Err(fault) = elf::judge_program(&system.tree, program)? {
        context.find_in(
            &rules::AZURE_INIT,
            program,
            format!("azure-init cannot run: {fault}"),
        );
        return Ok(false);
    }
    Ok(true)
}

/// Programs with which every agent makes the user.
fn judge_tools(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    let useradd = elf::in_search_path(tree, "useradd")?;
    // Debian's `adduser` calls `useradd`; only that of busybox does without.
    let adduser = match elf::in_search_path(tree, "adduser")? {
        Some(path) => tree.resolve(&path)?.map(|(path, _)| path),
        None => None,
    };
    match useradd.or(adduser.filter(|path| path.ends_with("/busybox"))) {
        Some(path) => {
            if let Err(fault) = elf::judge_program(tree, &path)? {
                context.find_in(
                    &rules::USERADD,
                    &path,
                    format!("the agent cannot make the user: {fault}"),
                );
            }
        }
        None => context.find(
            &rules::USERADD,
            "there is no `useradd`, with which the agent makes the user",
        ),
    }
    Ok(())
}

/// Judges that the shell is there that the user gets, without which sshd lets nobody in: that of
/// cloud-init's default user, or useradd's.
fn judge_shell(tree: &Tree, cloud_init: &CloudInit, context: &Context<'_>) -> Result<(), Unread> {
    let (path, shell) = match cloud_init.works {
        true => (cloud_init::CONF, cloud_init.shell.clone()),
        false => {
            let text = tree.text(USERADD_DEFAULTS)?.unwrap_or_default();
            let mut lines = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("SHELL="));
            let shell = lines
                .next_back()
                .map(|shell| shell.trim_matches('"').to_owned());
            (USERADD_DEFAULTS, shell)
        }
    };
    let Some(shell) = shell.filter(|shell| shell.starts_with('/')) else {
        return Ok(());
    };
    if let Err(fault) = elf::judge_program_of_users(tree, &shell)? {
        let message = format!("the user's shell is `{shell}`: {fault}");
        context.find_in(&rules::LOGIN_SHELL, path, message);
    }
    Ok(())
}

/// Judges whether the drive is seen that the configuration of a new machine comes on. It is a SCSI
/// device of Hyper-V in generation 2, and an IDE device in generation 1.
fn judge_drive(tree: &Tree, drivers: &Drivers, context: &Context<'_>) -> Result<(), Unread> {
    let rule = match cloud_init::works_without_udf(tree)? {
        true => &rules::DVD_DRIVE_CUSTOM_DATA,
        false => &rules::DVD_DRIVE,
    };
    let is_first = context.generation.get() == Generation::One;
    let ide: &[(&str, &str)] = match is_first {
        true => &[("ata_piix", "ATA_PIIX")],
        false => &[],
    };
    for (module, symbol) in [("sr_mod", "BLK_DEV_SR")].iter().chain(ide) {
        let why = match drivers.find(module, &[symbol]) {
            drivers::Driver::BuiltIn => continue,
            drivers::Driver::Missing => format!("the kernel has no `{module}`"),
            drivers::Driver::Module => {
                let blocking = drivers::blocking_file(tree, module)?;
                let missing = drivers.missing_file(tree, module)?;
                match (blocking, missing) {
                    (Some(path), _) => format!("`{path}` keeps `{module}` from being loaded"),
                    (None, Some(path)) => format!("`{module}` is listed, and there is no `{path}`"),
                    (None, None) => continue,
                }
            }
        };
        context.find(
            rule,
            format!("{why}, for the DVD drive that the configuration comes on"),
        );
    }
    Ok(())
}

/// Judges whether the file systems of provisioning and booting can be mounted.
fn judge_file_systems(tree: &Tree, drivers: &Drivers, context: &Context<'_>) -> Result<(), Unread> {
    let udf_is_needed = !cloud_init::works_without_udf(tree)?;
    for (name, symbol, missing, blocked) in [
        ("udf", "UDF_FS", &rules::UDF, &rules::UDF_BLOCKED),
        ("vfat", "VFAT_FS", &rules::VFAT, &rules::VFAT_BLOCKED),
    ] {
        let is_needed = name != "udf" || udf_is_needed;
        let driver = drivers.find(name, &[symbol]);
        let (block, file) = match driver {
            drivers::Driver::Module => (
                drivers::blocking_file(tree, name)?,
                drivers.missing_file(tree, name)?,
            ),
            drivers::Driver::BuiltIn | drivers::Driver::Missing => (None, None),
        };
        let reason = match (&block, file) {
            (Some(path), _) => format!("`{path}` keeps `{name}` from being loaded"),
            (None, Some(path)) => format!("`{name}` is listed, and there is no `{path}`"),
            (None, None) if driver == drivers::Driver::Missing => {
                format!("the kernel has no `{name}`")
            }
            (None, None) => continue,
        };
        match (is_needed, block) {
            (true, Some(_)) => context.find(blocked, reason),
            (true, None) => context.find(missing, reason),
            (false, _) => context.find(
                &rules::UDF_CUSTOM_DATA,
                format!("{reason}; cloud-init 21.2 or newer provisions without it, but not custom data or passwords"),
            ),
        }
    }
    Ok(())
}
