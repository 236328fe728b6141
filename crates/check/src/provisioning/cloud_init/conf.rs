//! What the files of cloud-init's configuration say: where it looks for data, whom it makes, and
//! whether it leaves the network alone.

use super::{CONF, CloudInit};
use crate::files::Tree;
use crate::provisioning::python;
use crate::rules::provisioning as rules;
use crate::system::System;
use crate::unread::Unread;
use crate::yaml::Value;

/// Modules without which no user can log in.
const USER_MODULES: [&str; 2] = ["users-groups", "ssh"];

impl CloudInit {
    /// Whether a list of users leaves out everybody.
    fn look_for_users(&mut self, values: &[Value]) {
        let users = effective(values, "users");
        if matches!(users, Some(Value::List(list)) if list.is_empty()) {
            let why = "the configuration of cloud-init has an empty list of users";
            self.fault(&rules::CLOUD_INIT_CONF, CONF, why);
        }
    }

    /// Whether what cloud-init is told to run on is a distribution that it has.
    fn look_for_distribution(&mut self, values: &[Value], tree: &Tree) -> Result<(), Unread> {
        let mut named = values.iter().rev().filter_map(|value| {
            let info = value.get("system_info")?;
            Some(info.get("distro")?.text()?.replace('-', "_"))
        });
        let Some(name) = named.next() else {
            return Ok(());
        };
        let mut is_known = false;
        let mut any = false;
        for folder in python::folders(tree)? {
            let distributions = format!("{folder}/cloudinit/distros");
            any |= tree.exists(&distributions)?;
            is_known |= tree.exists(&format!("{distributions}/{name}.py"))?;
        }
        if any && !is_known {
            let why = format!("cloud-init has no distribution `{name}`, and ends");
            self.fault(&rules::CLOUD_INIT_CONF, CONF, why);
        }
        Ok(())
    }

    fn look_for_modules(&mut self, values: &[Value]) {
        for module in USER_MODULES.into_iter().filter(|m| !runs_module(values, m)) {
            let why = format!("no stage of cloud-init runs its module `{module}`");
            self.fault(&rules::CLOUD_INIT_CONF, CONF, why);
        }
    }

    pub(super) fn look_at_configuration(&mut self, tree: &Tree) -> Result<(), Unread> {
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
        self.look_for_distribution(&values, tree)?;
        let kinds = effective(&values, "ssh_genkeytypes");
        let keeps = effective(&values, "ssh_deletekeys").and_then(Value::text);
        self.removes_host_keys = !keeps.is_some_and(|text| {
            matches!(
                text.to_ascii_lowercase().as_str(),
                "false" | "0" | "no" | "off"
            )
        });
        self.makes_host_keys = !matches!(kinds, Some(Value::List(list)) if list.is_empty());
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
pub(super) fn network_is_off(system: &System) -> Result<bool, Unread> {
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
            let _ = datasource_list(&text);
            let _ = datasource_list(&format!("datasource_list: [{text}"));
        }
    }
}
