use super::Board;

impl Board {
    /// The database that this process uses, by a name that tells it from others.
    pub fn set_database_identity(&self, identity: String) {
        self.lock().database_identity = Some(identity);
    }

    /// The database that this process uses; `None` where it is not known.
    pub fn database_identity(&self) -> Option<String> {
        self.lock().database_identity.clone()
    }

    /// By how many seconds the clock of the database is ahead of this machine's.
    pub fn set_clock_ahead(&self, seconds: f64) {
        self.lock().clock_ahead = Some(seconds);
    }

    /// What [`Self::set_clock_ahead`] was given last.
    pub fn clock_ahead(&self) -> Option<f64> {
        self.lock().clock_ahead
    }
}
