/// How the schema in the database compares to this program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// No table of ours.
    Missing,
    /// An older one; `migrate` brings it up.
    Behind {
        /// Migrations to run.
        pending: u64,
    },
    /// The one this program was built with.
    Current,
    /// A newer program's; this one must not write.
    Newer {
        /// Newest migration in the database.
        found: i64,
        /// Newest one known here.
        known: i64,
    },
}
