//! Text of others on its way to a log or a terminal.

/// Whether a character moves the cursor of a terminal, hides text or turns it around. Text of others is shown without such
/// characters: control characters, and those of the Unicode category Cf that reorder or vanish.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Text of others as one line of at most `most` characters, without characters that are unprintable.
pub fn one_line(text: &str, most: usize) -> String {
    let words = text.split(|c: char| c.is_whitespace() || is_unprintable(c)).filter(|word| !word.is_empty());
    let (mut line, mut length) = (String::new(), 0);
    for word in words {
        let space = usize::from(!line.is_empty());
        if length + space + 1 > most {
            break;
        }
        line.extend((space > 0).then_some(' '));
        let before = line.len();
        line.extend(word.chars().take(most - length - space));
        length += space + line[before..].chars().count();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_one_line_of_bounded_length() {
        assert_eq!(one_line("  no\u{1b}[2J such\r\n\u{202e}key\0 ", 200), "no [2J such key");
        assert_eq!(one_line("one two", 7), "one two");
        assert_eq!(one_line("one two", 6), "one tw");
        assert_eq!(one_line("one two", 4), "one");
        assert_eq!(one_line("é".repeat(9).as_str(), 3), "ééé");
        assert_eq!(one_line(&"word ".repeat(1_000_000), 200).chars().count(), 199);
        assert_eq!(one_line("one", 0), "");
    }
}
