//! The grammar of GRUB's scripts: words, commands, blocks and conditions.
//!
//! Source: the GRUB manual, "Writing full configuration files directly" (shell-like scripting).

use std::rc::Rc;

use thiserror::Error;

/// Deepest nesting of blocks and conditions.
const MAX_DEPTH: usize = 64;
/// Most tokens of a script.
const MAX_TOKENS: usize = 1 << 20;

/// Why a script cannot be read.
#[derive(Debug, Error, Eq, PartialEq)]
pub(crate) enum ScriptError {
    /// The grammar is violated.
    #[error("line {line}: {what}")]
    Syntax {
        /// Line, from 1.
        line: u32,
        /// What is wrong.
        what: &'static str,
    },
}

/// A part of a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// Literal text.
    Text(String),
    /// The value of a variable; outside of quotes it is split at blanks.
    Variable {
        /// Name of the variable.
        name: String,
        /// Whether it stands in double quotes.
        quoted: bool,
    },
}

/// A word of a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Word {
    /// The parts, joined without blanks.
    pub(crate) pieces: Vec<Piece>,
    /// Whether a part of it is quoted, so that it is a word even where it is empty.
    pub(crate) quoted: bool,
}

impl Word {
    fn is_bare(&self, text: &str) -> bool {
        !self.quoted && matches!(&self.pieces[..], [Piece::Text(found)] if found == text)
    }
}

/// Statements with their own scope.
pub(crate) type Block = Rc<Vec<Statement>>;

/// One statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Statement {
    /// A command with arguments, and a block where it takes one.
    Command {
        /// Line of its first word, from 1.
        line: u32,
        /// Name and arguments.
        words: Vec<Word>,
        /// The block behind them.
        block: Option<Block>,
    },
    /// Conditions with their statements, and those of `else`.
    If {
        /// Pairs of condition and statements.
        arms: Vec<(Block, Block)>,
        /// Statements where no condition holds.
        otherwise: Block,
    },
    /// A loop.
    While {
        /// The condition.
        condition: Block,
        /// The statements.
        body: Block,
        /// Whether it runs until the condition holds.
        until: bool,
    },
    /// A loop over words.
    For {
        /// Name of the variable.
        variable: String,
        /// The words.
        words: Vec<Word>,
        /// The statements.
        body: Block,
    },
    /// The definition of a function.
    Function {
        /// Its name.
        name: String,
        /// The statements.
        body: Block,
    },
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Word(Word),
    /// A line break or a semicolon.
    End,
    Open,
    Close,
}

/// Reads a script.
pub(crate) fn parse(text: &str) -> Result<Vec<Statement>, ScriptError> {
    let tokens = Lexer::new(text).tokens()?;
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
    };
    let statements = parser.statements(&[])?;
    match parser.at < parser.tokens.len() {
        true => Err(parser.error("an unexpected word")),
        false => Ok(statements),
    }
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
    tokens: Vec<(u32, Token)>,
    word: Option<Word>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            line: 1,
            tokens: Vec::new(),
            word: None,
        }
    }

    fn tokens(mut self) -> Result<Vec<(u32, Token)>, ScriptError> {
        while let Some(c) = self.rest.next() {
            if self.tokens.len() > MAX_TOKENS {
                return Err(self.error("the script is too long"));
            }
            match c {
                '\n' => {
                    self.end_with(Token::End);
                    self.line += 1;
                }
                ';' => self.end_with(Token::End),
                ' ' | '\t' | '\r' => self.end_word(),
                '#' if self.word.is_none() => self.skip_comment(),
                // Braces are words of their own only where they stand alone.
                '{' | '}' if self.word.is_none() && self.at_break() => {
                    self.end_with(if c == '{' { Token::Open } else { Token::Close });
                }
                '\\' => self.escape(),
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '$' => self.variable(false)?,
                _ => self.push(c),
            }
        }
        self.end_word();
        Ok(self.tokens)
    }

    fn error(&self, what: &'static str) -> ScriptError {
        ScriptError::Syntax {
            line: self.line,
            what,
        }
    }

    fn at_break(&mut self) -> bool {
        self.rest
            .peek()
            .is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | ';'))
    }

    fn skip_comment(&mut self) {
        while self.rest.peek().is_some_and(|&c| c != '\n') {
            self.rest.next();
        }
    }

    fn escape(&mut self) {
        match self.rest.next() {
            Some('\n') => self.line += 1,
            Some(c) => self.push(c),
            None => {}
        }
    }

    fn word(&mut self) -> &mut Word {
        self.word.get_or_insert_default()
    }

    fn push(&mut self, c: char) {
        match self.word().pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(c),
            _ => self.word().pieces.push(Piece::Text(c.into())),
        }
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.tokens.push((self.line, Token::Word(word)));
        }
    }

    fn end_with(&mut self, token: Token) {
        self.end_word();
        self.tokens.push((self.line, token));
    }

    fn single_quoted(&mut self) -> Result<(), ScriptError> {
        self.word().quoted = true;
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(c) => {
                    self.line += u32::from(c == '\n');
                    self.push(c);
                }
                None => return Err(self.error("a quote is not closed")),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<(), ScriptError> {
        self.word().quoted = true;
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('\\') => match self.rest.next() {
                    Some(c @ ('"' | '\\' | '$')) => self.push(c),
                    Some('\n') => self.line += 1,
                    Some(c) => {
                        self.push('\\');
                        self.push(c);
                    }
                    None => return Err(self.error("a quote is not closed")),
                },
                Some('$') => self.variable(true)?,
                Some(c) => {
                    self.line += u32::from(c == '\n');
                    self.push(c);
                }
                None => return Err(self.error("a quote is not closed")),
            }
        }
    }

    fn variable(&mut self, quoted: bool) -> Result<(), ScriptError> {
        let braced = self.rest.next_if_eq(&'{').is_some();
        let mut name = String::new();
        if let Some(c) = self.rest.next_if(|c| matches!(c, '?' | '@' | '*' | '#')) {
            name.push(c);
        }
        let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        while name.is_empty() || name.chars().all(|c| is_name(&c)) {
            match self.rest.next_if(is_name) {
                Some(c) => name.push(c),
                None => break,
            }
        }
        if braced && self.rest.next_if_eq(&'}').is_none() {
            return Err(self.error("the name of a variable is not closed"));
        }
        if name.is_empty() {
            self.push('$');
            return Ok(());
        }
        self.word().pieces.push(Piece::Variable { name, quoted });
        Ok(())
    }
}

struct Parser {
    tokens: Vec<(u32, Token)>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn error(&self, what: &'static str) -> ScriptError {
        let place = self.tokens.get(self.at).or(self.tokens.last());
        ScriptError::Syntax {
            line: place.map_or(1, |(line, _)| *line),
            what,
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next_is(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found.is_bare(word))
    }

    fn skip_ends(&mut self) {
        while self.peek() == Some(&Token::End) {
            self.at += 1;
        }
    }

    fn expect(&mut self, word: &'static str) -> Result<(), ScriptError> {
        self.skip_ends();
        if !self.next_is(word) {
            return Err(self.error("a keyword of a condition or a loop is missing"));
        }
        self.at += 1;
        Ok(())
    }

    /// Statements up to one of the keywords, a closing brace or the end.
    fn statements(&mut self, until: &[&str]) -> Result<Vec<Statement>, ScriptError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("blocks are nested too deeply"));
        }
        let mut statements = Vec::new();
        loop {
            self.skip_ends();
            let done = match self.peek() {
                None | Some(Token::Close) => true,
                Some(_) => until.iter().any(|word| self.next_is(word)),
            };
            if done {
                break;
            }
            statements.push(self.statement()?);
        }
        self.depth -= 1;
        Ok(statements)
    }

    fn block(&mut self) -> Result<Block, ScriptError> {
        if self.peek() != Some(&Token::Open) {
            return Err(self.error("a block is missing"));
        }
        self.at += 1;
        let statements = self.statements(&[])?;
        if self.peek() != Some(&Token::Close) {
            return Err(self.error("a block is not closed"));
        }
        self.at += 1;
        Ok(Rc::new(statements))
    }

    fn statement(&mut self) -> Result<Statement, ScriptError> {
        match () {
            () if self.next_is("if") => self.condition(),
            () if self.next_is("while") => self.repetition(false),
            () if self.next_is("until") => self.repetition(true),
            () if self.next_is("for") => self.for_loop(),
            () if self.next_is("function") => self.function(),
            () => self.command(),
        }
    }

    fn condition(&mut self) -> Result<Statement, ScriptError> {
        let mut arms = Vec::new();
        let mut otherwise = Block::default();
        self.at += 1;
        loop {
            let condition = Rc::new(self.statements(&["then"])?);
            self.expect("then")?;
            let body = Rc::new(self.statements(&["elif", "else", "fi"])?);
            arms.push((condition, body));
            if !self.next_is("elif") {
                break;
            }
            self.at += 1;
        }
        if self.next_is("else") {
            self.at += 1;
            otherwise = Rc::new(self.statements(&["fi"])?);
        }
        self.expect("fi")?;
        Ok(Statement::If { arms, otherwise })
    }

    fn repetition(&mut self, until: bool) -> Result<Statement, ScriptError> {
        self.at += 1;
        let condition = Rc::new(self.statements(&["do"])?);
        self.expect("do")?;
        let body = Rc::new(self.statements(&["done"])?);
        self.expect("done")?;
        Ok(Statement::While {
            condition,
            body,
            until,
        })
    }

    fn for_loop(&mut self) -> Result<Statement, ScriptError> {
        self.at += 1;
        let mut words = self.words().into_iter();
        let variable = match words.next().as_ref().map(|word| &word.pieces[..]) {
            Some([Piece::Text(name)]) => name.clone(),
            _ => return Err(self.error("a loop has no variable")),
        };
        if !words.next().is_some_and(|word| word.is_bare("in")) {
            return Err(self.error("a loop has no words"));
        }
        let words = words.collect();
        self.expect("do")?;
        let body = Rc::new(self.statements(&["done"])?);
        self.expect("done")?;
        Ok(Statement::For {
            variable,
            words,
            body,
        })
    }

    fn function(&mut self) -> Result<Statement, ScriptError> {
        self.at += 1;
        let name = match self.words().first().map(|word| &word.pieces[..]) {
            Some([Piece::Text(name)]) => name.clone(),
            _ => return Err(self.error("a function has no name")),
        };
        self.skip_ends();
        let body = self.block()?;
        Ok(Statement::Function { name, body })
    }

    fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.peek() {
            words.push(word.clone());
            self.at += 1;
        }
        words
    }

    fn command(&mut self) -> Result<Statement, ScriptError> {
        let line = self.tokens.get(self.at).map_or(1, |(line, _)| *line);
        let words = self.words();
        if words.is_empty() {
            return Err(self.error("a block stands without a command"));
        }
        let block = match self.peek() {
            Some(Token::Open) => Some(self.block()?),
            _ => None,
        };
        Ok(Statement::Command { line, words, block })
    }
}
