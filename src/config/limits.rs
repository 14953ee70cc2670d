use std::time::Duration;

use super::section::Section;
use super::units::{KIB, MIB};
use chainflume_gateway::server::CallerLimits;

/// What each caller of the public server may use: keys of `[server]`.
pub(super) fn limits(section: &Section<'_>) -> CallerLimits {
    let count = |key, most: u64, default: u32| {
        let found = section.number(key, 1..=most).map(|found| found.value);
        found.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let places = |key, default| usize::try_from(count(key, 1_000_000, default)).unwrap_or(usize::MAX);
    let seconds = |key, least, default| {
        let bounds = Duration::from_millis(least)..=Duration::from_mins(5);
        section.duration(key, bounds).map_or(Duration::from_secs(default), |found| found.value)
    };
    CallerLimits {
        connections_per_address: places("max_connections_per_address", 5_000),
        connections_per_user: places("max_connections_per_user", 100),
        requests: count("requests_per_second", 1_000_000, 100),
        requests_per_address: count("requests_per_second_per_address", 1_000_000, 1_000),
        head_timeout: seconds("header_timeout", 100, 10),
        head_bytes: section.size("max_header_bytes", 8 * KIB..=MIB).unwrap_or(32 << 10),
        body_bytes: section.size("max_body_bytes", KIB..=16 * MIB).unwrap_or(1 << 20),
        drain: seconds("drain_timeout", 0, 5),
    }
}
