//! What is stored stays right when the configuration changes, by proof when it is taken back, and through random lives.

mod bounds;
mod changed;
mod consecutive;
mod excluded;
mod names;
mod property;
mod repair;
mod supply;
mod verify;

use chainflume_support::{cable, daemon, flume, fold, random, relays, scene, tables, wait};
use chainflume_testkit::postgres;
