use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::unread::Unread;

/// One device, `hd0,gpt3`, with files of text.
#[derive(Default)]
struct Disk(BTreeMap<String, String>);

impl Disk {
    fn with(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self(files.collect())
    }
}

impl World for Disk {
    fn stat(&self, place: &Place) -> Result<Option<Stat>, Unread> {
        let folder = format!("{}/", place.path.trim_end_matches('/'));
        let is_folder = self.0.keys().any(|path| path.starts_with(&folder));
        let size = self.0.get(&place.path).map(|text| text.len() as u64);
        let size = size.or(is_folder.then_some(0));
        Ok(size
            .filter(|_| place.device == "hd0,gpt3")
            .map(|size| Stat { is_folder, size }))
    }

    fn text(&self, place: &Place) -> Result<Option<String>, Unread> {
        Ok(self
            .0
            .get(&place.path)
            .filter(|_| place.device == "hd0,gpt3")
            .cloned())
    }

    fn list(&self, place: &Place) -> Result<Vec<String>, Unread> {
        let folder = format!("{}/", place.path);
        let names = self.0.keys().filter_map(|path| path.strip_prefix(&folder));
        Ok(names.map(str::to_owned).collect())
    }

    fn search(&self, by: SearchBy, wanted: &str) -> Result<Option<String>, Unread> {
        let found = match by {
            SearchBy::Uuid => wanted == "1",
            SearchBy::Label => wanted == "root",
            SearchBy::File => self.0.contains_key(wanted),
        };
        Ok(found.then(|| "hd0,gpt3".to_owned()))
    }

    fn device(&self, name: &str) -> Option<String> {
        matches!(name, "hd0,gpt3" | "hd0,3" | ",gpt3").then(|| "hd0,gpt3".to_owned())
    }

    fn shown(&self, place: &Place) -> String {
        place.path.clone()
    }
}

const MENU: &str = r#"
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
function load_video {
  insmod all_video
}
set timeout=5
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
	load_video
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	set root='hd0,msdos9'
	search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt3 1
	linux	/boot/vmlinuz-6.1.0-1-amd64 root=UUID=1 ro console=ttyS0 $extra
	initrd	/boot/initrd.img-6.1.0-1-amd64
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced' {
	menuentry 'Debian GNU/Linux, old' $menuentry_id_option 'gnulinux-old' {
		search --set=root --label root
		linux	/boot/vmlinuz-5.10 ro quiet
		initrd	/boot/initrd.img-5.10
	}
}
menuentry "Other" {
	linux (hd0,gpt3)/vmlinuz-other
}
"#;

fn outcome_of(menu: &str, more: &[(&str, &str)]) -> Result<Outcome, Unread> {
    let disk = Disk::with(&[&[("/boot/grub/grub.cfg", menu)], more].concat());
    let mut machine = Machine::new(&disk, "pc");
    machine.set("root", "hd0,gpt3");
    machine.set("prefix", "(hd0,gpt3)/boot/grub");
    machine.run_text("normal", "core")?;
    outcome(&mut machine)
}

fn started(menu: &str, more: &[(&str, &str)]) -> Loaded {
    match outcome_of(menu, more).unwrap() {
        Outcome::Starts(loaded) => loaded[0].clone(),
        other => panic!("{other:?}"),
    }
}

fn kernel(menu: &str) -> String {
    started(menu, &[]).kernel.path
}

fn with_default(value: &str) -> String {
    MENU.replace("\"0\"", &format!("\"{value}\""))
}

#[test]
fn the_default_entry() {
    let loaded = started(MENU, &[]);
    assert_eq!(loaded.kernel.device, "hd0,gpt3");
    assert_eq!(loaded.kernel.path, "/boot/vmlinuz-6.1.0-1-amd64");
    assert_eq!(loaded.cmdline, "root=UUID=1 ro console=ttyS0");
    assert_eq!(loaded.initrds[0].path, "/boot/initrd.img-6.1.0-1-amd64");
    assert_eq!(
        (loaded.file.as_str(), loaded.line),
        ("/boot/grub/grub.cfg", 25)
    );
    assert_eq!(kernel(&with_default("1>0")), "/boot/vmlinuz-5.10");
    assert_eq!(kernel(&with_default("2")), "/vmlinuz-other");
    assert_eq!(
        kernel(&with_default("gnulinux-advanced>gnulinux-old")),
        "/boot/vmlinuz-5.10"
    );
    assert_eq!(kernel(&with_default("Other")), "/vmlinuz-other");
    assert_eq!(kernel(&with_default("9")), "/boot/vmlinuz-6.1.0-1-amd64");
}

#[test]
fn saved_and_next_entries() {
    let block = |text: &str| format!("# GRUB Environment Block\n{text}\n####");
    let choose = |menu: &str, text: &str| {
        let block = block(text);
        started(menu, &[("/boot/grub/grubenv", &block)]).kernel.path
    };
    let saved = with_default("${saved_entry}");
    assert_eq!(choose(&saved, "saved_entry=Other"), "/vmlinuz-other");
    assert_eq!(
        choose(&saved, "saved_entry="),
        "/boot/vmlinuz-6.1.0-1-amd64"
    );
    assert_eq!(choose(MENU, "next_entry=2"), "/vmlinuz-other");
    assert_eq!(
        choose(MENU, "saved_entry=Other"),
        "/boot/vmlinuz-6.1.0-1-amd64"
    );
}

#[test]
fn menus_that_wait() {
    let stops = |menu: &str| matches!(outcome_of(menu, &[]).unwrap(), Outcome::Stops { .. });
    assert!(stops(""));
    assert!(stops(&MENU.replace("timeout=5", "timeout=-1")));
    assert!(stops(&MENU.replace("set timeout=5", "")));
    assert!(stops(&MENU.replace("linux", "echo")));
    assert!(stops(&format!(
        "set superusers=root\npassword root x\n{MENU}"
    )));
    assert!(stops("set timeout=1\nmenuentry x {\nhalt\n}\n"));
    let open = MENU.replace("--class debian", "--unrestricted");
    assert!(!stops(&format!(
        "set superusers=root\npassword root x\n{open}"
    )));
    let submenu = with_default("1");
    assert!(matches!(
        outcome_of(&submenu, &[]).unwrap(),
        Outcome::Submenu { .. }
    ));
    assert_eq!(
        kernel(&submenu.replace("timeout=5", "timeout=0")),
        "/boot/vmlinuz-5.10"
    );
}

#[test]
fn entries_in_files_of_their_own() {
    let file = |version: &str| {
        format!(
            "title T\nversion {version}\nlinux /vmlinuz-{version}\ninitrd /i-{version} $more\noptions root=1 $kernelopts\n"
        )
    };
    let (old, new) = (file("5.9.0"), file("5.14.0"));
    let files = [
        ("/loader/entries/abc-5.9.0.conf", old.as_str()),
        ("/loader/entries/abc-5.14.0.conf", new.as_str()),
    ];
    let menu =
        "set timeout=1\nset kernelopts=\"ro quiet\"\nset default=\"${saved_entry}\"\nblscfg\n";
    let loaded = started(menu, &files);
    assert_eq!(loaded.kernel.path, "/vmlinuz-5.14.0");
    assert_eq!(loaded.cmdline, "root=1 ro quiet");
    assert_eq!(loaded.initrds.len(), 1);
    let menu = format!("set saved_entry=abc-5.9.0\n{menu}");
    assert_eq!(started(&menu, &files).kernel.path, "/vmlinuz-5.9.0");
    assert!(BlsEntry::parse("/a+0-3.conf", "").is_bad());
    assert!(!BlsEntry::parse("/a+2.conf", "").is_bad());
}

#[test]
fn conditions_loops_and_functions() {
    let run = |script: &str| {
        let disk = Disk::default();
        let mut machine = Machine::new(&disk, "efi");
        machine.run_text(script, "x").unwrap();
        machine.get("r").to_owned()
    };
    assert_eq!(run("if [ a = b -o -z \"\" ]; then r=1; else r=2; fi"), "1");
    assert_eq!(run("if [ ! -n \"$x\" -a 3 -gt 2 ]; then r=1; fi"), "1");
    assert_eq!(run("if false; then r=1\nelif true\nthen r=2\nfi"), "2");
    assert_eq!(run("for i in a b c; do set r=\"$r$i\"; done"), "abc");
    assert_eq!(
        run("function f {\n r=\"$1-$#\"\n return 0\n r=no\n}\nf x y"),
        "x-2"
    );
    assert_eq!(run("while [ \"$r\" != aaa ]; do r=\"a$r\"; done"), "aaa");
    assert_eq!(run("r='$x'\\ y # z"), "$x y");
    assert_eq!(run("# x\nset r=\"a\nb\""), "a\nb");
}

/// A script that does not end, or grows without end, is given up.
#[test]
fn scripts_are_bounded() {
    for script in [
        "while true; do true; done",
        "function f {\n f\n}\nf",
        "while true; do set a=\"$a$a$a xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"; done",
        "configfile $prefix/grub.cfg",
        "normal",
    ] {
        let outcome = outcome_of(script, &[]);
        assert!(
            matches!(outcome, Err(Unread::Script(_))),
            "{script}: {outcome:?}"
        );
    }
    let deep = "if true; then ".repeat(1000);
    assert!(parse::parse(&deep).is_err());
}

proptest! {
    #[test]
    fn any_text_is_run(text: String, environment: String, a: String, b: String) {
        let files = [("/boot/grub/grubenv", environment.as_str()), ("/loader/entries/a.conf", a.as_str())];
        let _ = outcome_of(&text, &files);
        prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
    }

    #[test]
    fn menus_of_hostile_words(words in proptest::collection::vec("(menuentry|submenu|set|default|linux|initrd|if|then|else|fi|for|do|done|while|function|\\[|\\]|\\{|\\}|'|\"|=|>|[0-9]|\\$|;|\\n| )", 0..if cfg!(miri) { 8 } else { 80 })) {
        let _ = outcome_of(&words.concat(), &[]);
    }
}
