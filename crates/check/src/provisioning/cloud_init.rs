//! cloud-init: its units, its program, its configuration and where it looks for data.
//!
//! Source: the documentation of cloud-init, "Boot stages", "Datasources: Azure" and `ds-identify`.

use super::python;
use crate::context::Context;
use crate::elf;
use crate::files::Tree;
use crate::rules::provisioning as rules;
use crate::system::System;
use crate::system::units::{Load, Units};
use crate::unread::Unread;
use crate::yaml::Value;

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
/// Modules without which no user can log in.
const USER_MODULES: [&str; 2] = ["users-groups", "ssh"];

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
        found.configures_network = found.works && !network_is_off(system)?;
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
            let why = format!("cloud-init does not run: {why}");
            self.faults.push(Fault {
                rule,
                path,
                line,
                why,
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

    /// Whether a list of users leaves out everybody.
    fn look_for_users(&mut self, values: &[Value]) {
        let users = effective(values, "users");
        if matches!(users, Some(Value::List(list)) if list.is_empty()) {
            let why = "the configuration of cloud-init has an empty list of users";
            self.fault(&rules::CLOUD_INIT_CONF, CONF, why);
        }
    }

    fn look_for_modules(&mut self, values: &[Value]) {
        for module in USER_MODULES.into_iter().filter(|m| !runs_module(values, m)) {
            let why = format!("no stage of cloud-init runs its module `{module}`");
            self.fault(&rules::CLOUD_INIT_CONF, CONF, why);
        }
    }

    fn look_at_configuration(&mut self, tree: &Tree) -> Result<(), Unread> {
        let text = tree.text(CONF)?.unwrap_or_default();
        if text.trim().is_empty() {
            self.fault(
                &rules::CLOUD_INIT_CONF,
                CONF,
                format!("there is no `{CONF}`, or nothing in it"),
            );
            return Ok(());
        }
        let files = tree.texts_in("/etc/cloud/cloud.cfg.d", ".cfg")?;
        let mut sources = datasource_list(&text).map(|list| (CONF.to_owned(), list));
        for (path, text) in &files {
            sources = datasource_list(text)
                .map(|list| (path.clone(), list))
                .or(sources);
        }
        if let Some((path, list)) = sources
            && !list.iter().any(|source| source == "Azure")
        {
            let why = format!(
                "cloud-init looks for its data in {}, and not in Azure",
                list.join(", ")
            );
            self.fault(&rules::CLOUD_INIT_DATASOURCE, &path, why);
        }
        let whole: Vec<_> = [(CONF.to_owned(), text)].into_iter().chain(files).collect();
        for (path, text) in &whole {
            if let Err(error) = crate::yaml::parse(text) {
                let why = format!("`{path}` is no valid YAML: {error}");
                self.fault(&rules::CLOUD_INIT_YAML, path, why);
            }
        }
        let values: Vec<_> = whole
            .iter()
            .filter_map(|(_, text)| crate::yaml::parse(text).ok())
            .collect();
        self.look_for_users(&values);
        let shell = values.iter().rev().find_map(|value| {
            let user = value.get("system_info")?.get("default_user")?;
            Some(user.get("shell")?.text()?.to_owned())
        });
        self.shell = shell;
        if values.len() == whole.len() {
            self.look_for_modules(&values);
            return Ok(());
        }
        for module in USER_MODULES {
            let other = module.replace('-', "_");
            let listed = whole.iter().any(|(_, text)| {
                let mut lines = text
                    .lines()
                    .map(|line| line.trim_start_matches([' ', '\t', '-', '[']));
                lines.any(|line| {
                    line.starts_with(module)
                        || line.starts_with(&other)
                        || line.contains(&format!("[{module}"))
                        || line.contains(&format!(" {module}")) && line.contains('[')
                })
            });
            if !listed {
                let why = format!("no configuration of cloud-init runs its module `{module}`");
                self.fault(&rules::CLOUD_INIT_CONF, CONF, why);
            }
        }
        Ok(())
    }
}

/// The value of a key that counts: that of the last file.
fn effective<'v>(values: &'v [Value], key: &str) -> Option<&'v Value> {
    values.iter().rev().find_map(|value| value.get(key))
}

/// Whether a stage runs a module, as the last list of each stage says.
fn runs_module(values: &[Value], module: &str) -> bool {
    let stages = [
        "cloud_init_modules",
        "cloud_config_modules",
        "cloud_final_modules",
    ];
    let lists = stages.iter().filter_map(|key| effective(values, key));
    let mut items = lists.flat_map(|list| list.items());
    // A module may stand alone, or with how often it runs.
    items.any(|item| {
        let name = item.text().or(item.items().first().and_then(Value::text));
        name.is_some_and(|name| name.replace('_', "-") == module)
    })
}

/// Whether cloud-init leaves the network alone.
fn network_is_off(system: &System) -> Result<bool, Unread> {
    if crate::cmdline::last(&system.cmdline, "network-config") == Some("disabled") {
        return Ok(true);
    }
    let mut texts = system.tree.texts_in("/etc/cloud/cloud.cfg.d", ".cfg")?;
    texts.extend(system.tree.text(CONF)?.map(|text| (CONF.to_owned(), text)));
    Ok(texts.iter().any(|(_, text)| {
        let value = crate::yaml::parse(text).ok();
        let network = value.as_ref().and_then(|value| value.get("network"));
        network
            .and_then(|network| network.get("config"))
            .and_then(|config| config.text())
            == Some("disabled")
    }))
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
        assert_eq!(major_minor("\"22.4.2\""), Some([22, 4]));
    }

    #[test]
    fn the_last_list_of_modules_counts() {
        let values = |texts: &[&str]| -> Vec<_> {
            let parse = |text: &&str| crate::yaml::parse(text).unwrap();
            texts.iter().map(parse).collect()
        };
        let first = "cloud_init_modules:\n - ssh\n - [users_groups, always]\n";
        assert!(runs_module(&values(&[first]), "users-groups"));
        assert!(runs_module(&values(&[first, "x: 1\n"]), "ssh"));
        let later = "cloud_init_modules: [bootcmd, ssh]\n";
        assert!(!runs_module(&values(&[first, later]), "users-groups"));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = (datasource_list(&text), major_minor(&text));
            let _ = datasource_list(&format!("datasource_list: [{text}"));
        }
    }
}
