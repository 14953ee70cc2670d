//! The configuration and the command line: what is right is read whole, and everything wrong is reported.

mod any;
mod application;
mod command;
mod examples;
mod given;
mod inbound;
mod right;
mod server;
mod trigger;
mod wrong_files;
mod wrong_sources;
mod wrong_values;
