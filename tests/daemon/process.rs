//! The program as an operator meets it: a process with arguments, signals, an exit code and an admin address.

mod commands;
mod demo;
mod exit;
mod exposed;
mod gated;
mod hurt;
mod kill;
pub mod outage;
mod providers;
mod refused;
mod run;
mod secrets;
mod stderr;
mod systemd;
mod watch;
