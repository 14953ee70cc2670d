/// How the schema in the database compares to this program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// The database has none of this program's tables.
    Missing,
    /// The schema of an older program; `migrate` updates it.
    Behind {
        /// Migrations to run.
        pending: u64,
    },
    /// The schema of this program.
    Current,
    /// The schema of a newer program; this one must not write.
    Newer {
        /// Newest migration in the database.
        found: i64,
        /// Newest one known here.
        known: i64,
    },
}
