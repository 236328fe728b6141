//! Python: which interpreter runs a script, and where its modules are.

use crate::files::Tree;
use crate::unread::Unread;

/// Places of Python's modules, with a folder for each version in some.
const BASES: [&str; 4] = [
    "/usr/lib",
    "/usr/local/lib",
    "/usr/lib64",
    "/opt/python/lib",
];
/// Most versions of Python that are looked at in one place.
const MAX_VERSIONS: usize = 16;

/// An interpreter.
pub(super) struct Python {
    /// Its path, links followed.
    pub(super) program: String,
    /// Its version, such as `python3.11`, where the name says it.
    version: Option<String>,
}

/// The interpreter of Python that runs a script; `None` where it is run by something else.
pub(super) fn of_script(tree: &Tree, script: &str) -> Result<Option<Python>, Unread> {
    let head = tree.head(script, 256)?.unwrap_or_default();
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let Some(line) = line.strip_prefix("#!") else {
        return Ok(None);
    };
    let mut words = line.split_whitespace();
    let mut program = words.next().unwrap_or_default().to_owned();
    if program.ends_with("/env") {
        let name = words
            .find(|word| !word.starts_with('-'))
            .unwrap_or_default();
        program = crate::elf::in_search_path(tree, name)?.unwrap_or_default();
    }
    if !program.contains("python") {
        return Ok(None);
    }
    let resolved = tree.resolve(&program)?.map_or(program, |(path, _)| path);
    let name = resolved.rsplit('/').next().unwrap_or_default();
    let version = name.strip_prefix("python3.").map(|_| name.to_owned());
    Ok(Some(Python {
        program: resolved,
        version,
    }))
}

impl Python {
    /// The folder of a package, or the file of a module; `None` where there is none.
    pub(super) fn module(&self, tree: &Tree, name: &str) -> Result<Option<String>, Unread> {
        for folder in folders(tree)? {
            let of_other = folder.split('/').any(|part| {
                let is_version = part.starts_with("python3.");
                is_version
                    && self
                        .version
                        .as_deref()
                        .is_some_and(|version| version != part)
            });
            if of_other {
                continue;
            }
            let path = format!("{folder}/{name}");
            let is_package = tree.meta(&path)?.is_some_and(|meta| meta.is_folder());
            if is_package && tree.list(&path)?.iter().any(|name| name != "__pycache__") {
                return Ok(Some(path));
            }
            for ending in [".py", ".pyc"] {
                let file = format!("{path}{ending}");
                if tree
                    .meta(&file)?
                    .is_some_and(|meta| meta.is_file() && meta.size > 0)
                {
                    return Ok(Some(file));
                }
            }
        }
        Ok(None)
    }
}

/// Modules of Python itself that both agents begin with.
pub(super) const STANDARD: [&str; 8] = [
    "os",
    "encodings",
    "re",
    "json",
    "socket",
    "subprocess",
    "threading",
    "xml",
];

/// The file of entry points that a script looks for and that is not there. Source: the Python
/// packaging guide, "Entry points specification".
pub(super) fn missing_entry_points(tree: &Tree, script: &str) -> Result<Option<String>, Unread> {
    let head = tree.head(script, 4096)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&head);
    let Some((_, rest)) = text.split_once("load_entry_point('") else {
        return Ok(None);
    };
    let project = rest.split(['=', '\'']).next().unwrap_or_default();
    // Written as `WALinuxAgent-2.7.3.0.egg-info` or `cloud_init-24.1.dist-info`.
    let prefix = format!("{project}-").replace('-', "_");
    let is_its = |name: &str| {
        let name = name.replace('-', "_");
        name.starts_with(&prefix) && name.ends_with("_info")
    };
    for folder in folders(tree)? {
        for name in tree.list(&folder)? {
            if is_its(&name) && tree.is_file(&format!("{folder}/{name}/entry_points.txt"))? {
                return Ok(None);
            }
        }
    }
    Ok(Some(format!("entry_points.txt of {project}")))
}

/// Folders of Python's modules.
pub(super) fn folders(tree: &Tree) -> Result<Vec<String>, Unread> {
    let mut folders = Vec::new();
    for base in BASES {
        let names = tree.list(base)?;
        let versions = names.iter().filter(|name| name.starts_with("python3"));
        for python in versions.take(MAX_VERSIONS) {
            folders.push(format!("{base}/{python}"));
            for packages in ["dist-packages", "site-packages"] {
                folders.push(format!("{base}/{python}/{packages}"));
            }
        }
    }
    Ok(folders)
}
