//! The grammar of `sshd_config`: keywords with values, `Include`, and blocks of `Match`.

use crate::files::Tree;
use crate::network::matches;
use crate::unread::Unread;

pub(super) const PATHS: [&str; 2] = ["/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"];
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
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) values: Vec<String>,
    pub(super) path: String,
    pub(super) line: u32,
}

/// The configuration.
#[derive(Debug, Default)]
pub(in crate::reachable) struct Config {
    /// Of the blocks whose conditions hold for everybody, and then of the rest.
    settings: Vec<Setting>,
    overriding: Vec<Setting>,
    /// Lines that sshd refuses, with whether that is sure.
    pub(super) faults: Vec<(Setting, String, bool)>,
    /// The file, and whether it is there.
    pub(super) path: String,
    pub(super) is_there: bool,
}

/// What the command of the server says of its configuration.
#[derive(Debug, Default)]
pub(in crate::reachable) struct Options {
    /// Another file.
    pub(in crate::reachable) path: Option<String>,
    /// Lines that come before the file's.
    pub(in crate::reachable) lines: Vec<String>,
    /// The file with the options.
    pub(in crate::reachable) from: String,
}

impl Config {
    /// Reads it, with what the options of the command say before it.
    pub(in crate::reachable) fn read_with(tree: &Tree, options: &Options) -> Result<Self, Unread> {
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

    pub(super) fn first(&self, key: &str) -> Option<&Setting> {
        let key = key.to_ascii_lowercase();
        let mut all = self.overriding.iter().chain(&self.settings);
        all.find(|setting| setting.key == key)
    }

    pub(super) fn all(&self, key: &str) -> Vec<&Setting> {
        let key = key.to_ascii_lowercase();
        self.overriding
            .iter()
            .chain(&self.settings)
            .filter(|setting| setting.key == key)
            .collect()
    }

    /// Whether a keyword is switched on.
    pub(in crate::reachable) fn is_on(&self, key: &str, default: bool) -> bool {
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
