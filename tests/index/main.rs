//! From a node to the tables, block by block: reorgs, faults and refusals, each with the whole story of what was stored.

mod branches;
mod excluded;
mod faults;
mod first;
mod pending;

use chainflume_support::{daemon, flume, fold, journal, random, relays, scene, tables, wait};
use chainflume_testkit::postgres;
