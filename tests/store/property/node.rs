//! What a node does wrong, in the development chain's words.

use std::time::Duration;

use chainflume_devchain::{BeyondHead, Cap, Effect, Faults, Lie, RpcError, Rule, Wire};

use super::plan::{NodeFault, World, Wrong};

/// Puts a fault in force until the node is healed.
pub fn misbehave(faults: &Faults, fault: &NodeFault, world: &World) {
    match *fault {
        NodeFault::Calls { method, after, times, how } => {
            drop(faults.add(Rule::on(method, effect(how, world)).after(after).times(times)));
        }
        NodeFault::Lag(blocks) => faults.set(|node| node.lag = blocks),
        NodeFault::MaxRange(most) => faults.set(|node| node.max_range = Some(Cap::range(most))),
        NodeFault::MaxLogs(most) => faults.set(|node| node.max_logs = Some(Cap::logs(most))),
        NodeFault::MaxAddresses(most) => faults.set(|node| node.max_addresses = Some(Cap::addresses(most))),
        NodeFault::RefuseBeyondHead => faults.set(|node| node.beyond_head = BeyondHead::Refuse),
        NodeFault::ServeOrphans => faults.set(|node| node.serve_orphans = true),
        NodeFault::WsSilent => faults.set(|node| node.ws_silent = true),
        NodeFault::WsRefuse => faults.set(|node| node.ws_refuse = true),
        NodeFault::WsCut => faults.disconnect_ws(),
    }
}

fn effect(how: Wrong, world: &World) -> Effect {
    match how {
        Wrong::Error => Effect::Error(RpcError::new(-32000, "internal error")),
        Wrong::RateLimit => Effect::Wire(Wire::rate_limited(0)),
        Wrong::Null => Effect::Null,
        Wrong::Close => Effect::Wire(Wire::Close),
        Wrong::Truncate => Effect::Wire(Wire::Truncate),
        Wrong::CutOff => Effect::Wire(Wire::CutOff),
        Wrong::Page => Effect::Wire(Wire::page()),
        Wrong::OtherId => Effect::WrongId,
        Wrong::Hang => Effect::Wire(Wire::Hang),
        Wrong::Delay(millis) => Effect::Delay(Duration::from_millis(millis)),
        Wrong::Lag(blocks) => Effect::Lag(blocks),
        Wrong::Duplicate => Effect::Lie(Lie::Duplicate),
        Wrong::OtherAddress => Effect::Lie(Lie::ForeignAddress),
        // A range's logs that bring their block's time are believed without its header.
        Wrong::OtherBlock if world.timed => Effect::Lie(Lie::OutOfRange),
        Wrong::OtherBlock => Effect::Lie(Lie::WrongBlockHash),
    }
}
