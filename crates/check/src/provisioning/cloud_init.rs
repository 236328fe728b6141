//! cloud-init: its units, its program, its configuration and where it looks for data.
//!
//! Source: the documentation of cloud-init, "Boot stages", "Datasources: Azure" and `ds-identify`.

mod conf;

use super::python;
use crate::context::Context;
use crate::elf;
use crate::files::Tree;
use crate::rules::provisioning as rules;
use crate::system::System;
use crate::system::units::{Load, Units};
use crate::unread::Unread;

const PROGRAMS: [&str; 3] = [
    "/usr/bin/cloud-init",
    "/usr/local/bin/cloud-init",
    "/usr/sbin/cloud-init",
];
pub(super) const CONF: &str = "/etc/cloud/cloud.cfg";
const DISABLED: &str = "/etc/cloud/cloud-init.disabled";
/// First version that provisions without UDF.
const WITHOUT_UDF: [u64; 2] = [21, 2];
/// Names of its stages as units, older and newer ones.
const STAGES: [&[&str]; 4] = [
    &["cloud-init-local.service"],
    &["cloud-init.service", "cloud-init-network.service"],
    &["cloud-config.service"],
    &["cloud-final.service"],
];

/// What is known of cloud-init.
#[derive(Debug, Default)]
pub(crate) struct CloudInit {
    /// Whether it is installed.
    pub(crate) is_installed: bool,
    /// Whether it would provision a machine in Azure.
    pub(crate) works: bool,
    /// Why it would not, with file and line.
    faults: Vec<Fault>,
    /// Whether it writes the configuration of the network.
    pub(crate) configures_network: bool,
    /// Whether it makes host keys for SSH.
    pub(crate) makes_host_keys: bool,
    /// Whether it removes the host keys that are there.
    pub(crate) removes_host_keys: bool,
    /// The shell that it gives to the user.
    pub(super) shell: Option<String>,
}

#[derive(Debug)]
struct Fault {
    rule: &'static crate::rules::Rule,
    path: String,
    line: u32,
    why: String,
}

impl CloudInit {
    /// Looks for it.
    pub(crate) fn read(system: &System, units: &Units<'_>) -> Result<Self, Unread> {
        let tree = &system.tree;
        let Some(program) = tree.first_of(&PROGRAMS)? else {
            return Ok(Self::default());
        };
        let mut found = Self {
            is_installed: true,
            ..Self::default()
        };
        found.look_for_switches(system)?;
        found.look_for_units(system, units)?;
        found.look_at_program(program, tree)?;
        found.look_at_configuration(tree)?;
        let decides = |fault: &Fault| fault.rule.level == crate::Level::Error;
        found.works = !found.faults.iter().any(decides);
        found.makes_host_keys &= found.works;
        found.removes_host_keys &= found.works;
        found.configures_network = found.works && !conf::network_is_off(system)?;
        Ok(found)
    }

    /// Reports what keeps it from working.
    pub(super) fn report(&self, context: &Context<'_>) {
        for fault in &self.faults {
            context.find_at(fault.rule, &fault.path, fault.line, fault.why.clone());
        }
    }

    fn fault(&mut self, rule: &'static crate::rules::Rule, path: &str, why: impl Into<String>) {
        self.faults.push(Fault {
            rule,
            path: path.to_owned(),
            line: 0,
            why: why.into(),
        });
    }

    /// Its own switches.
    fn look_for_switches(&mut self, system: &System) -> Result<(), Unread> {
        let rule = &rules::CLOUD_INIT_DISABLED;
        if system.tree.exists(DISABLED)? {
            self.fault(rule, DISABLED, format!("`{DISABLED}` disables cloud-init"));
        }
        if crate::cmdline::last(&system.cmdline, "cloud-init") == Some("disabled") {
            self.fault(rule, "", "the kernel's command line disables cloud-init");
        }
        for (name, source) in [
            ("ci.ds", &rules::CLOUD_INIT_DATASOURCE),
            ("ci.datasource", &rules::CLOUD_INIT_DATASOURCE),
            // It counts in newer versions, and not where the configuration names one source.
            ("ds", &rules::CLOUD_INIT_OTHER),
        ] {
            let value = crate::cmdline::last(&system.cmdline, name).unwrap_or("azure");
            let value = value.split(';').next().unwrap_or_default();
            if !value.eq_ignore_ascii_case("azure") {
                let why = format!("the kernel's command line has `{name}={value}`");
                self.fault(source, "", why);
            }
        }
        let path = "/etc/cloud/ds-identify.cfg";
        let text = system.tree.text(path)?.unwrap_or_default();
        for line in text.lines().filter_map(|line| line.split_once(':')) {
            let (key, value) = (line.0.trim(), line.1.trim().trim_matches(['"', '\'']));
            match key {
                "policy" if value.split(',').next() == Some("disabled") => {
                    self.fault(rule, path, "the policy of ds-identify disables cloud-init");
                }
                "datasource" if !value.eq_ignore_ascii_case("Azure") => {
                    let why = format!("ds-identify is told that the data source is {value}");
                    self.fault(&rules::CLOUD_INIT_DATASOURCE, path, why);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn look_for_units(&mut self, system: &System, units: &Units<'_>) -> Result<(), Unread> {
        let rule = &rules::CLOUD_INIT_UNITS;
        if !units.is_systemd() {
            let mut started = false;
            for name in ["cloud-init", "cloud-init-local", "cloud-init-network"] {
                started |= units.is_started(name)?;
            }
            if !started {
                self.fault(rule, "", "cloud-init is installed and not started at boot");
            }
            return Ok(());
        }
        for names in STAGES {
            let mut why = None;
            let mut runs = false;
            for name in names {
                if !units.is_started(name)? {
                    let found = match units.load(name)? {
                        Load::Found(_) => ("is not started at boot".to_owned(), String::new()),
                        Load::Masked(path) => ("is masked".to_owned(), path),
                        Load::Dangling(path) => ("is a link to nowhere".to_owned(), path),
                        Load::Missing => continue,
                    };
                    why = why.or(Some((format!("`{name}` {}", found.0), found.1, 0)));
                    continue;
                }
                match units.obstacle_of_administrator(name, &system.accounts)? {
                    None => runs = true,
                    Some(found) => why = Some((found.why, found.path, found.line)),
                }
            }
            if runs {
                continue;
            }
            let (why, path, line) = why.unwrap_or_else(|| {
                (
                    format!("there is no unit `{}`", names.join("` or `")),
                    String::new(),
                    0,
                )
            });
            // The last stage reports, and makes nothing that a login needs.
            let is_last = names == STAGES[STAGES.len() - 1];
            self.faults.push(Fault {
                rule: if is_last {
                    &rules::CLOUD_INIT_FINAL
                } else {
                    rule
                },
                path,
                line,
                why: format!("cloud-init does not run: {why}"),
            });
            return Ok(());
        }
        Ok(())
    }

    fn look_at_program(&mut self, program: &str, tree: &Tree) -> Result<(), Unread> {
        let rule = &rules::CLOUD_INIT_PROGRAM;
        match elf::judge_program(tree, program)? {
            Ok(()) => {}
            Err(elf::Fault::Unknown(why)) => {
                self.fault(&rules::AGENT_UNKNOWN, program, why);
                return Ok(());
            }
            Err(fault) => {
                self.fault(rule, program, format!("cloud-init cannot run: {fault}"));
                return Ok(());
            }
        }
        let Some(python) = python::of_script(tree, program)? else {
            return Ok(());
        };
        if let Some(file) = python::missing_entry_points(tree, program)? {
            let why = format!("cloud-init does not find where it begins: there is no `{file}`");
            self.fault(rule, program, why);
            return Ok(());
        }
        let own = ["yaml", "jinja2", "configobj", "requests"];
        for module in python::STANDARD.into_iter().chain(own) {
            if python.module(tree, module)?.is_none() {
                let why = format!("cloud-init's `{}` has no module `{module}`", python.program);
                self.fault(rule, &python.program, why);
                return Ok(());
            }
        }
        let Some(package) = python.module(tree, "cloudinit")? else {
            let why = format!(
                "cloud-init's `{}` has no package `cloudinit`",
                python.program
            );
            self.fault(rule, program, why);
            return Ok(());
        };
        for file in [
            "sources/DataSourceAzure.py",
            "sources/__init__.py",
            "sources/helpers/azure.py",
            "settings.py",
            "util.py",
            "cmd/main.py",
        ] {
            let path = format!("{package}/{file}");
            let meta = tree.meta(&path)?.filter(|meta| meta.is_file());
            // A package may have nothing to say in its own file.
            let may_be_empty = file.ends_with("__init__.py");
            if !meta.is_some_and(|meta| meta.size > 0 || may_be_empty) {
                self.fault(
                    rule,
                    &path,
                    format!("cloud-init's file `{path}` is missing"),
                );
            }
        }
        Ok(())
    }
}

/// Whether cloud-init is there in a version that provisions without UDF.
pub(super) fn works_without_udf(tree: &Tree) -> Result<bool, Unread> {
    if !tree.exists_any(&PROGRAMS)? || tree.exists(DISABLED)? {
        return Ok(false);
    }
    for folder in python::folders(tree)? {
        let path = format!("{folder}/cloudinit/version.py");
        let text = tree.text(&path)?.unwrap_or_default();
        let version = text
            .lines()
            .find_map(|line| line.strip_prefix("__VERSION__ = "));
        if let Some(version) = version.and_then(major_minor) {
            return Ok(version >= WITHOUT_UDF);
        }
    }
    Ok(false)
}

fn major_minor(version: &str) -> Option<[u64; 2]> {
    let mut numbers = version.trim_matches(['"', '\'']).split('.');
    Some([numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions() {
        assert_eq!(major_minor("\"22.4.2\""), Some([22, 4]));
    }

    proptest! {
        #[test]
        fn any_version_is_read(text: String) {
            let _ = major_minor(&text);
        }
    }
}
