//! Injects faults into the node. [`Rule`]s affect single calls, [`Behaviour`] affects the whole node. Both can be
//! changed while it runs, and every call is counted.
//!
//! This module is compiled with the feature `faults` alone, which tests enable. `faultless.rs` takes its place in the
//! program. What the node asks of either is the same, so that the node itself has no condition on the feature.

mod behaviour;
mod plan;
mod rule;
mod transport;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use super::DevChain;
use super::call::Request;
pub use behaviour::{Behaviour, BeyondHead, Cap};
pub(super) use plan::Plan;
pub use rule::{Edit, Effect, Lie, Rule, Wire};
pub(super) use transport::SocketWatch;

type Hook = Arc<Mutex<dyn FnMut(&DevChain, &Value) + Send>>;
type Dice = Arc<Mutex<dyn FnMut(&Request) -> Option<Effect> + Send>>;

/// The injected faults, and the record of calls. Clones are handles to the same record.
#[derive(Clone, Default)]
pub struct Faults {
    inner: Arc<Mutex<Inner>>,
    behaviour: Arc<watch::Sender<Behaviour>>,
}

#[derive(Default)]
struct Inner {
    rules: Vec<Armed>,
    next_id: u64,
    hooks: Vec<(String, Hook)>,
    dice: Option<Dice>,
    calls: BTreeMap<String, u64>,
    journal: Option<Vec<Request>>,
}

struct Armed {
    id: u64,
    rule: Rule,
    fired: Arc<AtomicU64>,
}

/// An active rule. Dropping this handle changes nothing.
pub struct ActiveFault {
    id: u64,
    fired: Arc<AtomicU64>,
    faults: Faults,
}

impl ActiveFault {
    /// Number of affected calls.
    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    /// Ends the rule.
    pub fn lift(self) {
        self.faults.inner().rules.retain(|armed| armed.id != self.id);
    }
}

impl Faults {
    /// Activates a rule. Several may affect one call: delays and wrong results add up; of errors and transport faults
    /// the first one counts.
    pub fn add(&self, rule: Rule) -> ActiveFault {
        let mut inner = self.inner();
        inner.next_id += 1;
        let (id, fired) = (inner.next_id, Arc::new(AtomicU64::new(0)));
        inner.rules.push(Armed { id, rule, fired: fired.clone() });
        ActiveFault { id, fired, faults: self.clone() }
    }

    /// Changes the general behaviour of the node: `faults.set(|node| node.lag = 3)`.
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        self.behaviour.send_modify(change);
    }

    /// Closes every WebSocket without a close frame. New ones are accepted.
    pub fn disconnect_ws(&self) {
        self.set(|node| node.ws_generation += 1);
    }

    /// Runs `hook` with the parameters before each call of `method` is answered: the answer includes the changes that
    /// the hook makes. It must not wait for a request to the same chain.
    pub fn on_call(&self, method: &str, hook: impl FnMut(&DevChain, &Value) + Send + 'static) {
        self.inner().hooks.push((method.to_owned(), Arc::new(Mutex::new(hook))));
    }

    /// Calls `decide` for the fault of every call, in addition to the rules; replaces the earlier function.
    pub fn decide(&self, decide: impl FnMut(&Request) -> Option<Effect> + Send + 'static) {
        self.inner().dice = Some(Arc::new(Mutex::new(decide)));
    }

    /// Removes every rule and hook, and restores the default behaviour. Counts and journal remain.
    pub fn clear(&self) {
        let mut inner = self.inner();
        inner.rules.clear();
        inner.hooks.clear();
        inner.dice = None;
        self.set(|node| *node = Behaviour { ws_generation: node.ws_generation, ..Behaviour::default() });
    }

    /// How often `method` was called.
    pub fn calls(&self, method: &str) -> u64 {
        self.inner().calls.get(method).copied().unwrap_or_default()
    }

    /// Starts a journal of every call, empty; it grows until [`Self::journal`] takes it.
    pub fn record(&self) {
        self.inner().journal = Some(Vec::new());
    }

    /// Takes the contents of the journal, oldest first. Recording continues if it was on.
    pub fn journal(&self) -> Vec<Request> {
        self.inner().journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Sets the counts to zero.
    pub fn forget(&self) {
        self.inner().calls.clear();
    }

    pub(super) fn behaviour(&self) -> Behaviour {
        self.behaviour.borrow().clone()
    }

    /// Follows the behaviour of the node for one new socket.
    pub(super) fn watch(&self) -> SocketWatch {
        SocketWatch::new(self.behaviour.subscribe())
    }

    /// Counts a call, runs its hooks, and returns its faults.
    pub(super) fn meet(&self, chain: &DevChain, request: Request) -> Plan {
        let (hooks, dice) = {
            let mut inner = self.inner();
            *inner.calls.entry(request.method.clone()).or_default() += 1;
            if let Some(journal) = &mut inner.journal {
                journal.push(request.clone());
            }
            let of_method = inner.hooks.iter().filter(|(method, _)| *method == request.method);
            (of_method.map(|(_, hook)| hook.clone()).collect::<Vec<_>>(), inner.dice.clone())
        };
        // Outside the lock: a hook may add rules, and may be slow.
        for hook in hooks {
            hook.lock().unwrap_or_else(PoisonError::into_inner)(chain, &request.params);
        }
        let mut plan = self.plan(&request);
        if let Some(dice) = dice {
            let effect = dice.lock().unwrap_or_else(PoisonError::into_inner)(&request);
            effect.into_iter().for_each(|effect| plan.adopt(effect));
        }
        plan
    }

    fn plan(&self, request: &Request) -> Plan {
        let mut plan = Plan::default();
        for Armed { rule, fired, .. } in &mut self.inner().rules {
            if rule.hits(request) {
                fired.fetch_add(1, Ordering::Relaxed);
                plan.adopt(rule.effect.clone());
            }
        }
        plan
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
