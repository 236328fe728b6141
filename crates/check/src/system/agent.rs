//! Who provisions the machine: the Azure Linux Agent, or cloud-init.

use super::super::context::Context;
use super::super::rules;
use super::super::unread::Unread;
use super::System;

const WAAGENT: [&str; 3] = [
    "/usr/sbin/waagent",
    "/usr/bin/waagent",
    "/usr/local/sbin/waagent",
];
/// Names of its service in the distributions.
const WAAGENT_SERVICES: [&str; 3] = ["waagent", "walinuxagent", "azure-linux-agent"];
const WAAGENT_CONF: &str = "/etc/waagent.conf";
const CLOUD_INIT: [&str; 2] = ["/usr/bin/cloud-init", "/usr/local/bin/cloud-init"];
/// Places of Python packages, with a folder for each version of Python in some.
const PYTHON_FOLDERS: [&str; 3] = ["/usr/lib", "/usr/local/lib", "/usr/lib64"];
/// Most versions of Python that are looked at in one place.
const MAX_PYTHONS: usize = 16;
/// First version that provisions without UDF.
const CLOUD_INIT_WITHOUT_UDF: [u64; 2] = [21, 2];

/// Judges the agents and their configuration.
pub(super) fn judge(system: &System, context: &mut Context<'_>) -> Result<(), Unread> {
    let has_waagent = system.exists_any(&WAAGENT)?;
    let has_cloud_init = has_cloud_init(system)?;
    let sources = datasources(system)?;
    let has_azure = sources
        .as_deref()
        .is_none_or(|list| list.iter().any(|s| s == "Azure"));
    if has_waagent {
        judge_waagent(system, has_cloud_init && has_azure, context)?;
    } else if !has_cloud_init {
        context.find(
            &rules::AGENT_MISSING,
            "neither the Azure Linux Agent nor cloud-init is installed and enabled",
        );
    } else if has_azure {
        context.find(
            &rules::AGENT_EXTENSIONS,
            "cloud-init provisions the machine, and without the agent there are no extensions",
        );
    }
    if has_cloud_init && !has_azure {
        let found = sources.unwrap_or_default().join(", ");
        context.find(
            &rules::CLOUD_INIT_DATASOURCE,
            format!("cloud-init looks for its data in {found}, and not in Azure"),
        );
    }
    Ok(())
}

/// Whether cloud-init is installed and may run.
fn has_cloud_init(system: &System) -> Result<bool, Unread> {
    Ok(system.exists_any(&CLOUD_INIT)? && !system.exists("/etc/cloud/cloud-init.disabled")?)
}

fn judge_waagent(
    system: &System,
    cloud_init_works: bool,
    context: &mut Context<'_>,
) -> Result<(), Unread> {
    if let Some(version) = waagent_version(system)? {
        context.find(
            &rules::AGENT_VERSION,
            format!("the Azure Linux Agent is of version {version}"),
        );
    }
    if !system.is_enabled(&WAAGENT_SERVICES)? {
        context.find(
            &rules::AGENT_DISABLED,
            "the Azure Linux Agent is installed and not started at boot",
        );
    }
    match system.text(WAAGENT_CONF)? {
        Some(text) => judge_conf(&Conf(&text), cloud_init_works, context),
        None => context.find(
            &rules::WAAGENT_CONF,
            format!("the Azure Linux Agent has no `{WAAGENT_CONF}`"),
        ),
    }
    Ok(())
}

fn judge_conf(conf: &Conf<'_>, cloud_init_works: bool, context: &mut Context<'_>) {
    let provisioner = conf.get("Provisioning.Agent").unwrap_or("auto");
    if provisioner == "cloud-init" && !cloud_init_works {
        context.find(
            &rules::AGENT_PROVISIONING,
            "the agent leaves provisioning to cloud-init, which is not there for Azure",
        );
        return;
    }
    let format = conf.is_on("ResourceDisk.Format");
    let swap = conf.is_on("ResourceDisk.EnableSwap");
    if cloud_init_works && provisioner != "waagent" {
        if format || swap {
            context.find(
                &rules::WAAGENT_CLOUD_INIT,
                "cloud-init provisions the machine, and the agent formats the resource disk or \
                 makes swap on it as well",
            );
        }
    } else if swap && !format {
        context.find(
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
fn waagent_version(system: &System) -> Result<Option<String>, Unread> {
    for package in ["waagent", "walinuxagent"] {
        if let Some(version) = dpkg_version(system, package)? {
            return Ok(Some(version));
        }
    }
    for folder in python_packages(system)? {
        for name in system.list(&folder)? {
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

/// Version of an installed Debian package.
fn dpkg_version(system: &System, package: &str) -> Result<Option<String>, Unread> {
    let status = system.text("/var/lib/dpkg/status")?.unwrap_or_default();
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

/// Folders of Python packages.
fn python_packages(system: &System) -> Result<Vec<String>, Unread> {
    let mut folders = Vec::new();
    for base in PYTHON_FOLDERS {
        for python in system
            .list(base)?
            .iter()
            .filter(|name| name.starts_with("python3"))
            .take(MAX_PYTHONS)
        {
            for packages in ["dist-packages", "site-packages"] {
                folders.push(format!("{base}/{python}/{packages}"));
            }
        }
    }
    Ok(folders)
}

/// Whether cloud-init is there in a version that provisions without UDF.
pub(super) fn has_cloud_init_without_udf(system: &System) -> Result<bool, Unread> {
    if !has_cloud_init(system)? {
        return Ok(false);
    }
    for folder in python_packages(system)? {
        let path = format!("{folder}/cloudinit/version.py");
        let text = system.text(&path)?.unwrap_or_default();
        let version = text
            .lines()
            .find_map(|line| line.strip_prefix("__VERSION__ = "));
        if let Some(version) = version.and_then(major_minor) {
            return Ok(version >= CLOUD_INIT_WITHOUT_UDF);
        }
    }
    Ok(false)
}

fn major_minor(version: &str) -> Option<[u64; 2]> {
    let mut numbers = version.trim_matches(['"', '\'']).split('.');
    Some([numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?])
}

/// Where cloud-init looks for its data; nothing where it looks everywhere.
fn datasources(system: &System) -> Result<Option<Vec<String>>, Unread> {
    let mut list = None;
    let main = system.text("/etc/cloud/cloud.cfg")?.unwrap_or_default();
    list = datasource_list(&main).or(list);
    for (_, text) in system.texts_in("/etc/cloud/cloud.cfg.d", ".cfg")? {
        list = datasource_list(&text).or(list);
    }
    Ok(list)
}

/// The value of `datasource_list` in a YAML file, in either way to write a list.
fn datasource_list(text: &str) -> Option<Vec<String>> {
    let mut lines = text
        .lines()
        .map(|line| line.split(" #").next().unwrap_or(line));
    let value = lines.find_map(|line| line.strip_prefix("datasource_list:"))?;
    let clean = |item: &str| item.trim().trim_matches(['"', '\'']).to_owned();
    let filled = |item: &String| !item.is_empty();
    let inline = value.trim().strip_prefix('[');
    let Some(mut inline) = inline.map(str::to_owned) else {
        let items = lines.map_while(|line| line.trim().strip_prefix('-').map(clean));
        return Some(items.collect());
    };
    for line in lines {
        if inline.contains(']') {
            break;
        }
        inline.push_str(line);
    }
    let inside = inline.split(']').next().unwrap_or_default();
    Some(inside.split(',').map(clean).filter(filled).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn datasource_lists() {
        let list = |text| datasource_list(text).unwrap();
        assert_eq!(list("# x\ndatasource_list: [ Azure ]\n"), ["Azure"]);
        assert_eq!(
            list("datasource_list: ['Azure', None] # only these"),
            ["Azure", "None"]
        );
        assert_eq!(
            list("datasource_list: [ NoCloud,\n  Azure ]\nx: ]"),
            ["NoCloud", "Azure"]
        );
        assert_eq!(
            list("datasource_list:\n  - Ec2\n  - \"Azure\"\nusers: []"),
            ["Ec2", "Azure"]
        );
        assert_eq!(datasource_list("#datasource_list: [ Azure ]"), None);
    }

    #[test]
    fn versions() {
        assert_eq!(
            version_in("WALinuxAgent-2.7.3.0-py3.11.egg-info"),
            Some("2.7.3.0")
        );
        assert_eq!(version_in("WALinuxAgent-2.9.1.1.egg-info"), Some("2.9.1.1"));
        assert_eq!(version_in("cloudinit"), None);
        assert_eq!(major_minor("\"22.4.2\""), Some([22, 4]));
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
            let _ = (datasource_list(&text), Conf(&text).get("X"), major_minor(&text));
            let _ = datasource_list(&format!("datasource_list: [{text}"));
        }
    }
}
