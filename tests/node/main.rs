//! What nodes answer, and what they refuse: one or several behind each chain, simulated, recorded and real.

mod balanced;
mod evidence;
mod failover;
mod lag;
mod limits;
mod mismatches;
mod providers;
mod real_data;
mod real_node;

use chainflume_support::{anvil, balancer, daemon, flume, fold, journal, random, scene, tables, wait};
use chainflume_testkit::postgres;
