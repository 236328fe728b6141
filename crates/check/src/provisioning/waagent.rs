//! The Azure Linux Agent: its program, its unit and `/etc/waagent.conf`.
//!
//! Source: the documentation of WALinuxAgent, "Configuration File Options".

use super::python;
use crate::context::Context;
use crate::elf;
use crate::files::Tree;
use crate::rules::provisioning as rules;
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;

const PROGRAMS: [&str; 5] = [
    "/usr/sbin/waagent",
    "/usr/bin/waagent",
    "/usr/local/sbin/waagent",
    "/usr/local/bin/waagent",
    "/usr/share/oem/python/bin/waagent",
];
/// Names of its service in the distributions.
const UNITS: [&str; 3] = [
    "walinuxagent.service",
    "waagent.service",
    "azure-linux-agent.service",
];
/// The oldest version that Azure supports, since July 2022 (Microsoft's KB 4049215).
const OLDEST: [u32; 4] = [2, 2, 53, 1];
const CONF: &str = "/etc/waagent.conf";
/// The agent's packages of Python.
const PACKAGE: &str = "azurelinuxagent";
/// Notes that the agent has provisioned a machine.
const PROVISIONED: &str = "/var/lib/waagent/provisioned";

/// What is known of the agent.
pub(super) struct Waagent {
    /// Whether it provisions machines, or leaves that to cloud-init.
    pub(super) provisions: bool,
}

/// The path of the agent's program, where it is installed.
pub(super) fn program(tree: &Tree) -> Result<Option<&'static str>, Unread> {
    for path in PROGRAMS {
        if tree.exists_as_link(path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Judges the agent; `cloud_init` says whether cloud-init provisions.
pub(super) fn judge(
    program: &str,
    system: &System,
    units: &Units<'_>,
    cloud_init: bool,
    context: &Context<'_>,
) -> Result<Waagent, Unread> {
    let tree = &system.tree;
    if let Some(version) = version(tree)? {
        context.find(
            &rules::AGENT_VERSION,
            format!("the Azure Linux Agent is of version {version}"),
        );
        if upstream(&version).is_some_and(|version| version < OLDEST) {
            context.find(
                &rules::AGENT_OLD,
                format!("the Azure Linux Agent is of version {version}; Azure supports it from 2.2.53.1 on"),
            );
        }
    }
    let text = tree.text(CONF)?;
    let conf = Conf(text.as_deref().unwrap_or_default());
    let provisioner = conf
        .get("Provisioning.Agent")
        .unwrap_or("auto")
        .to_ascii_lowercase();
    let off = conf
        .get("Provisioning.Enabled")
        .is_some_and(|value| value.eq_ignore_ascii_case("n"));
    let provisions = match provisioner.as_str() {
        "cloud-init" | "disabled" => false,
        "waagent" => true,
        _ => !cloud_init && !off,
    };
    judge_unit(system, units, provisions || !cloud_init, context)?;
    judge_program(program, system, provisions, context)?;
    match &text {
        Some(_) => judge_conf(&conf, &provisioner, off, cloud_init, context),
        None => context.find_in(
            &rules::WAAGENT_CONF,
            CONF,
            format!("the Azure Linux Agent has no `{CONF}`"),
        ),
    }
    if provisions && tree.exists(PROVISIONED)? {
        context.find_in(
            &rules::AGENT_PROVISIONED,
            PROVISIONED,
            format!("`{PROVISIONED}` says that the agent has provisioned this machine already"),
        );
    }
    Ok(Waagent { provisions })
}

fn judge_unit(
    system: &System,
    units: &Units<'_>,
    is_needed: bool,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let mut obstacle = None;
    for name in UNITS {
        if !units.is_started(name)? {
            continue;
        }
        match units.obstacle_of_administrator(name, &system.accounts)? {
            None => return Ok(()),
            Some(found) => obstacle = obstacle.or(Some(found)),
        }
    }
    let rule = match (is_needed, &obstacle) {
        (_, Some(obstacle)) if obstacle.is_unsure => &rules::AGENT_UNKNOWN,
        (true, _) => &rules::AGENT_DISABLED,
        (false, _) => &rules::AGENT_DISABLED_WARNING,
    };
    match obstacle {
        Some(obstacle) => {
            let why = format!("the Azure Linux Agent does not run: {}", obstacle.why);
            context.find_at(rule, &obstacle.path, obstacle.line, why);
        }
        None => {
            let mut why = "the Azure Linux Agent is installed and not started at boot".to_owned();
            for name in UNITS {
                if let crate::system::units::Load::Masked(path) = units.load(name)? {
                    why = format!("the Azure Linux Agent is masked (`{path}`)");
                }
            }
            context.find(rule, why);
        }
    }
    Ok(())
}

fn judge_program(
    program: &str,
    system: &System,
    is_needed: bool,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let tree = &system.tree;
    let rule = match is_needed {
        true => &rules::AGENT_PROGRAM,
        false => &rules::AGENT_PROGRAM_WARNING,
    };
    match elf::judge_program(tree, program)? {
        Ok(()) => {}
        Err(elf::Fault::Unknown(why)) => {
            context.find_in(
                &rules::AGENT_UNKNOWN,
                program,
                format!("the agent `{program}`: {why}"),
            );
            return Ok(());
        }
        Err(fault) => {
            context.find_in(
                rule,
                program,
                format!("the Azure Linux Agent cannot run: {fault}"),
            );
            return Ok(());
        }
    }
    let Some(python) = python::of_script(tree, program)? else {
        return Ok(());
    };
    for module in python::STANDARD {
        if python.module(tree, module)?.is_none() {
            let message = format!("the agent's `{}` has no module `{module}`", python.program);
            context.find_in(rule, &python.program, message);
            return Ok(());
        }
    }
    if let Some(file) = python::missing_entry_points(tree, program)? {
        let message =
            format!("the Azure Linux Agent does not find where it begins: there is no `{file}`");
        context.find_in(rule, program, message);
        return Ok(());
    }
    // A wheel with its code in the file system; the agent can also be one archive.
    let is_archive = tree.meta(program)?.is_some_and(|meta| meta.size > 200_000);
    let package = python.module(tree, PACKAGE)?;
    if package.is_none() && !is_archive {
        let message = format!(
            "the agent's `{}` has no package `{PACKAGE}`",
            python.program
        );
        context.find_in(rule, program, message);
        return Ok(());
    }
    for file in [
        "agent.py",
        "common/__init__.py",
        "ga/__init__.py",
        "pa/provision/__init__.py",
        "daemon/__init__.py",
    ] {
        if let Some(folder) = &package {
            let path = format!("{folder}/{file}");
            let found = tree.meta(&path)?;
            // Only what makes a folder a package may be empty.
            let is_there = found.is_some_and(|meta| meta.size > 0 || file.ends_with("__init__.py"));
            if !is_there {
                let message = format!("the agent's file `{path}` is missing or empty");
                context.find_in(rule, &path, message);
                return Ok(());
            }
        }
    }
    Ok(())
}

fn judge_conf(
    conf: &Conf<'_>,
    provisioner: &str,
    off: bool,
    cloud_init: bool,
    context: &Context<'_>,
) {
    let find = |rule, message: &str| context.find_in(rule, CONF, message);
    match provisioner {
        "cloud-init" if !cloud_init => {
            return find(
                &rules::AGENT_PROVISIONING,
                "the agent leaves provisioning to cloud-init, which is not there for Azure",
            );
        }
        "disabled" if !cloud_init => {
            return find(
                &rules::AGENT_PROVISIONING,
                "the agent is told not to provision, and nothing else does",
            );
        }
        "auto" if off && !cloud_init => {
            return find(
                &rules::AGENT_PROVISIONING,
                "`Provisioning.Enabled=n` keeps the agent from provisioning, and nothing else does",
            );
        }
        _ => {}
    }
    let format = conf.is_on("ResourceDisk.Format");
    let swap = conf.is_on("ResourceDisk.EnableSwap");
    if cloud_init && provisioner != "waagent" {
        if format || swap {
            find(
                &rules::WAAGENT_CLOUD_INIT,
                "cloud-init provisions the machine, and the agent formats the resource disk or \
                 makes swap on it as well",
            );
        }
    } else if swap && !format {
        find(
            &rules::WAAGENT_SWAP,
            "the agent is to make swap on the resource disk, and not to format it",
        );
    }
}

/// The lines `Key=value` of the agent's configuration.
struct Conf<'a>(&'a str);

impl Conf<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.lines().filter_map(|line| line.split_once('='));
        let (_, value) = values.rfind(|(found, _)| found.trim() == key)?;
        let value = value.split('#').next().unwrap_or_default();
        Some(value.trim().trim_matches('"'))
    }

    fn is_on(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|value| value.eq_ignore_ascii_case("y"))
    }
}

/// Version of the agent, where the package database or its Python package tells it.
fn version(tree: &Tree) -> Result<Option<String>, Unread> {
    for package in ["waagent", "walinuxagent"] {
        if let Some(version) = dpkg_version(tree, package)? {
            return Ok(Some(version));
        }
    }
    for folder in python::folders(tree)? {
        for name in tree.list(&folder)? {
            if let Some(version) = version_in(&name) {
                return Ok(Some(version.to_owned()));
            }
        }
    }
    Ok(None)
}

/// Version in the name of the agent's Python package: `WALinuxAgent-2.7.3.0-py3.11.egg-info`.
fn version_in(name: &str) -> Option<&str> {
    let version = name.strip_prefix("WALinuxAgent-")?.split('-').next()?;
    Some(version.trim_end_matches(".egg").trim_end_matches(".dist"))
}

/// The numbers of the agent's own version in that of a package, `1:2.9.1.1-1`; missing ones are 0.
fn upstream(version: &str) -> Option<[u32; 4]> {
    let version = version
        .split_once(':')
        .map_or(version, |(_epoch, rest)| rest);
    let mut numbers = [0; 4];
    for (place, number) in numbers.iter_mut().zip(version.split('.')) {
        let end = number.find(|c: char| !c.is_ascii_digit());
        *place = number[..end.unwrap_or(number.len())].parse().ok()?;
        if end.is_some() {
            break;
        }
    }
    Some(numbers)
}

/// Version of an installed Debian package.
fn dpkg_version(tree: &Tree, package: &str) -> Result<Option<String>, Unread> {
    let status = tree.text("/var/lib/dpkg/status")?.unwrap_or_default();
    let wanted = format!("Package: {package}");
    let paragraph = status.split("\n\n").find(|paragraph| {
        let installed = paragraph
            .lines()
            .any(|line| line == "Status: install ok installed");
        installed && paragraph.lines().any(|line| line == wanted)
    });
    let version = paragraph.and_then(|p| p.lines().find_map(|l| l.strip_prefix("Version: ")));
    Ok(version.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions() {
        assert_eq!(
            version_in("WALinuxAgent-2.7.3.0-py3.11.egg-info"),
            Some("2.7.3.0")
        );
        assert_eq!(version_in("WALinuxAgent-2.9.1.1.egg-info"), Some("2.9.1.1"));
        assert_eq!(version_in("cloudinit"), None);
        assert_eq!(upstream("2.2.45-4+deb10u1"), Some([2, 2, 45, 0]));
        assert_eq!(upstream("1:2.10~git3.1-1"), Some([2, 10, 0, 0]));
        assert_eq!(upstream("2.2.53.1"), Some(OLDEST));
        assert_eq!(upstream("of git"), None);
    }

    #[test]
    fn the_agents_configuration() {
        let conf = Conf("# ResourceDisk.Format=n\nResourceDisk.Format=y  # yes\nX=\"a\"\n");
        assert!(conf.is_on("ResourceDisk.Format"));
        assert_eq!(conf.get("X"), Some("a"));
        assert_eq!(conf.get("Y"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = (Conf(&text).get("X"), version_in(&text), upstream(&text));
        }
    }
}
