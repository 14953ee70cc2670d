use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::Fault;

/// Bytes in a KiB.
pub const KIB: u64 = 1 << 10;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

/// Reads `250ms`, `12s`, `1m 30s`.
///
/// # Errors
/// That the text is something else, or out of bounds.
pub fn parse_duration(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, Fault> {
    let value = humantime::parse_duration(text).map_err(|_| {
        Fault::new("is not a length of time", "write a number and a unit, like \"250ms\" or \"12s\"")
    })?;
    within(value, bounds, |value| humantime::format_duration(*value).to_string())
}

/// Reads `64MiB`, `500kB`, `1048576`. Both families of units mean what their standards define.
///
/// # Errors
/// That the text is something else, or out of bounds.
pub fn parse_size(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, Fault> {
    let fault = || Fault::new("is not a size", "write a number and a unit, like \"64MiB\" or \"500KiB\"");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => KIB,
        "mib" => MIB,
        "gib" => GIB,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(fault()),
    };
    let value = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(fault)?;
    within(value, bounds, |value| show_size(*value))
}

/// Returns `value` if it is within the bounds.
///
/// # Errors
/// A fault that names both bounds.
pub fn within<T: PartialOrd>(
    value: T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, Fault> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (show(bounds.start()), show(bounds.end()));
    let what = if value < *bounds.start() { "is too small" } else { "is too large" };
    Err(Fault::new(what, format!("give a value from {low} to {high}")))
}

fn show_size(bytes: u64) -> String {
    for (factor, unit) in [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_or_refused() {
        let any = 0..=u64::MAX;
        assert_eq!(parse_size("64MiB", &any), Ok(64 * MIB));
        assert_eq!(parse_size("1 kB", &any), Ok(1000));
        assert_eq!(parse_size("17", &any), Ok(17));
        for wrong in ["", "MiB", "64 M", "1.5GiB", "-1", "18446744073709551616", "18446744073709551615KiB"] {
            assert_eq!(
                parse_size(wrong, &any).map_err(|fault| fault.what),
                Err("is not a size".to_owned()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn bounds_are_named_in_the_units_they_are_written_in() {
        let fault = parse_size("1GiB", &(64 * KIB..=512 * MIB)).expect_err("above");
        assert_eq!(
            (fault.what.as_str(), fault.remedy.as_str()),
            ("is too large", "give a value from 64KiB to 512MiB")
        );
        let fault =
            parse_duration("0s", &(Duration::from_millis(100)..=Duration::from_mins(10))).expect_err("below");
        assert_eq!(
            (fault.what.as_str(), fault.remedy.as_str()),
            ("is too small", "give a value from 100ms to 10m")
        );
    }
}
