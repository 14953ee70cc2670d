use super::Board;

impl Board {
    /// Sets the name of the database that this process uses, which differs from the names of others.
    pub fn set_database_identity(&self, identity: String) {
        self.lock().database_identity = Some(identity);
    }

    /// The name of the database that this process uses; `None` if unknown.
    pub fn database_identity(&self) -> Option<String> {
        self.lock().database_identity.clone()
    }

    /// Sets the number of seconds by which the clock of the database is ahead of this machine's.
    pub fn set_clock_ahead(&self, seconds: f64) {
        self.lock().clock_ahead = Some(seconds);
    }

    /// The last value of [`Self::set_clock_ahead`].
    pub fn clock_ahead(&self) -> Option<f64> {
        self.lock().clock_ahead
    }
}
