//! What can be wrong with one call to the node.

use std::time::Duration;

use chainflume_devchain::{DevChain, Effect, Lie, Request, RpcError, Wire};

use super::Soak;
use super::deck::{Deck, Tally};
use crate::random::Random;

#[derive(Clone, Copy)]
struct Fault {
    name: &'static str,
    of: Of,
    effect: fn() -> Effect,
}

/// Which calls it can happen to, the rarest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    Any,
    /// A header by its number: what batches are made of.
    Headers,
    Logs,
    /// Logs of more than one block.
    Ranges,
}

/// Every misbehaviour there is, but for logs that are left out without a word: of these a node's answer alone shows nothing.
const FAULTS: &[Fault] = &[
    any("connection closed", || Effect::Wire(Wire::Close)),
    any("no answer", || Effect::Wire(Wire::Hang)),
    any("slow answer", || Effect::Delay(Duration::from_millis(700))),
    any("429", || Effect::Wire(Wire::rate_limited(1))),
    any("500", || status(500, "{\"error\":\"internal\"}")),
    any("503", || status(503, "no backend is currently healthy")),
    any("half an answer", || Effect::Wire(Wire::Truncate)),
    any("cut off", || Effect::Wire(Wire::CutOff)),
    any("html", || Effect::Wire(Wire::page())),
    any("empty answer", || status(200, "")),
    any("too large", || Effect::Wire(Wire::Oversize(2 << 20))),
    any("wrong id", || Effect::WrongId),
    any("null", || Effect::Null),
    any("internal error", || Effect::Error(RpcError::new(-32603, "internal error"))),
    any("lagging backend", || Effect::Lag(3)),
    Fault { name: "batch reordered", of: Of::Headers, effect: || Effect::Backwards },
    Fault { name: "log twice", of: Of::Logs, effect: || Effect::Lie(Lie::Duplicate) },
    Fault { name: "foreign log", of: Of::Logs, effect: || Effect::Lie(Lie::ForeignAddress) },
    Fault { name: "log of another block", of: Of::Logs, effect: || Effect::Lie(Lie::OutOfRange) },
    Fault { name: "log of another hash", of: Of::Logs, effect: || Effect::Lie(Lie::WrongBlockHash) },
    Fault { name: "range refused", of: Of::Ranges, effect: || refused("block range is too wide") },
    Fault {
        name: "results refused",
        of: Of::Ranges,
        effect: || refused("query returned more than 20 results"),
    },
];

const fn any(name: &'static str, effect: fn() -> Effect) -> Fault {
    Fault { name, of: Of::Any, effect }
}

fn status(status: u16, body: &str) -> Effect {
    Effect::Wire(Wire::Status { status, headers: Vec::new(), body: body.to_owned() })
}

fn refused(words: &str) -> Effect {
    Effect::Error(RpcError::new(-32005, words))
}

/// What is sure to happen to a daemon that follows a chain; ranges are asked for now and then.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().filter(|fault| fault.of != Of::Ranges).map(|fault| fault.name)
}

/// Of every hundred calls from now on so many go wrong, each in another way.
pub fn begin(chain: &DevChain, soak: Soak, tally: Tally) {
    let (mut random, mut deck) = (Random::new(soak.seed), Deck::new(FAULTS));
    chain.faults().decide(move |request| {
        if !random.percent(soak.faults) {
            return None;
        }
        let fault = deck.deal(&mut random, |fault| fault.of.fits(request).then_some(fault.of))?;
        tally.count(fault.name);
        Some((fault.effect)())
    });
}

impl Of {
    fn fits(self, request: &Request) -> bool {
        let first = &request.params[0];
        match self {
            Self::Any => true,
            Self::Headers => {
                request.method == "eth_getBlockByNumber"
                    && first.as_str().is_some_and(|s| s.starts_with("0x"))
            }
            Self::Logs => request.method == "eth_getLogs",
            Self::Ranges => request.method == "eth_getLogs" && first["fromBlock"] != first["toBlock"],
        }
    }
}
