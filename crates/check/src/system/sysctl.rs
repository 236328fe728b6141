//! What is set in the kernel while the system starts: sysctl.d(5).

use std::collections::BTreeSet;

use crate::context::Context;
use crate::files::Tree;
use crate::rules::system as rules;
use crate::unread::Unread;

/// A file takes the place of one of the same name in a later folder.
const FOLDERS: [&str; 4] = [
    "/etc/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/lib/sysctl.d",
];

/// Judges what keeps others from starting.
pub(super) fn judge(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    let mut known = BTreeSet::new();
    for folder in FOLDERS {
        for name in tree.list(folder)? {
            if !name.ends_with(".conf") || !known.insert(name.clone()) {
                continue;
            }
            let path = format!("{folder}/{name}");
            let text = tree.text(&path)?.unwrap_or_default();
            for (number, line) in (1..).zip(text.lines()) {
                if setting(line) == Some(("kernel.modules_disabled".to_owned(), "1")) {
                    let message = "modules cannot be loaded any more once this is set, while the \
                                   system starts";
                    context.find_at(&rules::MODULES_DISABLED, &path, number, message);
                }
            }
        }
    }
    Ok(())
}

/// The name, with dots, and the value of a line.
fn setting(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.trim().split_once('=')?;
    let name = name.trim().trim_start_matches('-');
    (!name.starts_with(['#', ';'])).then(|| (name.replace('/', "."), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let disabled = Some(("kernel.modules_disabled".to_owned(), "1"));
        assert_eq!(setting("kernel.modules_disabled = 1"), disabled);
        assert_eq!(setting("-kernel/modules_disabled=1 "), disabled);
        assert_eq!(setting("# kernel.modules_disabled = 1"), None);
        assert_eq!(setting(""), None);
    }
}
