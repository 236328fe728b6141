//! What stands around sshd: options of its command, lists of who may come from where, and the file
//! with which systemd keeps everybody out while it starts.

use super::sshd::Options;
use crate::context::Context;
use crate::family::Family;
use crate::files::Tree;
use crate::rules::reachable as rules;
use crate::system::System;
use crate::system::units::{Load, Units};
use crate::unread::Unread;

const ALLOW: &str = "/etc/hosts.allow";
const DENY: &str = "/etc/hosts.deny";
const ACCESS: &str = "/etc/security/access.conf";
const SESSIONS: &str = "systemd-user-sessions.service";
/// Without this folder, Debian's sshd does not start.
const SEPARATION: &str = "/run/sshd";
const SERVER: &str = "/usr/sbin/sshd";
/// Most bytes of the server in which the name of a library is looked for.
const MAX_SERVER: u64 = 8 << 20;

/// The options with which a unit starts the server, variables from files filled in.
pub(super) fn options(unit: &str, units: &Units<'_>, tree: &Tree) -> Result<Options, Unread> {
    let mut options = Options::default();
    let service = unit.replace(".socket", ".service");
    let Load::Found(unit) = units.load(&service)? else {
        return Ok(options);
    };
    let mut variables = Vec::new();
    for path in unit.words("Service", "EnvironmentFile") {
        let path = path.trim_start_matches('-');
        if path.starts_with('/') && !path.contains('*') {
            options.from = path.to_owned();
            let text = tree.text(path)?.unwrap_or_default();
            variables.extend(text.lines().filter_map(variable));
        }
    }
    let command = unit.last("Service", "ExecStart").unwrap_or_default();
    let mut words = Vec::new();
    for word in command.split_whitespace().skip(1) {
        let name = word.trim_start_matches(['$', '{']).trim_end_matches('}');
        match variables.iter().rfind(|(found, _)| found == name) {
            Some((_, value)) if word.starts_with('$') => {
                words.extend(value.split_whitespace().map(str::to_owned));
            }
            _ => words.push(word.to_owned()),
        }
    }
    read_words(&words, &mut options);
    Ok(options)
}

/// A line that sets a variable.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.trim().split_once('=')?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!name.starts_with('#')).then(|| (name.trim().to_owned(), value.to_owned()))
}

fn read_words(words: &[String], options: &mut Options) {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, value) = match word.get(..2) {
            Some(option @ ("-f" | "-o" | "-p" | "-h")) => (option, &word[2..]),
            _ => continue,
        };
        let value = match value.is_empty() {
            true => words.next().map_or("", String::as_str),
            false => value,
        };
        match option {
            "-f" => options.path = Some(value.to_owned()),
            "-o" => options.lines.push(value.replacen('=', " ", 1)),
            "-p" => options.lines.push(format!("Port {value}")),
            _ => options.lines.push(format!("HostKey {value}")),
        }
    }
}

/// Judges that the folder is made in which sshd of Debian shuts the part of itself that speaks to
/// strangers. Others are built with a folder that is always there.
pub(super) fn judge_separation(
    unit: &str,
    system: &System,
    units: &Units<'_>,
    context: &Context<'_>,
) -> Result<(), Unread> {
    // A socket that starts a server for each connection has a service of its own kind.
    let service = unit.replace(".socket", ".service");
    let Load::Found(unit) = units.load(&service)? else {
        return Ok(());
    };
    if context.tools.get().family != Family::Debian
        || unit
            .words("Service", "RuntimeDirectory")
            .any(|name| name == "sshd")
        || unit
            .words("Service", "ExecStartPre")
            .any(|word| word.contains(SEPARATION))
    {
        return Ok(());
    }
    for folder in ["/etc/tmpfiles.d", "/usr/lib/tmpfiles.d"] {
        let texts = system.tree.texts_in(folder, ".conf")?;
        if texts.iter().any(|(_, text)| text.contains(SEPARATION)) {
            return Ok(());
        }
    }
    let message = format!("nothing makes `{SEPARATION}`, without which sshd does not start");
    context.find_in(&rules::SSH_UNIT, &unit.path, message);
    Ok(())
}

/// Judges the lists, and that the way is opened at the end of the boot.
pub(super) fn judge(
    system: &System,
    units: &Units<'_>,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let tree = &system.tree;
    let pam = tree.text("/etc/pam.d/sshd")?.unwrap_or_default();
    let has = |module: &str| {
        let mut lines = pam.lines().map(str::trim);
        lines.any(|line| line.starts_with("account") && line.contains(module))
    };
    let makes_nologin = [
        "/usr/lib/tmpfiles.d/systemd-nologin.conf",
        "/etc/tmpfiles.d/systemd-nologin.conf",
    ];
    if has("pam_nologin.so") && units.is_systemd() && tree.exists_any(&makes_nologin)? {
        let path = match units.load(SESSIONS)? {
            Load::Masked(path) | Load::Dangling(path) => Some(path),
            Load::Missing => Some(String::new()),
            Load::Found(_) => None,
        };
        if let Some(path) = path {
            let message = format!(
                "`{SESSIONS}` is not started, and `/run/nologin` keeps everybody but root out"
            );
            context.find_in(&rules::NOLOGIN, &path, message);
        }
    }
    if has("pam_access.so") {
        let text = tree.text(ACCESS)?.unwrap_or_default();
        if let Some(line) = access_denies(&text) {
            let message = format!("`{ACCESS}` lets nobody in");
            context.find_at(&rules::SSH_DENIED, ACCESS, line, message);
        }
    }
    judge_wrappers(tree, context)
}

/// The line that denies everybody before one lets anybody in.
fn access_denies(text: &str) -> Option<u32> {
    for (number, line) in (1..).zip(text.lines()) {
        let line: String = line.split_whitespace().collect();
        match line.chars().next() {
            Some('+') => return None,
            Some('-') if line.eq_ignore_ascii_case("-:ALL:ALL") => return Some(number),
            _ => {}
        }
    }
    None
}

/// Judges the lists of TCP wrappers, which count where sshd was built with them.
fn judge_wrappers(tree: &Tree, context: &Context<'_>) -> Result<(), Unread> {
    let Some(denied) = tree.text(DENY)? else {
        return Ok(());
    };
    let Some(line) = wrapper_line(&denied) else {
        return Ok(());
    };
    let server = tree.head(SERVER, MAX_SERVER)?.unwrap_or_default();
    let allowed = tree.text(ALLOW)?.unwrap_or_default();
    let is_built_in = server.windows(10).any(|window| window == b"libwrap.so");
    if !is_built_in || wrapper_line(&allowed).is_some() {
        return Ok(());
    }
    let some = allowed
        .lines()
        .any(|line| line.trim_start().starts_with("sshd") || line.trim_start().starts_with("ALL"));
    let (rule, message) = match some {
        true => (
            &rules::SSH_UNKNOWN,
            format!("`{DENY}` denies all but those that `{ALLOW}` names"),
        ),
        false => (&rules::SSH_DENIED, format!("`{DENY}` lets nobody in")),
    };
    context.find_at(rule, DENY, line, message);
    Ok(())
}

/// The line that is about everybody who comes to sshd.
fn wrapper_line(text: &str) -> Option<u32> {
    let position = text.lines().position(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut parts = line.split(':').map(str::trim);
        let mut is = |names: &[&str]| {
            parts.next().is_some_and(|part| {
                part.split([',', ' '])
                    .any(|name| names.iter().any(|n| n.eq_ignore_ascii_case(name)))
            })
        };
        is(&["sshd", "ALL"]) && is(&["ALL"]) && !line.contains("EXCEPT")
    });
    position.map(|position| position as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(wrapper_line("# ALL: ALL\nsshd , x: ALL\n"), Some(2));
        assert_eq!(wrapper_line("ALL: PARANOID\nftpd: ALL\n"), None);
        assert_eq!(wrapper_line("ALL: ALL EXCEPT 10.0.0.0/8\n"), None);
        assert_eq!(access_denies("# x\n- : ALL : ALL\n"), Some(2));
        assert_eq!(access_denies("+:root:LOCAL\n-:ALL:ALL\n"), None);
        assert_eq!(access_denies("-:guest:ALL\n"), None);
    }

    #[test]
    fn words_of_the_command() {
        let mut options = Options::default();
        let words = ["-D", "-o", "ListenAddress=127.0.0.1", "-p2222", "-f", "/x"];
        read_words(&words.map(str::to_owned), &mut options);
        assert_eq!(options.lines, ["ListenAddress 127.0.0.1", "Port 2222"]);
        assert_eq!(options.path.as_deref(), Some("/x"));
        assert_eq!(
            variable("SSHD_OPTS='-o A=b'"),
            Some(("SSHD_OPTS".to_owned(), "-o A=b".to_owned()))
        );
        assert_eq!(variable("# A=b"), None);
    }
}
