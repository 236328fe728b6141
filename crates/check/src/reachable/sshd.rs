//! OpenSSH's server: its configuration by its own grammar.
//!
//! Source: the manual sshd_config(5). Of each keyword the first value counts, and those in a
//! `Match` block whose conditions hold come before them.

use crate::context::Context;
use crate::files::Tree;
use crate::network::matches;
use crate::provisioning::CloudInit;
use crate::rules::Rule;
use crate::rules::reachable as rules;
use crate::system::System;
use crate::system::units::Units;
use crate::unread::Unread;

const PATHS: [&str; 2] = ["/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"];
const MAX_DEPTH: u32 = 8;
const MAX_SETTINGS: usize = 10_000;
/// Keywords whose values are yes or no, or these.
const YES_OR_NO: [(&str, &[&str]); 10] = [
    ("passwordauthentication", &[]),
    ("pubkeyauthentication", &[]),
    ("kbdinteractiveauthentication", &[]),
    ("challengeresponseauthentication", &[]),
    ("usepam", &[]),
    ("permitemptypasswords", &[]),
    (
        "permitrootlogin",
        &[
            "prohibit-password",
            "without-password",
            "forced-commands-only",
        ],
    ),
    ("x11forwarding", &[]),
    ("printmotd", &[]),
    ("usedns", &[]),
];
/// Keywords of OpenSSH to version 10, and of the patches of distributions.
const KEYWORDS: &str = "acceptenv addressfamily allowagentforwarding allowgroups \
    allowstreamlocalforwarding allowtcpforwarding allowusers authenticationmethods \
    authorizedkeyscommand authorizedkeyscommanduser authorizedkeysfile authorizedprincipalscommand \
    authorizedprincipalscommanduser authorizedprincipalsfile banner casignaturealgorithms \
    channeltimeout chrootdirectory ciphers clientalivecountmax clientaliveinterval compression \
    denygroups denyusers disableforwarding exposeauthinfo fingerprinthash forcecommand \
    gatewayports gssapiauthentication gssapicleanupcredentials gssapikeyexchange \
    gssapistrictacceptorcheck gssapistorecredentialsonrekey gssapikexalgorithms \
    gssapienablek5users hostbasedacceptedalgorithms hostbasedacceptedkeytypes \
    hostbasedauthentication hostbasedusesnamefrompacketonly hostcertificate hostkey hostkeyagent \
    hostkeyalgorithms ignorerhosts ignoreuserknownhosts include ipqos kbdinteractiveauthentication \
    challengeresponseauthentication skeyauthentication kerberosauthentication kerberosgetafstoken \
    kerberosorlocalpasswd kerberosticketcleanup kerberosuniqueccache kerberosusekuserok \
    kexalgorithms keyregenerationinterval listenaddress logingracetime loglevel logverbose macs \
    match maxauthtries maxsessions maxstartups modulifile passwordauthentication \
    permitemptypasswords permitlisten permitopen permitrootlogin permittty permittunnel \
    permituserenvironment permituserrc persourcemaxstartups persourcenetblocksize \
    persourcepenalties persourcepenaltyexemptlist pidfile port printlastlog printmotd protocol \
    pubkeyacceptedalgorithms pubkeyacceptedkeytypes pubkeyauthentication pubkeyauthoptions \
    rdomain refuseconnection rekeylimit requiredrsasize revokedkeys rhostsrsaauthentication \
    rsaauthentication rsaminsize securitykeyprovider serverkeybits setenv sshdsessionpath \
    sshdauthpath streamlocalbindmask streamlocalbindunlink strictmodes subsystem syslogfacility \
    tcpkeepalive trustedusercakeys unusedconnectiontimeout usedns uselogin usepam \
    useprivilegeseparation versionaddendum x11displayoffset x11forwarding x11uselocalhost \
    xauthlocation debianbanner keepalive authorizedkeysfile2 dsaauthentication \
    afstokenpassing checkmail hpndisabled hpnbuffersize noneenabled tcprcvbufpoll \
    showpatchlevel useblacklist useblocklist permitblacklistedkeys permitpamuserchange \
    ecdsakeysize gssapiusesessioncredcache gssapicredentialspath kerberosusecache";

/// A line with a keyword.
#[derive(Clone, Debug)]
struct Setting {
    key: String,
    values: Vec<String>,
    path: String,
    line: u32,
}

/// The configuration.
#[derive(Debug, Default)]
pub(super) struct Config {
    /// Of the blocks whose conditions hold for everybody, and then of the rest.
    settings: Vec<Setting>,
    overriding: Vec<Setting>,
    /// Lines that sshd refuses, with whether that is sure.
    faults: Vec<(Setting, String, bool)>,
    /// The file, and whether it is there.
    path: String,
    is_there: bool,
}

/// What the command of the server says of its configuration.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// Another file.
    pub(super) path: Option<String>,
    /// Lines that come before the file's.
    pub(super) lines: Vec<String>,
    /// The file with the options.
    pub(super) from: String,
}

impl Config {
    /// Reads it, with what the options of the command say before it.
    pub(super) fn read_with(tree: &Tree, options: &Options) -> Result<Self, Unread> {
        let path = match &options.path {
            Some(path) => path.clone(),
            None => tree.first_of(&PATHS)?.unwrap_or_default().to_owned(),
        };
        let mut config = Self {
            path,
            is_there: true,
            ..Self::default()
        };
        let path = config.path.clone();
        config.is_there = tree.is_file(&path)?;
        for line in &options.lines {
            if let Some(setting) = parse_line(line, &options.from, 0) {
                config.judge_line(&setting);
                config.settings.push(setting);
            }
        }
        let mut block = Block::Always;
        config.add(tree, &path, &mut block, 0)?;
        Ok(config)
    }

    fn add(
        &mut self,
        tree: &Tree,
        path: &str,
        block: &mut Block,
        depth: u32,
    ) -> Result<(), Unread> {
        let text = tree.text(path)?.unwrap_or_default();
        for (line, text) in (1..).zip(text.lines()) {
            let Some(setting) = parse_line(text, path, line) else {
                continue;
            };
            if self.settings.len() > MAX_SETTINGS || depth > MAX_DEPTH {
                break;
            }
            self.judge_line(&setting);
            match setting.key.as_str() {
                "match" => *block = Block::of(&setting.values),
                "include" => {
                    for pattern in &setting.values {
                        for found in expand(tree, pattern)? {
                            // A block that an included file opens ends with it.
                            let mut inner = *block;
                            self.add(tree, &found, &mut inner, depth + 1)?;
                        }
                    }
                }
                _ => match block {
                    Block::Always => self.settings.push(setting),
                    Block::ForAll => self.overriding.push(setting),
                    Block::ForSome => {}
                },
            }
        }
        Ok(())
    }

    fn judge_line(&mut self, setting: &Setting) {
        let key = setting.key.as_str();
        let fault = match () {
            () if setting.values.is_empty() => Some(("has no value".to_owned(), true)),
            () if !KEYWORDS.split_whitespace().any(|known| known == key) => {
                Some(("is no keyword that is known here".to_owned(), false))
            }
            () => YES_OR_NO
                .iter()
                .find(|(known, _)| *known == key)
                .and_then(|(_, more)| {
                    let value = setting.values[0].to_ascii_lowercase();
                    let known =
                        matches!(value.as_str(), "yes" | "no") || more.contains(&value.as_str());
                    (!known).then(|| (format!("has the value `{value}`"), true))
                }),
        };
        let bad_port = key == "port"
            && setting
                .values
                .first()
                .is_some_and(|v| v.parse::<u16>().map_or(true, |p| p == 0));
        let fault = fault.or(bad_port.then(|| ("is no port".to_owned(), true)));
        if let Some((why, sure)) = fault {
            self.faults.push((setting.clone(), why, sure));
        }
    }

    fn first(&self, key: &str) -> Option<&Setting> {
        let key = key.to_ascii_lowercase();
        let mut all = self.overriding.iter().chain(&self.settings);
        all.find(|setting| setting.key == key)
    }

    fn all(&self, key: &str) -> Vec<&Setting> {
        let key = key.to_ascii_lowercase();
        self.overriding
            .iter()
            .chain(&self.settings)
            .filter(|setting| setting.key == key)
            .collect()
    }

    /// Whether a keyword is switched on.
    pub(super) fn is_on(&self, key: &str, default: bool) -> bool {
        let value = self.first(key).and_then(|setting| setting.values.first());
        value.map_or(default, |value| !value.eq_ignore_ascii_case("no"))
    }
}

/// Whether the lines at hand hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Block {
    /// Outside of blocks.
    Always,
    /// In a block for everybody.
    ForAll,
    /// In a block for some.
    ForSome,
}

impl Block {
    fn of(conditions: &[String]) -> Self {
        let is_all = |word: &String| word.eq_ignore_ascii_case("all");
        let all = conditions.iter().any(is_all)
            || !conditions.is_empty()
                && conditions
                    .chunks(2)
                    .all(|pair| pair.get(1).is_some_and(|value| value == "*"));
        if all { Self::ForAll } else { Self::ForSome }
    }
}

/// A line's keyword and values; `None` for an empty line or a comment.
fn parse_line(text: &str, path: &str, line: u32) -> Option<Setting> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let mut values = Vec::new();
    let mut current = String::new();
    let (mut quoted, mut any) = (false, false);
    for c in text.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            '#' if !quoted && current.is_empty() && !any => break,
            ' ' | '\t' | '\r' if !quoted => {
                if any {
                    values.push(std::mem::take(&mut current));
                }
                any = false;
            }
            // The first value may stand behind an equals sign.
            '=' if !quoted && values.is_empty() && any => {
                values.push(std::mem::take(&mut current));
                any = false;
            }
            '=' if !quoted && values.len() == 1 && !any => {}
            c => {
                any = true;
                current.push(c);
            }
        }
    }
    if any {
        values.push(current);
    }
    let mut values = values.into_iter();
    let key = values.next()?.to_ascii_lowercase();
    Some(Setting {
        key,
        values: values.collect(),
        path: path.to_owned(),
        line,
    })
}

/// The files that a pattern fits, in which only the last part may have wildcards.
fn expand(tree: &Tree, pattern: &str) -> Result<Vec<String>, Unread> {
    let pattern = match pattern.starts_with('/') {
        true => pattern.to_owned(),
        false => format!("/etc/ssh/{pattern}"),
    };
    let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
    let names = tree.list(folder)?;
    let fitting = names
        .iter()
        .filter(|name| matches(last, name) && !name.starts_with('.'));
    Ok(fitting.map(|name| format!("{folder}/{name}")).collect())
}

/// Whether an address, with or without a port, is the machine's own.
pub(super) fn is_loopback(address: &str) -> bool {
    let address = address.trim_start_matches('[');
    address.starts_with("127.") || address.starts_with("::1") || address.starts_with("localhost")
}

/// Judges the configuration; returns the ports on which the server listens.
pub(super) fn judge(
    config: &Config,
    system: &System,
    context: &Context<'_>,
) -> Result<Vec<u16>, Unread> {
    for (setting, why, sure) in &config.faults {
        let rule = if *sure {
            &rules::SSHD_CONFIG
        } else {
            &rules::SSH_UNKNOWN
        };
        let message = format!("the line `{}` of sshd's configuration {why}", setting.key);
        context.find_at(rule, &setting.path, setting.line, message);
    }
    if !config.is_there {
        let path = match config.path.as_str() {
            "" => PATHS[0],
            path => path,
        };
        let message = format!("sshd does not start without `{path}`");
        context.find_in(&rules::SSHD_CONFIG, path, message);
    }
    judge_listening(config, context);
    judge_authentication(config, system, context)?;
    judge_users(config, context);
    let ports: Vec<u16> = config
        .all("Port")
        .iter()
        .filter_map(|setting| setting.values.first()?.parse().ok())
        .collect();
    Ok(if ports.is_empty() { vec![22] } else { ports })
}

fn judge_listening(config: &Config, context: &Context<'_>) {
    let find = |rule: &Rule, setting: &Setting, message: String| {
        context.find_at(rule, &setting.path, setting.line, message);
    };
    let addresses = config.all("ListenAddress");
    let value = |setting: &&Setting| setting.values.first().cloned().unwrap_or_default();
    let outside: Vec<_> = addresses
        .iter()
        .filter(|s| !is_loopback(&value(s)))
        .collect();
    if let (Some(first), true) = (addresses.first(), outside.is_empty()) {
        let message = format!("sshd listens on `{}` only", value(first));
        find(&rules::SSHD_LISTENS, first, message);
    }
    let is_any = |address: &str| {
        let address = address.trim_start_matches('[');
        address.starts_with("0.0.0.0")
            || address.starts_with("::") && !address.starts_with("::1")
            || address.starts_with('*')
    };
    if let Some(fixed) = outside
        .first()
        .filter(|_| !outside.iter().any(|s| is_any(&value(s))))
    {
        let message = format!(
            "sshd listens on `{}` only, which may not be the machine's",
            value(fixed)
        );
        find(&rules::SSH_UNKNOWN, fixed, message);
    }
    if let Some(setting) = config
        .first("AddressFamily")
        .filter(|s| value(s) == "inet6")
    {
        find(
            &rules::SSHD_LISTENS,
            setting,
            "sshd listens by IPv6 only".to_owned(),
        );
    }
}

fn judge_authentication(
    config: &Config,
    system: &System,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let pam = config.is_on("UsePAM", false);
    let password = config.is_on("PasswordAuthentication", true);
    let keys_file = config.first("AuthorizedKeysFile");
    let no_file = keys_file.is_some_and(|setting| {
        setting
            .values
            .first()
            .is_some_and(|v| v.eq_ignore_ascii_case("none"))
    });
    let has_command = config
        .first("AuthorizedKeysCommand")
        .is_some_and(|setting| {
            setting
                .values
                .first()
                .is_some_and(|v| !v.eq_ignore_ascii_case("none"))
        });
    let key = config.is_on("PubkeyAuthentication", true) && (!no_file || has_command);
    let interactive = match config.first("KbdInteractiveAuthentication") {
        Some(_) => config.is_on("KbdInteractiveAuthentication", true),
        None => config.is_on("ChallengeResponseAuthentication", true),
    } && pam;
    let at = [
        "PubkeyAuthentication",
        "PasswordAuthentication",
        "AuthorizedKeysFile",
    ]
    .iter()
    .find_map(|key| config.first(key));
    let (path, line) = at.map_or((config.path.as_str(), 0), |s| (s.path.as_str(), s.line));
    if !password && !key && !interactive {
        context.find_at(
            &rules::SSHD_AUTHENTICATION,
            path,
            line,
            "sshd takes neither keys nor passwords, and lets nobody in",
        );
    } else if !key {
        context.find_at(
            &rules::SSHD_KEYS,
            path,
            line,
            "sshd takes no keys; only a machine that is made with a password lets somebody in",
        );
    }
    if let Some(methods) = config.first("AuthenticationMethods") {
        let possible = |method: &str| match method.split(':').next() {
            Some("publickey") => key,
            Some("password") => password,
            Some("keyboard-interactive") => interactive,
            Some("any") => true,
            _ => false,
        };
        let any = methods
            .values
            .iter()
            .any(|list| list.split(',').all(possible));
        if !any {
            let message = format!("no method of `{}` is possible", methods.values.join(" "));
            context.find_at(
                &rules::SSHD_AUTHENTICATION,
                &methods.path,
                methods.line,
                message,
            );
        }
    }
    if let Some(force) = config
        .first("ForceCommand")
        .filter(|s| s.values.first().is_some_and(|v| v != "none"))
    {
        let command = force.values.join(" ");
        let ends = ["/bin/false", "/bin/true", "/nologin"];
        let rule = match ends.iter().any(|end| command.ends_with(end)) {
            true => &rules::SSHD_AUTHENTICATION,
            false => &rules::SSH_UNKNOWN,
        };
        let message = format!("sshd runs `{command}` in place of a shell");
        context.find_at(rule, &force.path, force.line, message);
    }
    judge_sessions(config, system, context)
}

/// Judges whether who is let in comes to a shell.
fn judge_sessions(config: &Config, system: &System, context: &Context<'_>) -> Result<(), Unread> {
    let first = |key| {
        let setting = config.first(key)?;
        Some((setting, setting.values.first()?.as_str()))
    };
    if let Some((setting, "0")) = first("MaxSessions") {
        let message = "`MaxSessions 0` lets nobody have a shell";
        context.find_at(
            &rules::SSHD_AUTHENTICATION,
            &setting.path,
            setting.line,
            message,
        );
    }
    if let Some((setting, folder)) = first("ChrootDirectory").filter(|(_, v)| *v != "none") {
        let is_there = folder.contains('%') || system.tree.exists(folder)?;
        let (rule, message) = match is_there {
            true => (
                &rules::SSH_UNKNOWN,
                format!(
                    "sshd shuts everybody in `{folder}`; whether a shell is there is not known"
                ),
            ),
            false => (
                &rules::SSHD_AUTHENTICATION,
                format!("sshd shuts everybody in `{folder}`, which is not there"),
            ),
        };
        context.find_at(rule, &setting.path, setting.line, message);
    }
    Ok(())
}

fn judge_users(config: &Config, context: &Context<'_>) {
    for key in ["DenyUsers", "DenyGroups"] {
        for setting in config.all(key) {
            if setting
                .values
                .iter()
                .any(|value| value == "*" || value == "*@*")
            {
                let message = format!("`{key} *` lets nobody in");
                context.find_at(
                    &rules::SSHD_AUTHENTICATION,
                    &setting.path,
                    setting.line,
                    message,
                );
            }
        }
    }
    for key in ["AllowUsers", "AllowGroups"] {
        let settings = config.all(key);
        let any = settings
            .iter()
            .any(|s| s.values.iter().any(|value| value == "*" || value == "*@*"));
        if let (Some(first), false) = (settings.first(), any) {
            let message = format!(
                "`{key} {}` lets in these only; the user that Azure makes must be one of them",
                first.values.join(" ")
            );
            context.find_at(&rules::SSHD_ALLOW, &first.path, first.line, message);
        }
    }
}

/// Judges the host keys: sshd does not start without one.
pub(super) fn judge_host_keys(
    config: &Config,
    system: &System,
    units: &Units<'_>,
    cloud_init: &CloudInit,
    context: &Context<'_>,
) -> Result<(), Unread> {
    let tree = &system.tree;
    let named = config.all("HostKey");
    let usual = ["rsa", "ecdsa", "ed25519"].map(|kind| format!("/etc/ssh/ssh_host_{kind}_key"));
    let paths: Vec<String> = match named.is_empty() {
        true => usual.to_vec(),
        false => named
            .iter()
            .filter_map(|setting| setting.values.first().cloned())
            .collect(),
    };
    for path in &paths {
        if tree
            .meta(path)?
            .is_some_and(|meta| meta.is_file() && meta.size > 0 && meta.mode & 0o027 == 0)
        {
            return Ok(());
        }
    }
    let can_be_made = paths.iter().any(|path| usual.contains(path));
    if can_be_made && makes_host_keys(system, units, cloud_init)? {
        return Ok(());
    }
    let (path, line) = named
        .first()
        .map_or((config.path.as_str(), 0), |s| (s.path.as_str(), s.line));
    context.find_at(
        &rules::SSHD_HOST_KEYS,
        path,
        line,
        format!(
            "sshd has no host key (`{}`), and nothing makes one at boot",
            paths.join("`, `")
        ),
    );
    Ok(())
}

/// Whether something makes host keys at boot.
fn makes_host_keys(
    system: &System,
    units: &Units<'_>,
    cloud_init: &CloudInit,
) -> Result<bool, Unread> {
    let tree = &system.tree;
    if cloud_init.works || tree.exists("/usr/bin/azure-init")? {
        return Ok(true);
    }
    for name in [
        "sshd-keygen.target",
        "sshd-keygen.service",
        "sshdgenkeys.service",
        "sshkeygen.service",
        "ssh-keygen.service",
        "regenerate_ssh_host_keys.service",
    ] {
        if units.is_started(name)? {
            return Ok(true);
        }
    }
    for name in ["ssh.service", "sshd.service"] {
        if let crate::system::units::Load::Found(unit) = units.load(name)?
            && unit
                .words("Service", "ExecStartPre")
                .any(|word| word.contains("keygen"))
        {
            return Ok(true);
        }
    }
    if !units.is_systemd() {
        return Ok(true);
    }
    let conf = tree.text("/etc/waagent.conf")?.unwrap_or_default();
    let value = |key: &str| {
        let mut lines = conf.lines().filter_map(|line| line.split_once('='));
        let last = lines.rfind(|(found, _)| found.trim() == key);
        last.map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    let regenerates =
        value("Provisioning.RegenerateSshHostKeyPair").is_none_or(|v| v.starts_with('y'));
    let provisions = value("Provisioning.Agent")
        .is_none_or(|v| !matches!(v.as_str(), "cloud-init" | "disabled"));
    let mut runs = false;
    for name in ["walinuxagent.service", "waagent.service"] {
        runs |= units.is_started(name)? && units.obstacle(name, &system.accounts, 0)?.is_none();
    }
    Ok(regenerates && provisions && runs)
}

/// The keywords with the number of their values, for tests.
#[cfg(test)]
fn counts(config: &Config) -> std::collections::BTreeMap<String, usize> {
    config
        .settings
        .iter()
        .map(|s| (s.key.clone(), s.values.len()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Files, Kind, Memory, Meta};
    use proptest::prelude::*;
    use std::rc::Rc;

    fn config(files: &[(&str, &str)]) -> Config {
        let mut memory = Memory::default();
        for (path, text) in files {
            let meta = Meta {
                kind: Kind::File,
                size: text.len() as u64,
                mode: 0o644,
                uid: 0,
            };
            memory.add(path, meta, Some(text.as_bytes().to_vec()));
        }
        let tree = Tree::of(Rc::new(memory) as Rc<dyn Files>);
        Config::read_with(&tree, &Options::default()).unwrap()
    }

    #[test]
    fn the_first_value_counts_and_a_block_for_all_before_it() {
        let main = "/etc/ssh/sshd_config";
        let one = config(&[(
            main,
            "PasswordAuthentication no\nPasswordAuthentication yes\n",
        )]);
        assert!(!one.is_on("PasswordAuthentication", true));
        let block = "PasswordAuthentication no\nMatch all\nPasswordAuthentication yes\n";
        assert!(config(&[(main, block)]).is_on("PasswordAuthentication", true));
        let some = "Match User x\nPubkeyAuthentication no\n";
        assert!(config(&[(main, some)]).is_on("PubkeyAuthentication", true));
        let included = config(&[
            (main, "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM=yes\n"),
            (
                "/etc/ssh/sshd_config.d/a.conf",
                "PubkeyAuthentication \"no\" # x\n",
            ),
        ]);
        assert!(!included.is_on("PubkeyAuthentication", true) && included.is_on("UsePAM", false));
        assert_eq!(counts(&included)["pubkeyauthentication"], 1);
        assert_eq!(
            config(&[(main, "PermitRootLogin maybe\nNonsense 1\n")])
                .faults
                .len(),
            2
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = config(&[("/etc/ssh/sshd_config", &text)]);
        }
    }
}
