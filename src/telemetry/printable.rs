//! Text of others, made safe for a terminal.

use std::fmt::{Display, Write};

/// The text without characters that could start an escape sequence, begin a new line, or change
/// the direction of what follows; each is shown as its escape, like `\n` or `\u{1b}`.
///
/// For everything that tenants, endpoints or servers wrote: printed raw, it could forge rows of a
/// list, lines of a log, or commands to the terminal.
pub fn printable(text: impl Display) -> String {
    let text = text.to_string();
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_control(letter) {
            // Writing to a String cannot fail.
            let _ = write!(safe, "{}", letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// Control characters, separators of lines, and marks of direction (Unicode Bidi_Control).
fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_text_is_escaped_and_all_else_stays() {
        for (text, shown) in [
            ("plain Grüße 你好 👍 a\\b", "plain Grüße 你好 👍 a\\b"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\u{0}"),
            (
                "a\u{202e}b\u{2066}c\u{200f}",
                "a\\u{202e}b\\u{2066}c\\u{200f}",
            ),
            ("a\u{2028}b\u{85}c", "a\\u{2028}b\\u{85}c"),
            ("", ""),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }
}
