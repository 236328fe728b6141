//! Tables that people like to read.

use std::fmt;
use std::ops::Range;

use anstyle::{AnsiColor, Style as Colour};
use comfy_table::{CellAlignment, presets};

use check::printable::printable;

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

/// Rows below a heading. Written out, it is coloured; printing takes the colours away where nobody
/// sees them.
#[derive(Debug)]
pub(super) struct Table {
    inner: comfy_table::Table,
    styles: Vec<Style>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING).set_header(heading);
        Self {
            inner,
            styles: Vec::new(),
        }
    }

    /// Aligns these columns to the right, as numbers are.
    pub(super) fn right_aligned(mut self, columns: Range<usize>) -> Self {
        for column in columns {
            if let Some(column) = self.inner.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    pub(super) fn add<const N: usize>(&mut self, style: Style, cells: [String; N]) {
        self.inner.add_row(cells.map(|cell| printable(&cell)));
        self.styles.push(style);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.styles.is_empty() {
            return Ok(());
        }
        let heading = Colour::new().bold();
        let colours = self.styles.iter().map(|style| match style {
            Style::Plain => Colour::new(),
            Style::Warning => AnsiColor::Yellow.on_default(),
            Style::Faint => Colour::new().dimmed(),
        });
        // Cells hold no line breaks, so each row is one line.
        let text = self.inner.to_string();
        for (line, colour) in text.lines().zip(std::iter::once(heading).chain(colours)) {
            let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
            writeln!(f, "{colour}{line}{colour:#}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_rows_stay_lines() {
        let mut table = Table::new(&["NAME", "SIZE"]).right_aligned(1..2);
        assert_eq!(table.to_string(), "");
        table.add(Style::Plain, ["a\n\u{1b}[31m".into(), "1 MiB".into()]);
        table.add(Style::Warning, ["disk.raw".into(), "20 MiB".into()]);
        let text = anstream::adapter::strip_str(&table.to_string()).to_string();
        let want = "NAME        SIZE\na??[31m    1 MiB\ndisk.raw  20 MiB\n";
        assert_eq!(text, want);
    }
}
