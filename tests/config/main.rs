//! The configuration and the command line: what is right is read whole, and what is wrong is told whole.

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
