//! Algorithms that sshd's configuration names: it does not start with one that it does not know.

use std::collections::BTreeSet;

use super::Config;
use crate::context::Context;
use crate::files::Tree;
use crate::rules::reachable as rules;
use crate::unread::Unread;

/// Keywords whose values are names of algorithms.
const KEYWORDS: [&str; 6] = [
    "KexAlgorithms",
    "Ciphers",
    "MACs",
    "HostKeyAlgorithms",
    "PubkeyAcceptedAlgorithms",
    "CASignatureAlgorithms",
];
const SERVER: &str = "/usr/sbin/sshd";
/// Most bytes of the server in which names are looked for.
const MAX_SERVER: u64 = 4 << 20;
/// Most names that are looked for, as each is a walk through the server.
const MAX_NAMES: usize = 128;

/// Judges that sshd knows the algorithms: their names stand in its program.
pub(super) fn judge(config: &Config, tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    let settings: Vec<_> = KEYWORDS
        .iter()
        .filter_map(|key| config.first(key))
        .collect();
    if settings.is_empty() {
        return Ok(());
    }
    let program = tree.head(SERVER, MAX_SERVER)?.unwrap_or_default();
    let mut looked_for = BTreeSet::new();
    for setting in settings {
        if let Some(name) = unknown(&setting.values.join(","), &program, &mut looked_for) {
            let message = format!("`{}` names `{name}`, which sshd does not know", setting.key);
            context.find_at(&rules::SSHD_CONFIG, &setting.path, setting.line, message);
        }
    }
    Ok(())
}

/// The first name of a list that does not stand in a program. `None` if there is none, if the program
/// was not read, or if as many names as are looked for were.
fn unknown(list: &str, program: &[u8], looked_for: &mut BTreeSet<String>) -> Option<String> {
    // Names that are taken away need not be known.
    if program.is_empty() || list.starts_with('-') {
        return None;
    }
    let names = list
        .trim_start_matches(['+', '^'])
        .split(',')
        .map(str::trim);
    for name in names.filter(|name| !name.is_empty() && !name.contains(['*', '?'])) {
        if looked_for.len() >= MAX_NAMES || !looked_for.insert(name.to_owned()) {
            continue;
        }
        let mut windows = program.windows(name.len());
        if !windows.any(|window| window == name.as_bytes()) {
            return Some(name.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_in_the_program() {
        let program = b"\0aes256-ctr,aes128-ctr\0ssh-ed25519\0";
        let unknown = |list: &str| unknown(list, program, &mut BTreeSet::new());
        assert_eq!(unknown("aes128-ctr, ssh-ed25519"), None);
        assert_eq!(unknown("+aes512-ctr"), Some("aes512-ctr".to_owned()));
        assert_eq!(unknown("-aes512-ctr"), None);
        assert_eq!(unknown("ssh-*,^"), Some("^".to_owned()));
    }

    #[test]
    fn a_list_of_many_names_is_not_looked_for_to_its_end() {
        let known: Vec<_> = (0..MAX_NAMES)
            .map(|number| format!("name-{number:03}"))
            .collect();
        let program = known.concat().into_bytes();
        let list = format!("{},nonsense", known.join(","));
        assert_eq!(unknown(&list, &program, &mut BTreeSet::new()), None);
        let repeated = format!("{}nonsense", "name-000,".repeat(1000));
        let found = unknown(&repeated, &program, &mut BTreeSet::new());
        assert_eq!(found.as_deref(), Some("nonsense"));
    }
}
