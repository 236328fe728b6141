//! Which drivers a kernel has, built in or as modules, and what keeps them from being loaded.

use std::collections::BTreeSet;

use super::super::context::Context;
use super::super::initrd;
use super::super::rules;
use super::super::unread::Unread;
use super::{System, agent};

/// Where a kernel has a driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Driver {
    BuiltIn,
    Module,
    Missing,
}

/// The drivers of a kernel.
pub(super) struct Drivers {
    built_in: BTreeSet<String>,
    modules: BTreeSet<String>,
    config: String,
}

impl Drivers {
    /// Reads what is known of the drivers of a kernel from its modules and configuration.
    pub(super) fn read(system: &System, release: &str) -> Result<Self, Unread> {
        let folder = format!("/lib/modules/{release}");
        let names = |file: &str| {
            let text = system
                .text(&format!("{folder}/{file}"))?
                .unwrap_or_default();
            let paths = text.lines().filter_map(|line| line.split(':').next());
            Ok::<_, Unread>(paths.filter_map(initrd::module_name).collect())
        };
        let mut config = String::new();
        for path in [
            format!("/boot/config-{release}"),
            format!("{folder}/config"),
        ] {
            if config.is_empty() {
                config = system.text(&path)?.unwrap_or_default();
            }
        }
        Ok(Self {
            built_in: names("modules.builtin")?,
            modules: names("modules.dep")?,
            config,
        })
    }

    /// Whether nothing is known of the kernel.
    pub(super) fn are_unknown(&self) -> bool {
        self.built_in.is_empty() && self.modules.is_empty() && self.config.is_empty()
    }

    /// Where the driver with this module name and one of these configuration symbols is.
    pub(super) fn find(&self, module: &str, symbols: &[&str]) -> Driver {
        let is_set = |symbol: &&str| {
            let line = format!("CONFIG_{symbol}=y");
            self.config.lines().any(|found| found == line)
        };
        match () {
            () if self.built_in.contains(module) => Driver::BuiltIn,
            () if self.modules.contains(module) => Driver::Module,
            () if symbols.iter().any(is_set) => Driver::BuiltIn,
            () => Driver::Missing,
        }
    }
}

/// Judges whether the file systems of provisioning and booting can be mounted.
pub(super) fn judge_file_systems(
    system: &System,
    drivers: &Drivers,
    context: &mut Context<'_>,
) -> Result<(), Unread> {
    let udf_is_needed = !agent::has_cloud_init_without_udf(system)?;
    for (name, symbol, missing, blocked) in [
        ("udf", "UDF_FS", &rules::UDF, &rules::UDF_BLOCKED),
        ("vfat", "VFAT_FS", &rules::VFAT, &rules::VFAT_BLOCKED),
    ] {
        let is_needed = name != "udf" || udf_is_needed;
        let driver = drivers.find(name, &[symbol]);
        let block = match driver {
            Driver::Module => blocking_file(system, name)?,
            Driver::BuiltIn | Driver::Missing => None,
        };
        let reason = match block {
            Some(ref path) => format!("`{path}` keeps `{name}` from being loaded"),
            None if driver == Driver::Missing => format!("the kernel has no `{name}`"),
            None => continue,
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

/// The file that keeps a module from being loaded on demand.
fn blocking_file(system: &System, module: &str) -> Result<Option<String>, Unread> {
    for folder in ["/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"] {
        for (path, text) in system.texts_in(folder, ".conf")? {
            if text.lines().any(|line| blocks(line, module)) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

fn blocks(line: &str, module: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["blacklist", name, ..] => name == module,
        ["install", name, command, ..] => {
            name == module && matches!(command.rsplit('/').next(), Some("true" | "false"))
        }
        _ => false,
    }
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
