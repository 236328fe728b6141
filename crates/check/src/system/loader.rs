//! The menus of boot loaders: GRUB, GRUB 2, and entries after the Boot Loader Specification.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Longest command line that variables are put into, in bytes; kernels take 4,096 at most.
const MAX_CMDLINE: usize = 64 << 10;

/// What a boot loader starts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Entry {
    /// The title, and what else a default may name it by.
    pub(super) names: Vec<String>,
    /// Path of the kernel, seen from the file system that the loader reads.
    pub(super) kernel: String,
    /// The kernel's command line.
    pub(super) cmdline: String,
    /// Paths of the initial RAM disks.
    pub(super) initrds: Vec<String>,
    /// Place among the items of the menu that are not in a submenu, from 0.
    index: usize,
}

/// A menu with what selects its default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Menu {
    pub(super) entries: Vec<Entry>,
    /// Variables that are set, also by the environment block.
    pub(super) variables: BTreeMap<String, String>,
    /// Values that the default is set to, in the order of the file.
    defaults: Vec<String>,
    /// Whether the entries are in files of their own.
    pub(super) uses_bls: bool,
}

impl Menu {
    /// Reads a configuration of GRUB 2 or of the GRUB before it.
    pub(super) fn of_grub(text: &str) -> Self {
        let mut menu = Self::default();
        let mut open_blocks = Vec::new();
        let mut items = 0;
        for line in text.lines().map(str::trim) {
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let is_item = matches!(word, "menuentry" | "submenu" | "title");
            if is_item && !open_blocks.contains(&true) {
                items += 1;
            }
            match word {
                "menuentry" | "title" => menu.entries.push(Entry {
                    names: names_of(word, rest),
                    index: items - 1,
                    ..Entry::default()
                }),
                "set" => menu.set(rest),
                "blscfg" => menu.uses_bls = true,
                _ if word.starts_with("default") => menu.defaults.extend(legacy_default(line)),
                _ => menu.add_to_entry(word, rest),
            }
            if line.ends_with('{') {
                open_blocks.push(is_item);
            } else if line == "}" {
                open_blocks.pop();
            }
        }
        menu
    }

    fn set(&mut self, assignment: &str) {
        let Some((name, value)) = assignment.split_once('=') else {
            return;
        };
        let value = value.trim().trim_matches(['"', '\'']).to_owned();
        if name == "default" {
            self.defaults.push(value);
        } else {
            self.variables.insert(name.to_owned(), value);
        }
    }

    fn add_to_entry(&mut self, word: &str, rest: &str) {
        let Some(entry) = self.entries.last_mut() else {
            return;
        };
        let mut words = rest.split_whitespace();
        match word {
            "linux" | "linux16" | "linuxefi" | "kernel" if entry.kernel.is_empty() => {
                entry.kernel = without_device(words.next().unwrap_or_default());
                entry.cmdline = words.collect::<Vec<_>>().join(" ");
            }
            "initrd" | "initrd16" | "initrdefi" => {
                let paths = words.filter(|word| !word.starts_with('$'));
                entry.initrds.extend(paths.map(without_device));
            }
            _ => {}
        }
    }

    /// Adds the variables of an environment block (`grubenv`).
    pub(super) fn add_environment(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (name, value) in lines.filter_map(|line| line.split_once('=')) {
            self.variables.insert(name.to_owned(), value.to_owned());
        }
    }

    /// The entry that is started without anybody's choice.
    pub(super) fn default_entry(&self) -> Option<Entry> {
        let wanted = self.default_name();
        let mut entry = self.named(&wanted).or(self.entries.first())?.clone();
        entry.cmdline = self.expanded(&entry.cmdline);
        Some(entry)
    }

    /// The entry that a default names: by its place or a name, in a submenu as "submenu>entry".
    fn named(&self, wanted: &str) -> Option<&Entry> {
        let (submenu, wanted) = match wanted.rsplit_once('>') {
            Some((submenu, wanted)) => (Some(submenu), wanted),
            None => (None, wanted),
        };
        let Ok(place) = wanted.parse::<usize>() else {
            let wanted = wanted.to_owned();
            return self
                .entries
                .iter()
                .find(|entry| entry.names.contains(&wanted));
        };
        match submenu {
            None => self.entries.iter().find(|entry| entry.index == place),
            Some(submenu) => {
                let index: usize = submenu.parse().ok()?;
                let mut inside = self.entries.iter().filter(|entry| entry.index == index);
                inside.nth(place)
            }
        }
    }

    fn default_name(&self) -> String {
        let saved = self
            .variables
            .get("saved_entry")
            .filter(|name| !name.is_empty());
        let asks_saved = self.uses_bls || self.defaults.iter().any(|d| d.contains("saved_entry"));
        let fixed = self.defaults.iter().rfind(|default| !default.contains('$'));
        match saved {
            Some(saved) if asks_saved => saved.clone(),
            _ => fixed.cloned().unwrap_or_else(|| "0".to_owned()),
        }
    }

    /// A command line with the variables put in; unknown ones are left out.
    fn expanded(&self, cmdline: &str) -> String {
        let mut expanded = String::new();
        for word in cmdline.split_whitespace() {
            let value = match word.strip_prefix('$') {
                None => Some(word),
                Some(name) => {
                    let name = name.trim_matches(['{', '}']);
                    self.variables.get(name).map(String::as_str)
                }
            };
            let value = value.unwrap_or_default();
            if expanded.len() + value.len() > MAX_CMDLINE {
                break;
            }
            expanded.push_str(value);
            expanded.push(' ');
        }
        expanded.truncate(expanded.trim_end().len());
        expanded
    }

    /// Takes entries after the Boot Loader Specification, the newest first.
    pub(super) fn add_bls(&mut self, files: &[(String, String)]) {
        let mut entries: Vec<_> = files
            .iter()
            .map(|(path, text)| bls_entry(path, text))
            .collect();
        entries.sort_by(|a, b| natural_order(&b.names[0], &a.names[0]));
        for (index, entry) in entries.iter_mut().enumerate() {
            entry.index = index;
        }
        self.uses_bls = true;
        self.entries.splice(0..0, entries);
    }
}

/// Title and identifier in the head of a menu entry.
fn names_of(word: &str, rest: &str) -> Vec<String> {
    if word == "title" {
        return vec![rest.to_owned()];
    }
    // Every second piece between quotes is quoted.
    let quote = if rest.starts_with('"') { '"' } else { '\'' };
    let quoted = rest.split(quote).skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

/// The value of `default=0` or `default 0`, as in the GRUB before GRUB 2.
fn legacy_default(line: &str) -> Option<String> {
    let value = line
        .strip_prefix("default")?
        .trim_start_matches(['=', ' ', '\t']);
    Some(value.trim().to_owned())
}

/// A path without the device in front: `(hd0,0)/vmlinuz`, `($root)/vmlinuz`.
fn without_device(path: &str) -> String {
    match path.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, path)) => path.to_owned(),
        None => path.to_owned(),
    }
}

fn bls_entry(path: &str, text: &str) -> Entry {
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let mut entry = Entry {
        names: vec![file_name.trim_end_matches(".conf").to_owned()],
        ..Entry::default()
    };
    for line in text.lines().map(str::trim) {
        let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        match key {
            "title" => entry.names.push(value.to_owned()),
            "linux" => entry.kernel = value.to_owned(),
            "initrd" => {
                let paths = value
                    .split_whitespace()
                    .filter(|path| !path.starts_with('$'));
                entry.initrds.extend(paths.map(str::to_owned));
            }
            "options" => {
                entry.cmdline.push(' ');
                entry.cmdline.push_str(value);
            }
            _ => {}
        }
    }
    entry
}

/// Compares names with the numbers in them as numbers: 5.9 before 5.14.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while let (Some(first_a), Some(first_b)) = (a.chars().next(), b.chars().next()) {
        let digits = first_a.is_ascii_digit() && first_b.is_ascii_digit();
        let (run_a, run_b) = if digits {
            (digit_run(a), digit_run(b))
        } else {
            (first_a.len_utf8(), first_b.len_utf8())
        };
        let (x, y) = (&a[..run_a], &b[..run_b]);
        let order = if digits {
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[run_a..], &b[run_b..]);
    }
    a.len().cmp(&b.len())
}

fn digit_run(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRUB2: &str = r#"
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
function load_video {
  insmod all_video
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
	search --no-floppy --fs-uuid --set=root 1
	linux	/boot/vmlinuz-6.1.0-1-amd64 root=UUID=1 ro console=ttyS0 $extra
	initrd	/boot/initrd.img-6.1.0-1-amd64
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced' {
	menuentry 'Debian GNU/Linux, old' $menuentry_id_option 'gnulinux-old' {
		linux	/boot/vmlinuz-5.10 ro quiet
		initrd	/boot/initrd.img-5.10
	}
}
menuentry "Other" {
	linux /vmlinuz-other
}
"#;

    #[test]
    fn grub2() {
        let menu = Menu::of_grub(GRUB2);
        let entry = menu.default_entry().unwrap();
        assert_eq!(entry.kernel, "/boot/vmlinuz-6.1.0-1-amd64");
        assert_eq!(entry.cmdline.trim(), "root=UUID=1 ro console=ttyS0");
        assert_eq!(entry.initrds, ["/boot/initrd.img-6.1.0-1-amd64"]);
        let with_default = |value: &str| {
            let text = GRUB2.replace("\"0\"", &format!("\"{value}\""));
            Menu::of_grub(&text).default_entry().unwrap().kernel
        };
        assert_eq!(with_default("1"), "/boot/vmlinuz-5.10");
        assert_eq!(with_default("1>0"), "/boot/vmlinuz-5.10");
        assert_eq!(with_default("2"), "/vmlinuz-other");
        assert_eq!(
            with_default("gnulinux-advanced>gnulinux-old"),
            "/boot/vmlinuz-5.10"
        );
        assert_eq!(with_default("Other"), "/vmlinuz-other");
        assert_eq!(with_default("9"), "/boot/vmlinuz-6.1.0-1-amd64");
    }

    #[test]
    fn saved_entries() {
        let mut menu = Menu::of_grub(&GRUB2.replace("\"0\"", "\"${saved_entry}\""));
        menu.add_environment("# GRUB Environment Block\nsaved_entry=gnulinux-old\n####");
        assert_eq!(menu.default_entry().unwrap().kernel, "/boot/vmlinuz-5.10");
    }

    /// A small file cannot make a large command line.
    #[test]
    fn expansion_is_bounded() {
        let value = "x".repeat(1000);
        let text = format!("set a={value}\ntitle t\nkernel /k {}\n", "$a ".repeat(1000));
        let entry = Menu::of_grub(&text).default_entry().unwrap();
        assert!(entry.cmdline.len() <= MAX_CMDLINE + 1000);
        assert!(entry.cmdline.starts_with(&value));
    }

    #[test]
    fn grub_before_grub2() {
        let menu = Menu::of_grub(
            "default=1\ntimeout=5\ntitle A (1)\n\troot (hd0,0)\n\tkernel (hd0,0)/vmlinuz-1 ro\n\
             title B (2)\n\tkernel /vmlinuz-2 ro rhgb\n\tinitrd /initramfs-2.img\n",
        );
        let entry = menu.default_entry().unwrap();
        assert_eq!(
            (entry.kernel.as_str(), entry.cmdline.as_str()),
            ("/vmlinuz-2", "ro rhgb")
        );
        assert_eq!(menu.entries[0].kernel, "/vmlinuz-1");
    }

    #[test]
    fn bls_takes_the_newest_or_the_saved() {
        let file = |version: &str| {
            let text = format!(
                "title T ({version})\nlinux /vmlinuz-{version}\ninitrd /i-{version} $tuned_initrd\n\
                 options root=1 $kernelopts\n"
            );
            (format!("/boot/loader/entries/abc-{version}.conf"), text)
        };
        let files = [
            file("0-rescue"),
            file("5.14.0-9"),
            file("5.14.0-70"),
            file("5.9.0"),
        ];
        let mut menu = Menu::of_grub("set default=\"${saved_entry}\"\nblscfg\n");
        menu.add_environment("kernelopts=ro console=ttyS0\n");
        menu.add_bls(&files);
        let entry = menu.default_entry().unwrap();
        assert_eq!(entry.kernel, "/vmlinuz-5.14.0-70");
        assert_eq!(entry.initrds, ["/i-5.14.0-70"]);
        assert_eq!(entry.cmdline, "root=1 ro console=ttyS0");
        menu.add_environment("saved_entry=abc-5.9.0\n");
        assert_eq!(menu.default_entry().unwrap().kernel, "/vmlinuz-5.9.0");
    }

    proptest! {
        #[test]
        fn any_text_is_a_menu(text: String, environment: String, a: String, b: String) {
            let mut menu = Menu::of_grub(&text);
            menu.add_environment(&environment);
            menu.add_bls(&[(a.clone(), text.clone()), (b.clone(), environment)]);
            let _ = menu.default_entry();
            prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
        }

        #[test]
        fn menus_of_hostile_words(words in proptest::collection::vec("(menuentry|submenu|title|set|default|linux|initrd|\\{|\\}|'|\"|=|>|[0-9]|\\$|\\n| )", 0..60)) {
            let _ = Menu::of_grub(&words.concat()).default_entry();
        }
    }
}
