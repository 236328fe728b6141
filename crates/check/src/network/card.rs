//! The name of the network card: the kernel's, or one that rules or link files of udev give it.
//!
//! Source: the manuals udev(7) and systemd.link(5).

use super::patterns::{ini_value, matches, matches_any};
use super::{DRIVER, Place};
use crate::files::Tree;
use crate::unread::Unread;

/// The name that the kernel gives the first network card of Hyper-V; no policy of systemd gives
/// it another.
const INTERFACE: &str = "eth0";

/// The network card.
pub(super) struct Card {
    name: String,
    unsure: Option<Place>,
}

impl Card {
    /// The card with the name that the kernel gives it.
    pub(super) fn unnamed() -> Self {
        Self {
            name: INTERFACE.to_owned(),
            unsure: None,
        }
    }

    /// The card as the files of udev name it.
    pub(super) fn read(tree: &Tree) -> Result<Self, Unread> {
        let mut card = Self::unnamed();
        for (_, text) in tree.texts_in("/etc/systemd/network", ".link")? {
            let is_bound = ["MACAddress", "Path", "Driver"]
                .iter()
                .filter_map(|key| ini_value(&text, "Match", key))
                .any(|value| value != DRIVER && value != "*");
            let original = ini_value(&text, "Match", "OriginalName").unwrap_or("*");
            if let Some(name) = ini_value(&text, "Link", "Name")
                && !is_bound
                && matches_any(original, INTERFACE)
            {
                name.clone_into(&mut card.name);
                break;
            }
        }
        // A name in a rule wins over that of a link file.
        for (path, text) in tree.texts_in("/etc/udev/rules.d", ".rules")? {
            for (line, rule) in rules(&text) {
                card.apply(&rule, &path, line);
            }
        }
        Ok(card)
    }

    /// Whether a list of patterns fits the name.
    pub(super) fn fits(&self, patterns: &str) -> bool {
        matches_any(patterns, &self.name)
    }

    /// The name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The rule because of which the name is not known.
    pub(super) fn unsure(&self) -> Option<&Place> {
        self.unsure.as_ref()
    }

    fn apply(&mut self, rule: &str, path: &str, line: u32) {
        let Some((name, fits)) = naming(rule) else {
            return;
        };
        let why = || format!("a rule of udev may give the network card the name `{name}`");
        match fits {
            Some(true) if !name.contains(['$', '%']) => {
                name.clone_into(&mut self.name);
                self.unsure = None;
            }
            Some(false) => {}
            Some(true) | None => self.unsure = Some(Place::new(why(), path, line)),
        }
    }
}

/// The rules of a file with the numbers of their first lines.
fn rules(text: &str) -> Vec<(u32, String)> {
    let mut rules = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let mut rule = line.trim().to_owned();
        if rule.starts_with('#') {
            continue;
        }
        while rule.ends_with('\\') {
            rule.pop();
            match lines.next() {
                Some((_, more)) => rule.push_str(more.trim()),
                None => break,
            }
        }
        rules.push((number, rule));
    }
    rules
}

/// The name that a rule gives, and whether it is one for the card; `None` within if that depends on
/// what is not known here.
fn naming(rule: &str) -> Option<(String, Option<bool>)> {
    let mut name = None;
    let mut fits = Some(true);
    let parts = rule.split(',').map(str::trim);
    for part in parts.filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('"')?;
        let value = value.trim_end_matches('"');
        let operator =
            key.trim_start_matches(|c: char| c.is_alphanumeric() || "_{}.-/".contains(c));
        let key = key.strip_suffix(operator).unwrap_or(key).trim();
        let inverted = match operator.trim() {
            "==" => false,
            "!=" => true,
            "=" | ":=" if key == "NAME" => {
                name = Some(value.to_owned());
                continue;
            }
            _ => continue,
        };
        let holds = holds(key, value).map(|holds| holds != inverted);
        fits = match (fits, holds) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (fits, Some(true)) => fits,
            (_, None) => None,
        };
    }
    Some((name?, fits))
}

/// Whether a condition of a rule holds for the card as it appears.
fn holds(key: &str, patterns: &str) -> Option<bool> {
    let is = |value: &str| Some(patterns.split('|').any(|pattern| matches(pattern, value)));
    match key {
        "SUBSYSTEM" => is("net"),
        "ACTION" => is("add"),
        "KERNEL" | "KERNELS" => is(INTERFACE),
        "DRIVERS" => is(DRIVER),
        "ATTR{type}" | "ATTRS{type}" => is("1"),
        // That of the machine on which the image was made.
        "ATTR{address}" | "ATTRS{address}" | "SYSFS{address}" => {
            Some(patterns.contains(['*', '?']))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_that_name_the_card() {
        let given = |rule: &str| naming(rule);
        let named = |name: &str, fits| Some((name.to_owned(), fits));
        let rule = r#"SUBSYSTEM=="net", ACTION=="add", KERNEL=="eth*", NAME="lan0""#;
        assert_eq!(given(rule), named("lan0", Some(true)));
        let rule =
            r#"SUBSYSTEM=="net", DRIVERS=="?*", ATTR{address}=="00:0c:29:aa:bb:cc", NAME="eth0""#;
        assert_eq!(given(rule), named("eth0", Some(false)));
        assert_eq!(
            given(r#"KERNEL=="eth0", NAME="a","#),
            named("a", Some(true))
        );
        let rule = r#"SUBSYSTEM=="net", KERNEL!="eth*", NAME="x""#;
        assert_eq!(given(rule), named("x", Some(false)));
        let rule = r#"SUBSYSTEM=="net", PROGRAM=="/bin/x", NAME="%c""#;
        assert_eq!(given(rule), named("%c", None));
        assert_eq!(given(r#"SUBSYSTEM=="net", RUN+="/bin/x""#), None);
        assert_eq!(given(r#"KERNEL=="sd*", NAME=="x""#), None);
        let joined = rules("# x\nKERNEL==\"eth0\", \\\n  NAME=\"a\"\n");
        assert_eq!(joined, [(2, r#"KERNEL=="eth0", NAME="a""#.to_owned())]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            for (_, rule) in rules(&text) {
                let _ = naming(&rule);
            }
        }
    }
}
