//! GRUB's commands that matter for what is started.

use super::exec::{Flow, Loaded, Machine};
use super::world::{Place, SearchBy};
use crate::unread::Unread;

/// Commands that change nothing of what is started; they succeed.
const WITHOUT_EFFECT: &[&str] = &[
    "acpi",
    "background_color",
    "background_image",
    "boot",
    "cat",
    "clear",
    "date",
    "decrement",
    "devicetree",
    "drivemap",
    "echo",
    "efitextmode",
    "export",
    "gfxmode",
    "hdparm",
    "increment",
    "insmod",
    "keymap",
    "loadfont",
    "ls",
    "lsmod",
    "module",
    "nativedisk",
    "parttool",
    "password",
    "password_pbkdf2",
    "play",
    "rmmod",
    "save_env",
    "serial",
    "shim_lock",
    "sleep",
    "terminal",
    "terminal_input",
    "terminal_output",
    "tpm",
    "trust",
    "vbeinfo",
    "videoinfo",
];

impl Machine<'_> {
    /// The place that a path of a script means: `(device)/path`, or a path on `$root`.
    pub(crate) fn place(&self, path: &str) -> Place {
        let (device, path) = match path.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((device, path)) => (device, path),
            None => (self.get("root"), path),
        };
        let device = self
            .world
            .device(device)
            .unwrap_or_else(|| device.to_owned());
        let mut normal = String::new();
        for part in path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            normal.push('/');
            normal.push_str(part);
        }
        if normal.is_empty() {
            normal.push('/');
        }
        let relative = self.get("btrfs_relative_path");
        Place {
            device,
            path: normal,
            is_relative: relative.starts_with(['1', 'y']),
        }
    }

    pub(super) fn built_in(&mut self, name: &str, words: &[String]) -> Result<Flow, Unread> {
        if WITHOUT_EFFECT.contains(&name) {
            return Ok(Flow::Next(true));
        }
        let result = match name {
            "set" => self.set_command(words),
            "unset" => {
                for word in words {
                    self.variables.remove(word);
                }
                true
            }
            "true" | ":" => true,
            "false" => false,
            "return" => return Ok(Flow::Return(words.first().is_none_or(|word| word == "0"))),
            "load_env" => self.load_env(words)?,
            "search" => self.search(words)?,
            "search.fs_uuid" => self.search_by(SearchBy::Uuid, words)?,
            "search.fs_label" => self.search_by(SearchBy::Label, words)?,
            "search.file" => self.search_by(SearchBy::File, words)?,
            "linux" | "linux16" | "linuxefi" | "kernel" => self.load_kernel(words, false)?,
            "chainloader" => self.load_kernel(words, true)?,
            "initrd" | "initrd16" | "initrdefi" => self.load_initrds(words)?,
            "source" | "." | "configfile" | "normal" => {
                return self.configuration(name, words);
            }
            "blscfg" => {
                self.uses_bls = true;
                super::bls::add_entries(self)?
            }
            "halt" | "poweroff" => return Ok(Flow::Stop("halts the machine")),
            "reboot" => return Ok(Flow::Stop("starts the machine again")),
            "exit" => return Ok(Flow::Stop("leaves the boot loader")),
            "read" => return Ok(Flow::Stop("waits for an entry on the keyboard")),
            "keystatus" | "fwsetup" | "cmostest" | "authenticate" => false,
            _ => {
                self.trouble(format!("the command `{name}` is not known here"));
                false
            }
        };
        Ok(Flow::Next(result))
    }

    fn set_command(&mut self, words: &[String]) -> bool {
        for word in words {
            if let Some((name, value)) = word.split_once('=') {
                if name == "root" {
                    let value = value.trim_matches(['(', ')']);
                    let device = self.world.device(value).unwrap_or_else(|| value.to_owned());
                    self.set(name, &device);
                    continue;
                }
                self.set(name, value);
            }
        }
        true
    }

    /// Reads the variables of an environment block.
    fn load_env(&mut self, words: &[String]) -> Result<bool, Unread> {
        let mut path = format!("{}/grubenv", self.get("prefix"));
        let mut only = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-f" | "--file" => path = words.next().cloned().unwrap_or_default(),
                _ if word.starts_with("--file=") => path = word[7..].to_owned(),
                _ if word.starts_with('-') => {}
                _ => only.push(word.as_str()),
            }
        }
        let place = self.place(&path);
        let Some(text) = self.world.text(&place)? else {
            return Ok(false);
        };
        if !text.starts_with("# GRUB Environment Block\n") {
            self.trouble(format!("`{}` is no environment block", place.path));
            return Ok(false);
        }
        for (name, value) in text.lines().skip(1).filter_map(|line| line.split_once('=')) {
            if !name.starts_with('#') && (only.is_empty() || only.contains(&name)) {
                self.set(name, value);
            }
        }
        Ok(true)
    }

    fn search(&mut self, words: &[String]) -> Result<bool, Unread> {
        let (mut by, mut variable) = (SearchBy::File, None);
        let mut values = Vec::new();
        let mut all = words.iter();
        while let Some(word) = all.next() {
            match word.as_str() {
                "--hint" | "-h" | "--hint-bios" | "--hint-efi" | "--hint-baremetal" => {
                    all.next();
                }
                "--fs-uuid" | "-u" => by = SearchBy::Uuid,
                "--label" | "--fs-label" | "-l" => by = SearchBy::Label,
                "--file" | "-f" => by = SearchBy::File,
                "--set" | "-s" => variable = Some("root".to_owned()),
                _ if word.starts_with("--set=") => variable = Some(word[6..].to_owned()),
                _ if word.starts_with('-') => {}
                _ => values.push(word.as_str()),
            }
        }
        // `--set NAME` and `--set` alone cannot be told apart but by what follows.
        let wanted = match (&mut variable, &values[..]) {
            (Some(name), [first, second]) => {
                *name = (*first).to_owned();
                *second
            }
            (_, values) => values.first().copied().unwrap_or_default(),
        };
        self.found(by, wanted, &variable.unwrap_or_default())
    }

    /// The commands `search.fs_uuid` and its like: what is searched, and the variable.
    fn search_by(&mut self, by: SearchBy, words: &[String]) -> Result<bool, Unread> {
        let wanted = words.first().cloned().unwrap_or_default();
        let variable = words.get(1).map_or("root", String::as_str).to_owned();
        self.found(by, &wanted, &variable)
    }

    fn found(&mut self, by: SearchBy, wanted: &str, variable: &str) -> Result<bool, Unread> {
        match self.world.search(by, wanted)? {
            Some(device) => {
                if !variable.is_empty() {
                    self.set(variable, &device);
                }
                Ok(true)
            }
            None => {
                if by != SearchBy::File {
                    self.trouble(format!(
                        "no file system of the image has the identifier `{wanted}`"
                    ));
                }
                Ok(false)
            }
        }
    }

    fn load_kernel(&mut self, words: &[String], is_chain: bool) -> Result<bool, Unread> {
        let words: Vec<_> = words
            .iter()
            .skip_while(|word| word.starts_with("--"))
            .collect();
        let Some((path, arguments)) = words.split_first() else {
            return Ok(false);
        };
        let kernel = self.place(path);
        let cmdline = arguments
            .iter()
            .map(|word| word.as_str())
            .collect::<Vec<_>>();
        self.loaded = Some(Loaded {
            kernel,
            cmdline: cmdline.join(" "),
            initrds: Vec::new(),
            is_chain,
            file: self.file.to_string(),
            line: self.line,
        });
        Ok(true)
    }

    fn load_initrds(&mut self, words: &[String]) -> Result<bool, Unread> {
        let places: Vec<_> = words
            .iter()
            .filter(|word| !word.starts_with("newc:"))
            .map(|word| self.place(word))
            .collect();
        match &mut self.loaded {
            Some(loaded) => loaded.initrds = places,
            None => self.trouble("an initrd is loaded before a kernel"),
        }
        Ok(true)
    }

    fn configuration(&mut self, name: &str, words: &[String]) -> Result<Flow, Unread> {
        let path = match words.first() {
            Some(path) => path.clone(),
            None if name == "normal" => format!("{}/grub.cfg", self.get("prefix")),
            None => return Ok(Flow::Next(false)),
        };
        if path == "(memdisk)/grub.cfg"
            && let Some(text) = self.memdisk_script.take()
        {
            return self.run_text(&text, "the grub.cfg in GRUB's disk in memory");
        }
        let place = self.place(&path);
        let is_new = matches!(name, "configfile" | "normal");
        if is_new {
            if self.world.stat(&place)?.is_none() {
                self.trouble(format!("there is no `{}`", self.world.shown(&place)));
                return Ok(Flow::Next(false));
            }
            self.entries.clear();
            let folder = place.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let folder = format!("({}){folder}", place.device);
            self.set("config_directory", &folder);
            self.set("config_file", &format!("({}){}", place.device, place.path));
        }
        let flow = self.run_file(&place)?;
        self.wants_menu |= is_new;
        match flow {
            // A configuration of its own ends in its menu, from where nothing comes back.
            Flow::Next(_) if is_new && !self.entries.is_empty() => Ok(Flow::Return(true)),
            flow => Ok(flow),
        }
    }
}
