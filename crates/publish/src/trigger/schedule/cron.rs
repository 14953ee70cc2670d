use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The times of a cron expression in a zone.
///
/// On a day that an hour is missing, a fixed time (`30 2 * * *`) within that hour is the first minute after it, and one with a `*` or a step
/// in minutes or hours (`*/10 * * * *`) has no times in it. On a day that an hour comes twice, a fixed time is the first of the
/// two, and the others are in both. So does cron on a server.
#[derive(Clone)]
pub struct CronTimes {
    cron: Cron,
    zone: TimeZone,
    pattern: String,
}

/// Why there are no times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CronFault {
    /// The expression cannot be read.
    Pattern(String),
    /// No day is one of its days.
    Never,
    /// No zone has this name.
    Zone,
}

impl CronTimes {
    /// Reads an expression of five fields (minute, hour, day of the month, month, day of the week) and the name of a zone (IANA).
    ///
    /// # Errors
    /// [`CronFault`]
    pub fn read(expression: &str, zone: &str) -> Result<Self, CronFault> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| CronFault::Pattern(error.to_string()))?;
        let pattern = format!("{} {zone}", cron.as_str());
        let zone = TimeZone::get(zone).map_err(|_| CronFault::Zone)?;
        let times = Self { cron, zone, pattern };
        times.after(Timestamp::now()).ok_or(CronFault::Never)?;
        Ok(times)
    }

    /// The expression and its zone: two with the same text have the same times.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The first time after this moment; `None` after the last.
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let at: Zoned = at.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&at, false).ok().map(|next| next.timestamp())
    }
}

impl fmt::Debug for CronTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CronTimes").field(&self.pattern).finish()
    }
}

impl PartialEq for CronTimes {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for CronTimes {}
