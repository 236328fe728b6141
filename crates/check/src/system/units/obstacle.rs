//! What keeps a unit from running that is to be started: conditions, programs, folders, users.

use super::unit::Setting;
use super::{Load, Unit, Units, is_yes};
use crate::elf;
use crate::system::accounts::Accounts;
use crate::system::conditions;
use crate::unread::Unread;

/// What keeps a service from running.
#[derive(Clone, Debug)]
pub(crate) struct Obstacle {
    /// What.
    pub(crate) why: String,
    /// File that says so.
    pub(crate) path: String,
    /// Line in it, from 1, or 0.
    pub(crate) line: u32,
    /// Whether it only may keep the service from running.
    pub(crate) is_unsure: bool,
}

impl Units<'_> {
    /// What keeps a unit that is started from running; `None` if nothing does.
    pub(crate) fn obstacle(
        &self,
        name: &str,
        accounts: &Accounts,
        depth: u32,
    ) -> Result<Option<Obstacle>, Unread> {
        let gone = |why: String, path: &str| {
            Ok(Some(Obstacle {
                why,
                path: path.to_owned(),
                line: 0,
                is_unsure: false,
            }))
        };
        let unit = match self.load(name)? {
            Load::Found(unit) => unit,
            Load::Masked(path) => return gone(format!("`{name}` is masked"), &path),
            Load::Dangling(path) => return gone(format!("`{path}` is a link to nowhere"), &path),
            Load::Missing => {
                // An init script, for which systemd makes a unit.
                let script = format!("/etc/init.d/{}", name.trim_end_matches(".service"));
                return match self.tree.is_file(&script)? {
                    true => Ok(None),
                    false => gone(format!("there is no unit `{name}`"), ""),
                };
            }
        };
        for setting in unit
            .settings
            .iter()
            .filter(|setting| setting.section == "Unit")
        {
            if let Some(why) = self.failing_condition(setting)? {
                return Ok(Some(
                    setting.obstacle(format!("`{name}` is not started: {why}")),
                ));
            }
        }
        for required in unit
            .words("Unit", "Requires")
            .chain(unit.words("Unit", "BindsTo"))
        {
            let is_service = required.ends_with(".service")
                || required.ends_with(".socket")
                || required.ends_with(".target");
            if depth < 2 && is_service && required != name {
                let found = match self.load(required)? {
                    Load::Found(_) => None,
                    _ => self.obstacle(required, accounts, depth + 1)?,
                };
                if let Some(mut obstacle) = found {
                    obstacle.why = format!("`{name}` requires `{required}`: {}", obstacle.why);
                    return Ok(Some(obstacle));
                }
            }
        }
        if let Some(obstacle) = self.failing_start(name, &unit, accounts)? {
            return Ok(Some(obstacle));
        }
        let is_on_bus = unit.last("Service", "Type") == Some("dbus")
            || unit.last("Service", "BusName").is_some();
        if !is_on_bus || depth > 1 {
            return Ok(None);
        }
        for bus in ["dbus.socket", "dbus.service"] {
            if let Some(mut obstacle) = self.obstacle(bus, accounts, depth + 2)? {
                obstacle.why = format!("`{name}` needs D-Bus: {}", obstacle.why);
                return Ok(Some(obstacle));
            }
        }
        Ok(None)
    }

    /// What keeps a unit from running as one that administers the machine over the network, as an
    /// SSH server and an agent do; `None` if nothing does.
    pub(crate) fn obstacle_of_administrator(
        &self,
        name: &str,
        accounts: &Accounts,
    ) -> Result<Option<Obstacle>, Unread> {
        if let Some(obstacle) = self.obstacle(name, accounts, 0)? {
            return Ok(Some(obstacle));
        }
        Ok(match self.load(name)? {
            Load::Found(unit) => confinement(name, &unit),
            Load::Missing | Load::Masked(_) | Load::Dangling(_) => None,
        })
    }

    fn failing_start(
        &self,
        name: &str,
        unit: &Unit,
        accounts: &Accounts,
    ) -> Result<Option<Obstacle>, Unread> {
        for key in ["ExecCondition", "ExecStartPre", "ExecStart"] {
            for setting in unit.commands(key) {
                let words = setting.value.trim();
                let may_fail = words.starts_with('-') || words.starts_with("@-");
                let command = words.trim_start_matches(['-', '@', ':', '+', '!']);
                let program = command.split_whitespace().next().unwrap_or_default();
                if may_fail || program.is_empty() || program.contains(['$', '%']) {
                    continue;
                }
                let path = match program.starts_with('/') {
                    true => Some(program.to_owned()),
                    false => elf::in_search_path(self.tree, program)?,
                };
                let fault = match path {
                    Some(path) => elf::judge_program(self.tree, &path)?.err(),
                    None => Some(elf::Fault::Missing(program.to_owned())),
                };
                if let Some(fault) = fault {
                    let mut obstacle = setting.obstacle(format!("`{name}` fails: {fault}"));
                    obstacle.is_unsure = matches!(fault, elf::Fault::Unknown(_));
                    return Ok(Some(obstacle));
                }
            }
        }
        if name.ends_with(".service")
            && unit.commands("ExecStart").is_empty()
            && unit.last("Service", "Type") != Some("oneshot")
        {
            let path = unit.path.clone();
            let why = format!("`{name}` has nothing to start");
            return Ok(Some(Obstacle {
                why,
                path,
                line: 0,
                is_unsure: false,
            }));
        }
        for setting in unit.all("Service", "EnvironmentFile") {
            let path = setting.value.trim();
            if path.starts_with('/') && !path.contains(['*', '%']) && !self.tree.exists(path)? {
                return Ok(Some(
                    setting.obstacle(format!("`{name}` fails: there is no `{path}`")),
                ));
            }
        }
        for key in ["RootDirectory", "WorkingDirectory"] {
            for setting in unit.all("Service", key) {
                let path = setting.value.as_str();
                if path.starts_with('/') && !path.contains('%') && !self.tree.exists(path)? {
                    return Ok(Some(
                        setting.obstacle(format!("`{name}` fails: there is no `{path}`")),
                    ));
                }
            }
        }
        for setting in unit.all("Service", "User") {
            let user = setting.value.trim();
            let is_dynamic = unit.last("Service", "DynamicUser").is_some_and(is_yes);
            if !user.is_empty() && !is_dynamic && !user.contains('%') && !accounts.has_user(user) {
                return Ok(Some(
                    setting.obstacle(format!("`{name}` fails: there is no user `{user}`")),
                ));
            }
        }
        Ok(None)
    }

    /// Why a condition does not hold, as far as files tell.
    fn failing_condition(&self, setting: &Setting) -> Result<Option<String>, Unread> {
        if conditions::holds(&setting.key, &setting.value, self.cmdline) == Some(false) {
            let (key, value) = (&setting.key, &setting.value);
            return Ok(Some(format!("`{key}={value}` does not hold in Azure")));
        }
        let value = setting.value.trim();
        let (inverted, path) = match value.strip_prefix('!') {
            Some(path) => (true, path),
            None => (false, value),
        };
        // A condition with a bar is one of several of which one must hold.
        if !path.starts_with('/') || path.contains(['*', '%']) {
            return Ok(None);
        }
        // What is made at boot is not in the image.
        if ["/run", "/sys", "/proc", "/dev", "/tmp", "/var/run"]
            .iter()
            .any(|made| path.starts_with(made))
        {
            return Ok(None);
        }
        let meta = self.tree.meta(path)?;
        let holds = match setting.key.as_str() {
            "ConditionPathExists" | "AssertPathExists" => meta.is_some(),
            "ConditionPathIsDirectory" => meta.is_some_and(|meta| meta.is_folder()),
            "ConditionFileNotEmpty" => meta.is_some_and(|meta| meta.is_file() && meta.size > 0),
            "ConditionFileIsExecutable" => {
                meta.is_some_and(|meta| meta.is_file() && meta.mode & 0o111 != 0)
            }
            "ConditionDirectoryNotEmpty" => !self.tree.list(path)?.is_empty(),
            _ => return Ok(None),
        };
        Ok((holds == inverted).then(|| format!("`{}={value}` does not hold", setting.key)))
    }
}

/// The setting by which a service has not root's rights, the network or the homes of users: man
/// systemd.exec and systemd.resource-control.
fn confinement(name: &str, unit: &Unit) -> Option<Obstacle> {
    for (key, is_fatal) in CONFINING {
        for setting in unit.all("Service", key) {
            let (key, value) = (&setting.key, &setting.value);
            let Some(is_sure) = is_fatal(value.trim()) else {
                continue;
            };
            let mut obstacle = setting.obstacle(match is_sure {
                true => format!("`{key}={value}` keeps `{name}` from its work"),
                false => format!("whether `{name}` works with `{key}={value}` is not known"),
            });
            obstacle.is_unsure = !is_sure;
            return Some(obstacle);
        }
    }
    None
}

/// Whether a value takes something away: for sure, perhaps, or not at all.
type Takes = fn(&str) -> Option<bool>;

const CONFINING: [(&str, Takes); 10] = [
    ("User", |user| {
        (!matches!(user, "root" | "0")).then_some(true)
    }),
    ("DynamicUser", |value| is_yes(value).then_some(true)),
    ("PrivateNetwork", |value| is_yes(value).then_some(true)),
    ("PrivateUsers", |value| is_yes(value).then_some(true)),
    ("ProtectHome", |value| match value {
        "read-only" => Some(false),
        "tmpfs" => Some(true),
        value => is_yes(value).then_some(true),
    }),
    ("ProtectSystem", |value| {
        (value == "strict").then_some(false)
    }),
    ("IPAddressDeny", |_| Some(false)),
    ("RestrictAddressFamilies", |value| {
        let has_network = value.split_whitespace().any(|family| family == "AF_INET");
        (!has_network || value.starts_with('~')).then_some(value == "none")
    }),
    ("CapabilityBoundingSet", |_| Some(false)),
    ("SystemCallFilter", |_| Some(false)),
];
