use chainflume_outbox::Position;

/// Reads `<epoch>.<seq>`; `None` for anything else.
pub fn parse_position(text: &str) -> Option<Position> {
    let (epoch, seq) = text.split_once('.')?;
    let fits =
        !epoch.is_empty() && epoch.len() <= 32 && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
    // As the database counts; a sign is no digit.
    let seq = seq.parse::<i64>().ok().filter(|_| seq.bytes().all(|byte| byte.is_ascii_digit()))?;
    let seq = u64::try_from(seq).ok()?;
    fits.then(|| Position { seq, epoch: Some(epoch.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_and_nothing_else_is_one() {
        for text in ["0.0", "1b2c3d4e5f60.9223372036854775807"] {
            assert_eq!(parse_position(text).map(|position| position.to_string()).as_deref(), Some(text));
        }
        for text in
            ["", ".", "e.", ".1", "e.-1", "e.+1", "e.1.2", "e 1", "e.9223372036854775808", "\u{e4}.1", "e.1 "]
        {
            assert_eq!(parse_position(text), None, "{text:?}");
        }
        assert_eq!(parse_position(&format!("{}.1", "a".repeat(33))), None);
    }
}
