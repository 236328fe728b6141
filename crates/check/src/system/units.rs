//! Units of systemd: which are there, which are started, and what keeps one from running.
//!
//! Source: the manuals systemd.unit and systemd.service.

mod obstacle;
mod unit;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::conditions;
use crate::files::Tree;
use crate::unread::Unread;

pub(crate) use obstacle::Obstacle;
pub(crate) use unit::Unit;

/// Folders of units, the first has the last word.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Most units that are followed.
const MAX_UNITS: usize = 2000;
/// Settings that start other units.
const STARTING: [&str; 5] = ["Wants", "Requires", "BindsTo", "Upholds", "Requisite"];
/// Folders of links that start services without systemd, and OpenRC's.
const START_FOLDERS: [&str; 8] = [
    "/etc/rcS.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc.d/rc3.d",
    "/etc/init.d/rc3.d",
    "/etc/runlevels/default",
    "/etc/runlevels/boot",
    "/etc/runlevels/sysinit",
];

/// What loading a unit comes to.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// There is none of this name.
    Missing,
    /// A link of this name leads nowhere.
    Dangling(String),
    /// It is masked.
    Masked(String),
    /// It is there.
    Found(Rc<Unit>),
}

/// The units of a system.
pub(crate) struct Units<'t> {
    tree: &'t Tree,
    loaded: RefCell<HashMap<String, Load>>,
    started: RefCell<Option<Rc<BTreeSet<String>>>>,
    is_systemd: bool,
    cmdline: &'t str,
}

impl<'t> Units<'t> {
    /// The units of a system; `is_systemd` says whether systemd is its init, which also reads the
    /// kernel's command line.
    pub(crate) fn new(tree: &'t Tree, is_systemd: bool, cmdline: &'t str) -> Self {
        Self {
            tree,
            cmdline,
            loaded: RefCell::default(),
            started: RefCell::default(),
            is_systemd,
        }
    }

    /// Whether systemd is the system's init.
    pub(crate) fn is_systemd(&self) -> bool {
        self.is_systemd
    }

    /// Loads a unit by its name.
    pub(crate) fn load(&self, name: &str) -> Result<Load, Unread> {
        if let Some(found) = self.loaded.borrow().get(name) {
            return Ok(found.clone());
        }
        let found = self.load_anew(name)?;
        self.loaded
            .borrow_mut()
            .insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// Where the unit is masked under its own name, to which the link at `path` leads from another.
    fn masked_as_real(&self, name: &str, path: &str) -> Result<Option<String>, Unread> {
        let Some((resolved, _)) = self.tree.resolve(path)? else {
            return Ok(None);
        };
        let real = resolved.rsplit('/').next().unwrap_or_default();
        if real == name || name.contains('@') {
            return Ok(None);
        }
        if conditions::is_masked(self.cmdline, real) {
            return Ok(Some("/proc/cmdline".to_owned()));
        }
        for folder in FOLDERS {
            let path = format!("{folder}/{real}");
            if self.tree.exists_as_link(&path)? {
                let is_masked = self.tree.link(&path)?.as_deref() == Some("/dev/null");
                return Ok(is_masked.then_some(path));
            }
        }
        Ok(None)
    }

    fn load_anew(&self, name: &str) -> Result<Load, Unread> {
        if conditions::is_masked(self.cmdline, name) {
            return Ok(Load::Masked("/proc/cmdline".to_owned()));
        }
        let mut names = vec![name.to_owned()];
        if let Some((prefix, rest)) = name.split_once('@')
            && let Some((_, kind)) = rest.rsplit_once('.')
        {
            names.push(format!("{prefix}@.{kind}"));
        }
        let mut dangling = None;
        for name in &names {
            for folder in FOLDERS {
                let path = format!("{folder}/{name}");
                if !self.tree.exists_as_link(&path)? {
                    continue;
                }
                if self.tree.link(&path)?.as_deref() == Some("/dev/null") {
                    return Ok(Load::Masked(path));
                }
                match self.tree.meta(&path)? {
                    Some(meta) if meta.is_file() && meta.size == 0 => {
                        return Ok(Load::Masked(path));
                    }
                    Some(meta) if meta.is_file() => {
                        if let Some(path) = self.masked_as_real(name, &path)? {
                            return Ok(Load::Masked(path));
                        }
                        let unit = self.read(&path, &names)?;
                        return Ok(Load::Found(Rc::new(unit)));
                    }
                    // The name is taken: what is in folders further down does not count.
                    _ => dangling = dangling.or(Some(path)),
                }
                if let Some(path) = &dangling {
                    return Ok(Load::Dangling(path.clone()));
                }
            }
        }
        Ok(Load::Missing)
    }

    fn read(&self, path: &str, names: &[String]) -> Result<Unit, Unread> {
        let mut unit = Unit {
            path: path.to_owned(),
            settings: Vec::new(),
        };
        let text = self.tree.text(path)?.unwrap_or_default();
        unit.add(path, &text);
        let mut drop_ins = std::collections::BTreeMap::new();
        let alias = self
            .tree
            .resolve(path)?
            .map(|(path, _)| path)
            .unwrap_or_default();
        let alias = alias.rsplit('/').next().unwrap_or_default().to_owned();
        let kind = alias.rsplit('.').next().unwrap_or_default().to_owned();
        for name in names.iter().chain([&alias, &kind]) {
            for folder in FOLDERS.iter().rev() {
                for (path, text) in self.tree.texts_in(&format!("{folder}/{name}.d"), ".conf")? {
                    let file = path.rsplit('/').next().unwrap_or_default().to_owned();
                    drop_ins.insert(file, (path, text));
                }
            }
        }
        for (path, text) in drop_ins.values() {
            unit.add(path, text);
        }
        Ok(unit)
    }

    /// The unit that a machine starts.
    pub(crate) fn default_target(&self, cmdline: &str) -> Result<String, Unread> {
        if let Some(target) = crate::cmdline::last(cmdline, "systemd.unit") {
            let ending = if target.contains('.') { "" } else { ".target" };
            return Ok(format!("{target}{ending}"));
        }
        let level = ["2", "3", "4", "5"]
            .iter()
            .find(|l| crate::cmdline::has_word(cmdline, l));
        Ok(match level {
            Some(&"5") => "graphical.target".to_owned(),
            Some(_) => "multi-user.target".to_owned(),
            None => "default.target".to_owned(),
        })
    }

    /// The names of all units that are started with a target, which may be a link to another.
    pub(crate) fn start(&self, target: &str, to: &str) -> Result<Rc<BTreeSet<String>>, Unread> {
        let mut all = BTreeSet::new();
        let mut queue = vec![target.to_owned(), to.to_owned()];
        while let Some(name) = queue.pop() {
            if all.len() > MAX_UNITS || !all.insert(name.clone()) {
                continue;
            }
            let Load::Found(unit) = self.load(&name)? else {
                continue;
            };
            queue.extend(self.started_by(&name, &unit)?);
        }
        let all = Rc::new(all);
        *self.started.borrow_mut() = Some(Rc::clone(&all));
        Ok(all)
    }

    fn started_by(&self, name: &str, unit: &Unit) -> Result<Vec<String>, Unread> {
        let mut names: Vec<String> = Vec::new();
        for key in STARTING {
            names.extend(unit.words("Unit", key).map(str::to_owned));
        }
        names.extend(unit.words("Unit", "Sockets").map(str::to_owned));
        // The name by which a link stands for a unit counts, and that of the unit itself.
        let alias = self
            .tree
            .resolve(&unit.path)?
            .map(|(path, _)| path)
            .unwrap_or_default();
        let alias = alias.rsplit('/').next().unwrap_or_default();
        for name in [name, alias] {
            for folder in FOLDERS {
                for kind in ["wants", "requires", "upholds"] {
                    names.extend(self.tree.list(&format!("{folder}/{name}.{kind}"))?);
                }
            }
        }
        if name == "multi-user.target" {
            names.extend(self.generated()?);
        }
        // Every service brings up the basic system.
        let has_defaults = unit.last("Unit", "DefaultDependencies") != Some("no");
        if has_defaults && (name.ends_with(".service") || name.ends_with(".socket")) {
            names.push("sysinit.target".to_owned());
        }
        Ok(names)
    }

    /// Targets that a generator adds at boot.
    fn generated(&self) -> Result<Vec<String>, Unread> {
        let mut names = Vec::new();
        for folder in ["/etc", "/usr/lib", "/lib"] {
            let path = format!("{folder}/systemd/system-generators/cloud-init-generator");
            if self.tree.link(&path)?.as_deref() == Some("/dev/null") {
                return Ok(names);
            }
            if self
                .tree
                .meta(&path)?
                .is_some_and(|meta| meta.is_file() && meta.mode & 0o111 != 0)
            {
                names.push("cloud-init.target".to_owned());
            }
        }
        Ok(names)
    }

    /// Whether one of these units is started at boot, by systemd or by the links of other inits.
    pub(crate) fn is_started(&self, name: &str) -> Result<bool, Unread> {
        if !self.is_systemd {
            return self.is_linked(name.split('.').next().unwrap_or(name));
        }
        let started = self.started.borrow().clone();
        let listed = started.is_some_and(|started| started.contains(name));
        // Where there is a unit, systemd does not look at the links of older systems.
        let is_old = matches!(self.load(name)?, Load::Missing) && name.ends_with(".service");
        Ok(listed || is_old && self.is_linked(name.trim_end_matches(".service"))?)
    }

    fn is_linked(&self, name: &str) -> Result<bool, Unread> {
        for folder in START_FOLDERS {
            for link in self.tree.list(folder)? {
                let service = link.strip_prefix('S').unwrap_or(&link);
                let service = service.trim_start_matches(|c: char| c.is_ascii_digit());
                let is_it = service == name || link == name;
                if is_it && self.tree.exists(&format!("{folder}/{link}"))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Whether a value means yes.
pub(crate) fn is_yes(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "1" | "yes" | "y" | "true" | "t" | "on"
    )
}
