//! The words of GRUB's scripts, with quotes and variables.

use super::parse::{Piece, ScriptError, Word};

/// Most tokens of a script.
const MAX_TOKENS: usize = 1 << 20;

/// A word, or what stands between words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    Word(Word),
    /// A line break or a semicolon.
    End,
    Open,
    Close,
}

/// Takes a script apart into tokens.
pub(super) struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
    tokens: Vec<(u32, Token)>,
    word: Option<Word>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            line: 1,
            tokens: Vec::new(),
            word: None,
        }
    }

    /// All tokens, with their lines.
    pub(super) fn tokens(mut self) -> Result<Vec<(u32, Token)>, ScriptError> {
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
