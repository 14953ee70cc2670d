//! Compiles the crate again after a change in the folder of migrations: `sqlx::migrate!` sees changed files, and no new ones.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
