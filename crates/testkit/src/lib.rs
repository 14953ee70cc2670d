//! Real servers for tests.

/// A PostgreSQL server of the test process, with a database for each test.
pub mod postgres;
