mod chain;
mod client;
mod faults;
mod rpc;
mod ws;

use alloy_primitives::U256;

use super::{Action, DevChain, Settings, wallet};

fn chain(history: u64) -> DevChain {
    DevChain::new(Settings { history, ..Settings::default() })
}

fn amount(units: u64) -> U256 {
    U256::from(units)
}

fn stake(who: u64, units: u64) -> Action {
    Action::Stake { developer: wallet(who), amount: amount(units) }
}
