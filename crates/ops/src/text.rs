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
