//! Which drivers a kernel has, built in or as modules, and what keeps them from being loaded.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::Tree;
use crate::unread::Unread;

/// Where a kernel has a driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Driver {
    BuiltIn,
    Module,
    Missing,
}

/// The drivers of a kernel.
#[derive(Default)]
pub(crate) struct Drivers {
    built_in: BTreeSet<String>,
    /// Modules with the paths of those that they need first.
    modules: BTreeMap<String, Vec<String>>,
    /// Paths of the modules, as the list has them.
    files: BTreeMap<String, String>,
    /// Folder of the modules.
    folder: Option<String>,
    config: String,
}

impl Drivers {
    /// Reads what is known of the drivers of a kernel from its modules and configuration.
    pub(crate) fn read(system: &Tree, release: &str) -> Result<Self, Unread> {
        let folder = format!("/lib/modules/{release}");
        let mut drivers = Self::of_folder(system, &folder)?;
        for path in [
            format!("/boot/config-{release}"),
            format!("{folder}/config"),
        ] {
            if drivers.config.is_empty() {
                drivers.config = system.text(&path)?.unwrap_or_default();
            }
        }
        Ok(drivers)
    }

    /// Adds the configuration of the kernel, where it is not known yet.
    pub(crate) fn add_config(&mut self, text: Option<String>) {
        if self.config.is_empty() {
            self.config = text.unwrap_or_default();
        }
    }

    /// Reads the lists of modules in a folder.
    pub(crate) fn of_folder(system: &Tree, folder: &str) -> Result<Self, Unread> {
        let text = |file: &str| system.text(&format!("{folder}/{file}"));
        let built_in = text("modules.builtin")?.unwrap_or_default();
        let needs = text("modules.dep")?.unwrap_or_default();
        let modules = needs.lines().filter_map(|line| {
            let (module, needed) = line.split_once(':')?;
            let needed = needed.split_whitespace().map(|path| path.to_owned());
            Some((module_name(module)?, needed.collect()))
        });
        let files = needs.lines().filter_map(|line| {
            let (module, _) = line.split_once(':')?;
            Some((module_name(module)?, module.to_owned()))
        });
        Ok(Self {
            built_in: built_in.lines().filter_map(module_name).collect(),
            modules: modules.collect(),
            files: files.collect(),
            folder: Some(folder.to_owned()),
            config: String::new(),
        })
    }

    /// A file of the module, or of one that it needs, that is listed and not there.
    pub(crate) fn missing_file(&self, tree: &Tree, module: &str) -> Result<Option<String>, Unread> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        let needed = self.modules.get(module).into_iter().flatten();
        for path in self.files.get(module).into_iter().chain(needed) {
            let path = match path.starts_with('/') {
                true => path.clone(),
                false => format!("{folder}/{path}"),
            };
            if !tree
                .meta(&path)?
                .is_some_and(|meta| meta.is_file() && meta.size > 0)
            {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// The configuration of the kernel, empty where it is not known.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    /// Whether there is a list of modules.
    pub(crate) fn has_modules(&self) -> bool {
        !self.modules.is_empty()
    }

    /// The module and all modules that it needs, those built in left out.
    pub(crate) fn closure(&self, module: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        if self.built_in.contains(module) {
            return all;
        }
        // `modules.dep` lists what is needed in all steps.
        let needed = self.modules.get(module).into_iter().flatten();
        all.extend(needed.filter_map(|path| module_name(path)));
        all.retain(|name| !self.built_in.contains(name));
        all.insert(module.to_owned());
        all
    }

    /// Whether nothing is known of the kernel.
    pub(crate) fn are_unknown(&self) -> bool {
        self.built_in.is_empty() && self.modules.is_empty() && self.config.is_empty()
    }

    /// Where the driver with this module name and one of these configuration symbols is.
    pub(crate) fn find(&self, module: &str, symbols: &[&str]) -> Driver {
        let is_set = |symbol: &&str| {
            let line = format!("CONFIG_{symbol}=y");
            self.config.lines().any(|found| found == line)
        };
        match () {
            () if self.built_in.contains(module) => Driver::BuiltIn,
            () if self.modules.contains_key(module) => Driver::Module,
            () if symbols.iter().any(is_set) => Driver::BuiltIn,
            () => Driver::Missing,
        }
    }
}

/// The file that keeps a module from being loaded on demand.
pub(crate) fn blocking_file(system: &Tree, module: &str) -> Result<Option<String>, Unread> {
    for folder in ["/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"] {
        for (path, text) in system.texts_in(folder, ".conf")? {
            if text.lines().any(|line| blocks(line, module)) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// Whether a line of `modprobe.d` keeps a module from being loaded on demand.
pub(crate) fn blocks(line: &str, module: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["blacklist", name, ..] => name == module,
        ["install", name, command, ..] => {
            name == module && matches!(command.rsplit('/').next(), Some("true" | "false"))
        }
        _ => false,
    }
}

/// The name of the module in a file: `hv_vmbus` of `kernel/drivers/hv/hv_vmbus.ko.xz`.
pub(crate) fn module_name(path: &str) -> Option<String> {
    let name = path.trim().rsplit('/').next()?;
    let stem = [".ko", ".ko.xz", ".ko.gz", ".ko.zst"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))?;
    Some(stem.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_lines() {
        assert!(blocks("blacklist udf", "udf"));
        assert!(blocks("install udf /bin/true", "udf"));
        assert!(blocks("  install  udf /usr/bin/false", "udf"));
        assert!(!blocks("# blacklist udf", "udf"));
        assert!(!blocks("blacklist udfs", "udf"));
        assert!(!blocks(
            "install udf /sbin/modprobe --ignore-install udf",
            "udf"
        ));
    }
}
