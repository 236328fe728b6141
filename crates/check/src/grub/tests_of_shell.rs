//! The conditions of `[ ]` and `test`.

use super::exec::Machine;
use crate::unread::Unread;

/// Evaluates the words of a condition, as GRUB does: `-o` binds weaker than `-a`, and `!` inverts
/// the condition behind it.
pub(super) fn evaluate(machine: &Machine<'_>, words: &[String]) -> Result<bool, Unread> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for alternative in words.split(|word| *word == "-o") {
        let mut all = true;
        for part in alternative.split(|word| *word == "-a") {
            all &= primary(machine, part)?;
        }
        if all {
            return Ok(true);
        }
    }
    Ok(false)
}

fn primary(machine: &Machine<'_>, words: &[&str]) -> Result<bool, Unread> {
    Ok(match words {
        [] => false,
        ["!", rest @ ..] => !primary(machine, rest)?,
        ["(", rest @ .., ")"] => primary(machine, rest)?,
        [one] => !one.is_empty(),
        ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        ["-f" | "-e" | "-d" | "-s", path] => file(machine, words[0], path)?,
        [a, operator, b] => compare(a, operator, b),
        _ => false,
    })
}

fn file(machine: &Machine<'_>, operator: &str, path: &str) -> Result<bool, Unread> {
    let place = machine.place(path);
    let Some(found) = machine.world.stat(&place)? else {
        return Ok(false);
    };
    Ok(match operator {
        "-d" => found.is_folder,
        "-f" => !found.is_folder,
        "-s" => !found.is_folder && found.size > 0,
        _ => true,
    })
}

fn compare(a: &str, operator: &str, b: &str) -> bool {
    let numbers = || Some((a.parse::<i64>().ok()?, b.parse::<i64>().ok()?));
    let by_number =
        |compare: fn(&i64, &i64) -> bool| numbers().is_some_and(|(a, b)| compare(&a, &b));
    match operator {
        "=" | "==" => a == b,
        "!=" => a != b,
        "<" => a < b,
        ">" => a > b,
        "<=" => a <= b,
        ">=" => a >= b,
        "-eq" => by_number(i64::eq),
        "-ne" => by_number(i64::ne),
        "-lt" => by_number(i64::lt),
        "-le" => by_number(i64::le),
        "-gt" => by_number(i64::gt),
        "-ge" => by_number(i64::ge),
        _ => false,
    }
}
