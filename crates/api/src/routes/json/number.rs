/// The first number of a JSON text that a double changes. Integers are not looked at: they are read as such, or refused.
pub(super) fn first_changed(json: &[u8]) -> Option<&str> {
    let mut rest = json;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'"' => after_text(after),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let (number, after) = rest.split_at(rest.iter().take_while(|byte| is_part(byte)).count());
                match std::str::from_utf8(number) {
                    Ok(text) if is_changed(text) => return Some(text),
                    _ => after,
                }
            }
            _ => after,
        };
    }
    None
}

/// What follows a text whose first quotation mark was read.
fn after_text(mut json: &[u8]) -> &[u8] {
    loop {
        json = match json {
            [] => return json,
            [b'\\', _, after @ ..] => after,
            [b'"', after @ ..] => return after,
            [_, after @ ..] => after,
        };
    }
}

fn is_changed(number: &str) -> bool {
    let is_integer = number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    let kept = || number.parse::<f64>().ok().map(|double| format!("{double:e}"));
    !is_integer && kept().is_none_or(|kept| Decimal::read(number) != Decimal::read(&kept))
}

/// A number as it is written: `digits` times ten to the power of `exponent`, without zeros at either end.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    digits: String,
    /// `None` where it does not fit, which no double does either.
    exponent: Option<i64>,
}

impl Decimal {
    /// Zero has no sign here.
    fn read(number: &str) -> Self {
        let (mantissa, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{}{fraction}", whole.trim_start_matches('-'));
        let digits = all.trim_end_matches('0');
        let places =
            || i64::try_from(all.len() - digits.len()).ok()?.checked_sub(i64::try_from(fraction.len()).ok()?);
        let exponent = || power.parse::<i64>().ok()?.checked_add(places()?);
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Self { digits: String::new(), exponent: Some(0) };
        }
        Self { digits: digits.to_owned(), exponent: exponent() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_double_keeps_are_as_they_were_written() {
        for number in [
            "0.1",
            "1.0",
            "1.10",
            "-2.50",
            "1e2",
            "1E+2",
            "100e-2",
            "0.30000000000000004",
            "5e-324",
            "-0.0",
            "0e99999999999999999999",
            "1234567.891",
            "18446744073709551616",
        ] {
            assert_eq!(first_changed(number.as_bytes()), None, "{number}");
        }
        for number in [
            "0.12345678901234567890123",
            "123456789012345.6789",
            "4503599627370497.5",
            "1e-400",
            "-1e-400",
            "0.1000000000000000055511151231257827",
            "1e-99999999999999999999",
        ] {
            let json = format!(r#"{{"a\\\"1e-400": [1.5, {number}]}}"#);
            assert_eq!(first_changed(json.as_bytes()), Some(number));
        }
        assert_eq!(first_changed(br#"{"1e-400":"\\","b":["\"1e-400"]}"#), None);
    }

    #[test]
    fn what_a_double_prints_is_kept() {
        let bits = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for double in (0..20_000).map(|n| f64::from_bits(bits(n))).filter(|double| double.is_finite()) {
            let text = format!("{double:?}");
            assert_eq!(first_changed(text.as_bytes()), None, "{text}");
        }
    }
}
