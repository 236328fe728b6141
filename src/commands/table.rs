//! Tables that people like to read, and that fit their terminal.

use std::env;
use std::fmt;
use std::io;
use std::ops::Range;

use anstyle::{AnsiColor, Style as Colour};
use check::printable::printable;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns between two cells.
const GAP: usize = 2;
/// No column of text becomes narrower to fit.
const NARROWEST: usize = 12;
/// Width of a terminal that does not report it.
const USUAL: usize = 80;

/// How a row looks on a terminal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// As it is.
    Plain,
    /// There is something to look at.
    Warning,
    /// Of little weight.
    Faint,
}

/// Rows below a heading. Written out, it is coloured; printing drops the colours except on
/// terminals.
#[derive(Debug)]
pub(super) struct Table {
    heading: Vec<String>,
    numbers: Range<usize>,
    rows: Vec<(Style, Vec<String>)>,
    width: usize,
    dispensable: Option<usize>,
}

impl Table {
    /// As wide as its cells are, unless [`Table::within`] limits it.
    pub(super) fn new(heading: &[&str]) -> Self {
        Self {
            heading: heading.iter().map(ToString::to_string).collect(),
            numbers: 0..0,
            rows: Vec::new(),
            width: usize::MAX,
            dispensable: None,
        }
    }

    /// Aligns these columns to the right, as numbers are. They are never broken.
    pub(super) fn right_aligned(mut self, columns: Range<usize>) -> Self {
        self.numbers = columns;
        self
    }

    /// Breaks text at words so that lines are no longer than `width` columns, as far as that goes.
    pub(super) fn within(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// Leaves out this column of numbers if lines would be too long with it.
    pub(super) fn dropping(mut self, column: usize) -> Self {
        self.dispensable = Some(column);
        self
    }

    pub(super) fn add<const N: usize>(&mut self, style: Style, cells: [String; N]) {
        let cells = cells.iter().map(|cell| printable(cell)).collect();
        self.rows.push((style, cells));
    }

    fn without(&self, column: usize) -> Self {
        let shorter = |cells: &Vec<String>| {
            let mut cells = cells.clone();
            cells.remove(column);
            cells
        };
        Self {
            heading: shorter(&self.heading),
            numbers: self.numbers.start..self.numbers.end - 1,
            rows: (self.rows.iter())
                .map(|(style, cells)| (*style, shorter(cells)))
                .collect(),
            width: self.width,
            dispensable: None,
        }
    }

    /// Width of a line with columns of these widths.
    fn total(widths: &[usize]) -> usize {
        widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
    }

    /// Widths of the columns: those of their widest cells, or less to fit.
    fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().map(move |(_, cells)| &cells[column]);
        let mut widths: Vec<_> = (self.heading.iter().enumerate())
            .map(|(column, heading)| {
                let cells = cells(column).map(|cell| cell.width());
                cells.fold(heading.width(), usize::max)
            })
            .collect();
        loop {
            let excess = Self::total(&widths).saturating_sub(self.width);
            let texts = (0..widths.len()).filter(|column| !self.numbers.contains(column));
            let widest = texts.max_by_key(|&column| widths[column]);
            match widest {
                Some(column) if excess > 0 && widths[column] > NARROWEST => widths[column] -= 1,
                _ => return widths,
            }
        }
    }

    fn write_row(
        &self,
        f: &mut fmt::Formatter<'_>,
        colour: Colour,
        cells: &[String],
        widths: &[usize],
    ) -> fmt::Result {
        let columns = cells.iter().zip(widths);
        let broken: Vec<_> = columns
            .map(|(cell, &width)| lines_of(cell, width))
            .collect();
        let height = broken.iter().map(Vec::len).max().unwrap_or(0);
        for index in 0..height {
            let mut line = String::new();
            for (column, lines) in broken.iter().enumerate() {
                let text = lines.get(index).map_or("", String::as_str);
                let spaces = " ".repeat(widths[column].saturating_sub(text.width()));
                let gap = if column > 0 { GAP } else { 0 };
                line.extend(std::iter::repeat_n(' ', gap));
                if self.numbers.contains(&column) {
                    line += &(spaces + text);
                } else {
                    line += &(text.to_owned() + &spaces);
                }
            }
            writeln!(f, "{colour}{}{colour:#}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let widths = self.widths();
        if let Some(column) = self.dispensable
            && Self::total(&widths) > self.width
        {
            return self.without(column).fmt(f);
        }
        self.write_row(f, Colour::new().bold(), &self.heading, &widths)?;
        for (style, cells) in &self.rows {
            let colour = match style {
                Style::Plain => Colour::new(),
                Style::Warning => AnsiColor::Yellow.on_default(),
                Style::Faint => Colour::new().dimmed(),
            };
            self.write_row(f, colour, cells, &widths)?;
        }
        Ok(())
    }
}

/// How many columns standard output has: those of the terminal or of `COLUMNS`; without limit for
/// programs that read it, and where it is asked for.
pub(super) fn output_width(is_wide: bool) -> usize {
    if is_wide {
        return usize::MAX;
    }
    let wanted = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        Ok(_) => wanted.unwrap_or(USUAL),
        Err(_) => wanted.unwrap_or(usize::MAX),
    }
}

/// Breaks text at spaces, and words that are too long anywhere.
fn lines_of(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for word in text.split(' ') {
        if used > 0 && used + 1 + word.width() <= width {
            line.push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for letter in word.chars() {
            let columns = letter.width().unwrap_or(0);
            if used + columns > width && used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(letter);
            used += columns;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table) -> String {
        anstream::adapter::strip_str(&table.to_string()).to_string()
    }

    #[test]
    fn columns_line_up_and_rows_stay_lines() {
        let mut table = Table::new(&["NAME", "SIZE"]).right_aligned(1..2);
        assert_eq!(table.to_string(), "");
        table.add(Style::Plain, ["a\n\u{1b}[31m".into(), "1 MiB".into()]);
        table.add(Style::Warning, ["disk.raw".into(), "20 MiB".into()]);
        let want = "NAME        SIZE\na??[31m    1 MiB\ndisk.raw  20 MiB\n";
        assert_eq!(text(&table), want);
    }

    #[test]
    fn what_is_too_wide_is_broken_at_words() {
        let mut table = Table::new(&["NAME", "SIZE", "WHY"])
            .right_aligned(1..2)
            .within(40);
        let why = "its content is not what its extension says";
        table.add(
            Style::Plain,
            [
                "a_long_name_without_spaces.raw".into(),
                "20 MiB".into(),
                why.into(),
            ],
        );
        let text = text(&table);
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
        let want = [
            "NAME               SIZE  WHY",
            "a_long_name_wit  20 MiB  its content is",
            "hout_spaces.raw          not what its",
            "                         extension says",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), want);
        table.width = 10;
        assert!(table.to_string().contains("20 MiB"));
        let dropped = super::tests::text(&table.dropping(1));
        assert!(!dropped.contains("20 MiB"), "{dropped}");
    }
}
