//! The grammar of GRUB's scripts: words, commands, blocks and conditions.
//!
//! Source: the GRUB manual, "Writing full configuration files directly" (shell-like scripting).

use std::rc::Rc;

use thiserror::Error;

use super::lex::{Lexer, Token};

/// Deepest nesting of blocks and conditions.
const MAX_DEPTH: usize = 64;
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
