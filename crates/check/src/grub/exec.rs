//! Runs GRUB's scripts as far as they decide what is started.
//!
//! Source: the GRUB manual, "The list of commands" and "Special environment variables".

use std::collections::BTreeMap;
use std::rc::Rc;

use super::parse::{self, Block, Piece, Statement, Word};
use super::tests_of_shell;
use super::world::{Place, World};
use crate::unread::Unread;

/// Most commands that are run before giving up.
const MAX_STEPS: u32 = 200_000;
/// Deepest nesting of functions and configuration files.
const MAX_DEPTH: u32 = 24;
/// Longest value of a variable, in bytes.
const MAX_VALUE: usize = 64 << 10;
/// Most entries of a menu.
const MAX_ENTRIES: usize = 4096;

/// An item of a menu.
#[derive(Clone, Debug)]
pub(crate) struct MenuEntry {
    /// Title.
    pub(crate) title: String,
    /// Identifier that `--id` gives.
    pub(crate) id: Option<String>,
    /// Arguments behind the title, which its statements see as `$1`, `$2` and so on.
    arguments: Vec<String>,
    /// Whether it opens a menu of its own.
    pub(crate) is_submenu: bool,
    /// Whether it asks for a password.
    pub(crate) is_locked: bool,
    /// Statements.
    pub(crate) body: Block,
    /// Where it was defined.
    pub(crate) file: Rc<str>,
    /// Line of the definition, from 1.
    pub(crate) line: u32,
}

/// What a boot loader loads.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Loaded {
    /// Device and path of the kernel, or of the program that is started next.
    pub(crate) kernel: Place,
    /// The kernel's command line.
    pub(crate) cmdline: String,
    /// Initial RAM disks.
    pub(crate) initrds: Vec<Place>,
    /// Whether it is another boot loader and no kernel.
    pub(crate) is_chain: bool,
    /// The file with the command.
    pub(crate) file: String,
    /// The line of the command, from 1.
    pub(crate) line: u32,
}

/// Something in a script that goes wrong or cannot be followed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Trouble {
    /// What.
    pub(crate) what: String,
    /// File and line.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: u32,
}

/// How running went on.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Flow {
    /// With the next statement.
    Next(bool),
    /// The function or file returned.
    Return(bool),
    /// The machine stops, such as by `halt`.
    Stop(&'static str),
}

/// The state of GRUB.
pub(crate) struct Machine<'w> {
    pub(super) world: &'w dyn World,
    pub(super) variables: BTreeMap<String, String>,
    functions: BTreeMap<String, Block>,
    pub(crate) entries: Vec<MenuEntry>,
    pub(crate) loaded: Option<Loaded>,
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) uses_bls: bool,
    /// Whether the entries of a menu were read from files of their own.
    pub(crate) wants_menu: bool,
    /// The configuration in the disk in memory.
    pub(crate) memdisk_script: Option<String>,
    pub(super) file: Rc<str>,
    pub(super) line: u32,
    arguments: Vec<String>,
    steps: u32,
    depth: u32,
}

impl<'w> Machine<'w> {
    /// A GRUB for `platform` (`pc` or `efi`) that sees the devices of `world`.
    pub(crate) fn new(world: &'w dyn World, platform: &str) -> Self {
        let mut variables = BTreeMap::new();
        let cpu = if platform == "pc" { "i386" } else { "x86_64" };
        for (name, value) in [("grub_platform", platform), ("grub_cpu", cpu), ("?", "0")] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        for feature in [
            "menuentry_id",
            "timeout_style",
            "default_font_path",
            "all_video_module",
            "menuentry_options",
            "chainloader_bpb",
            "platform_search_hint",
            "nativedisk_cmd",
            "200_final",
            "ntldr",
        ] {
            variables.insert(format!("feature_{feature}"), "y".to_owned());
        }
        Self {
            world,
            variables,
            functions: BTreeMap::new(),
            entries: Vec::new(),
            loaded: None,
            troubles: Vec::new(),
            uses_bls: false,
            wants_menu: false,
            memdisk_script: None,
            file: "".into(),
            line: 0,
            arguments: Vec::new(),
            steps: 0,
            depth: 0,
        }
    }

    /// The value of a variable, empty where it is not set.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let mut value = value.to_owned();
        if value.len() > MAX_VALUE {
            value = value.chars().take(MAX_VALUE / 4).collect();
        }
        self.variables.insert(name.to_owned(), value);
    }

    pub(super) fn trouble(&mut self, what: impl Into<String>) {
        if self.troubles.len() < 64 {
            self.troubles.push(Trouble {
                what: what.into(),
                file: self.file.to_string(),
                line: self.line,
            });
        }
    }

    /// Runs a file as `source` does; false where it is not there.
    pub(crate) fn run_file(&mut self, place: &Place) -> Result<Flow, Unread> {
        let Some(text) = self.world.text(place)? else {
            return Ok(Flow::Next(false));
        };
        let name = self.world.shown(place);
        self.run_text(&text, &name)
    }

    /// Runs a script that stands in `file`.
    pub(crate) fn run_text(&mut self, text: &str, file: &str) -> Result<Flow, Unread> {
        if self.depth >= MAX_DEPTH {
            return Err(Unread::Script("its files include each other".to_owned()));
        }
        let outer = (Rc::clone(&self.file), self.line);
        self.file = file.into();
        let statements = parse::parse(text)
            .map_err(|error| Unread::Script(format!("`{file}` cannot be understood: {error}")))?;
        self.depth += 1;
        let flow = self.run(&statements)?;
        self.depth -= 1;
        (self.file, self.line) = outer;
        Ok(match flow {
            Flow::Return(result) => Flow::Next(result),
            flow => flow,
        })
    }

    /// Runs the statements of a menu entry.
    pub(crate) fn run_entry(&mut self, entry: &MenuEntry) -> Result<Flow, Unread> {
        self.file = Rc::clone(&entry.file);
        self.arguments = [&[entry.title.clone()][..], &entry.arguments].concat();
        self.set("chosen", entry.id.as_deref().unwrap_or(&entry.title));
        self.run(&Rc::clone(&entry.body))
    }

    /// Runs statements; the result is that of the last one.
    pub(super) fn run(&mut self, statements: &[Statement]) -> Result<Flow, Unread> {
        let mut result = true;
        for statement in statements {
            match self.run_one(statement)? {
                Flow::Next(outcome) => result = outcome,
                flow => return Ok(flow),
            }
            self.set("?", if result { "0" } else { "1" });
        }
        Ok(Flow::Next(result))
    }

    fn run_one(&mut self, statement: &Statement) -> Result<Flow, Unread> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Unread::Script("it does not come to an end".to_owned()));
        }
        match statement {
            Statement::Command { line, words, block } => {
                self.line = *line;
                self.command(words, block.as_ref())
            }
            Statement::If { arms, otherwise } => self.condition(arms, otherwise),
            Statement::While {
                condition,
                body,
                until,
            } => self.repeat(condition, body, *until),
            Statement::For {
                variable,
                words,
                body,
            } => self.for_each(variable, words, body),
            Statement::Function { name, body } => {
                self.functions.insert(name.clone(), Rc::clone(body));
                Ok(Flow::Next(true))
            }
        }
    }

    fn condition(&mut self, arms: &[(Block, Block)], otherwise: &Block) -> Result<Flow, Unread> {
        for (condition, body) in arms {
            match self.run(condition)? {
                Flow::Next(true) => return self.run(body),
                Flow::Next(false) => {}
                flow => return Ok(flow),
            }
        }
        self.run(otherwise)
    }

    fn repeat(&mut self, condition: &Block, body: &Block, until: bool) -> Result<Flow, Unread> {
        loop {
            match self.run(condition)? {
                Flow::Next(holds) if holds == until => return Ok(Flow::Next(true)),
                Flow::Next(_) => {}
                flow => return Ok(flow),
            }
            match self.run(body)? {
                Flow::Next(_) => {}
                flow => return Ok(flow),
            }
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(Unread::Script("it does not come to an end".to_owned()));
            }
        }
    }

    fn for_each(&mut self, variable: &str, words: &[Word], body: &Block) -> Result<Flow, Unread> {
        for value in self.expand_all(words)? {
            self.set(variable, &value);
            match self.run(body)? {
                Flow::Next(_) => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next(true))
    }

    /// The values of words; a variable outside of quotes may give none or several.
    fn expand_all(&self, words: &[Word]) -> Result<Vec<String>, Unread> {
        let mut values = Vec::new();
        let mut size = 0;
        for word in words {
            let from = values.len();
            self.expand(word, &mut values);
            size += values[from..].iter().map(String::len).sum::<usize>();
            if size > MAX_VALUE {
                return Err(Unread::Script("a command is too long".to_owned()));
            }
        }
        Ok(values)
    }

    fn expand(&self, word: &Word, values: &mut Vec<String>) {
        let mut current = word.quoted.then(String::new);
        for piece in &word.pieces {
            match piece {
                Piece::Text(text) => current.get_or_insert_default().push_str(text),
                Piece::Variable { name, quoted } => {
                    let value = self.value_of(name);
                    if *quoted {
                        current.get_or_insert_default().push_str(&value);
                        continue;
                    }
                    let mut parts = value.split_whitespace();
                    if let Some(first) = parts.next() {
                        if value.starts_with([' ', '\t']) {
                            values.extend(current.take());
                        }
                        current.get_or_insert_default().push_str(first);
                    }
                    for part in parts {
                        values.extend(current.replace(part.to_owned()));
                    }
                }
            }
        }
        values.extend(current);
    }

    fn value_of(&self, name: &str) -> String {
        match name {
            "@" | "*" => self.arguments.get(1..).unwrap_or_default().join(" "),
            "#" => self.arguments.len().saturating_sub(1).to_string(),
            _ => match name.parse::<usize>() {
                Ok(index) => self.arguments.get(index).cloned().unwrap_or_default(),
                Err(_) => self.get(name).to_owned(),
            },
        }
    }

    fn command(&mut self, words: &[Word], block: Option<&Block>) -> Result<Flow, Unread> {
        let arguments = self.expand_all(words)?;
        let Some((name, rest)) = arguments.split_first() else {
            return Ok(Flow::Next(true));
        };
        if let Some(block) = block {
            return Ok(Flow::Next(self.define_entry(name, rest, block)));
        }
        if let ([], Some((variable, value))) = (rest, name.split_once('='))
            && is_name(variable)
        {
            self.set(variable, value);
            return Ok(Flow::Next(true));
        }
        if let Some(body) = self.functions.get(name).cloned() {
            return self.call(arguments.clone(), &body);
        }
        match name.as_str() {
            "!" => {
                let inverted = tests_of_shell::evaluate(self, rest)?;
                Ok(Flow::Next(!inverted))
            }
            "[" | "test" => {
                let inside = match rest.split_last() {
                    Some((last, inside)) if name == "[" && last == "]" => inside,
                    _ => rest,
                };
                Ok(Flow::Next(tests_of_shell::evaluate(self, inside)?))
            }
            _ => self.built_in(name, rest),
        }
    }

    fn call(&mut self, arguments: Vec<String>, body: &Block) -> Result<Flow, Unread> {
        if self.depth >= MAX_DEPTH {
            return Err(Unread::Script("its functions call each other".to_owned()));
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.arguments, arguments);
        let flow = self.run(body)?;
        self.arguments = outer;
        self.depth -= 1;
        Ok(match flow {
            Flow::Return(result) => Flow::Next(result),
            flow => flow,
        })
    }

    fn define_entry(&mut self, command: &str, words: &[String], body: &Block) -> bool {
        if !matches!(command, "menuentry" | "submenu") || self.entries.len() >= MAX_ENTRIES {
            return false;
        }
        let mut entry = MenuEntry {
            title: String::new(),
            id: None,
            arguments: Vec::new(),
            is_submenu: command == "submenu",
            is_locked: false,
            body: Rc::clone(body),
            file: Rc::clone(&self.file),
            line: self.line,
        };
        let mut restricted = !self.get("superusers").is_empty();
        let mut title = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--class" | "--hotkey" => drop(words.next()),
                "--users" => {
                    words.next();
                    restricted = true;
                }
                "--id" => entry.id = words.next().cloned(),
                "--unrestricted" => restricted = false,
                _ if word.starts_with("--id=") => entry.id = Some(word[5..].to_owned()),
                _ if word.starts_with("--") && title.is_none() => {}
                _ if title.is_none() => title = Some(word.clone()),
                _ => entry.arguments.push(word.clone()),
            }
        }
        entry.title = title.unwrap_or_default();
        entry.is_locked = restricted && !self.get("superusers").is_empty();
        self.entries.push(entry);
        true
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl MenuEntry {
    /// An entry that stands in a file of its own.
    pub(super) fn of_bls(title: &str, id: &str, body: Block, file: Rc<str>, line: u32) -> Self {
        Self {
            title: title.to_owned(),
            id: Some(id.to_owned()),
            arguments: Vec::new(),
            is_submenu: false,
            is_locked: false,
            body,
            file,
            line,
        }
    }
}
