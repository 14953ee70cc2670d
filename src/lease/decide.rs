//! Decides which leases an instance takes and which it hands over, from the tables of leases and instances alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Settings;
use chainflume_db::{LeaseClaim, LeaseName, LeaseRow, LeaseState, LeaseTable};

/// The facts for the decision.
pub(super) struct Facts<'a> {
    pub(super) settings: &'a Settings,
    /// This instance, as in the table of instances.
    pub(super) me: &'a str,
    /// Leases that it competes for.
    pub(super) wants: &'a [LeaseName],
    /// Leases it holds.
    pub(super) held: &'a BTreeSet<LeaseName>,
    pub(super) table: &'a LeaseTable,
    /// For how long each lease has been free: without a holder, or with a holder that is gone.
    pub(super) idle: &'a BTreeMap<LeaseName, Duration>,
    /// Other live holders with the name of this instance.
    pub(super) twins: &'a BTreeSet<String>,
}

/// The next actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Take a lease whose holder is gone or has released it.
    Take(LeaseClaim),
    /// Finish the step and release the lease.
    Yield { name: LeaseName },
}

/// A free chain goes to the instance that leads the fewest, at once; if that instance does not take it, to any other.
/// An instance hands a chain over if it leads two more than another one that follows this chain and has been present
/// for a while. Sinks and the outbox stay: the first instance takes them.
pub(super) fn decide(facts: &Facts<'_>) -> Vec<Move> {
    let preferred = preferred(facts);
    let rows: BTreeMap<&LeaseName, &LeaseRow> =
        facts.table.leases.iter().map(|lease| (&lease.name, lease)).collect();
    let decide = |name: &LeaseName| {
        let is_mine = preferred.get(name).is_none_or(|holder| *holder == facts.me);
        if facts.held.contains(name) {
            return (!is_mine).then(|| Move::Yield { name: name.clone() });
        }
        let row = rows.get(name).copied();
        let waited = facts.idle.get(name).copied().unwrap_or_default();
        let take = is_free(facts, row, waited) && (is_mine || waited >= facts.settings.preferred_first());
        take.then(|| Move::Take(claim(name, row)))
    };
    facts.wants.iter().filter_map(decide).collect()
}

fn claim(name: &LeaseName, row: Option<&LeaseRow>) -> LeaseClaim {
    let claim_as = match row {
        Some(row) if row.state != LeaseState::Free => LeaseClaim::orphaned,
        _ => LeaseClaim::free,
    };
    claim_as(name.clone(), row.map_or(0, |row| row.epoch.number()))
}

fn is_free(facts: &Facts<'_>, row: Option<&LeaseRow>, waited: Duration) -> bool {
    let Some(row) = row else { return true };
    match row.state {
        LeaseState::Free => true,
        // Its own lease, if the answer to its acquisition was lost.
        LeaseState::Held => facts.settings.sole || row.holder == facts.me,
        // The previous run of this instance was killed, unless another daemon has its name.
        LeaseState::Orphaned => {
            facts.settings.sole
                || (instance(&row.holder) == instance(facts.me) && !facts.twins.contains(&row.holder))
                || waited >= facts.settings.orphaned_for()
        }
    }
}

/// The name without the number of the run.
pub(super) fn instance(holder: &str) -> &str {
    holder.rsplit_once('#').map_or(holder, |(name, _)| name)
}

/// The best leader of each chain. Every instance computes the same, since all read the same table.
fn preferred<'a>(facts: &'a Facts<'a>) -> BTreeMap<&'a LeaseName, &'a str> {
    let mut wants: BTreeMap<&str, (&[LeaseName], bool)> = BTreeMap::new();
    for instance in &facts.table.instances {
        wants.insert(&instance.holder, (&instance.wants, instance.settled));
    }
    wants.insert(facts.me, (facts.wants, true));
    let chains: BTreeSet<&LeaseName> =
        wants.values().flat_map(|(wants, _)| wants.iter()).filter(|name| name.is_of_chain()).collect();
    let would = |holder: &str, chain: &LeaseName| wants[holder].0.contains(chain);
    let mut leads: BTreeMap<&str, Vec<&LeaseName>> =
        wants.keys().map(|holder| (*holder, Vec::new())).collect();
    let mut free = Vec::new();
    for chain in chains {
        match holder(facts, chain).and_then(|holder| leads.get_mut(holder)) {
            Some(led) => led.push(chain),
            None => free.push(chain),
        }
    }
    for chain in free {
        let least = leads.iter_mut().filter(|(holder, _)| would(holder, chain));
        if let Some((_, led)) = least.min_by_key(|(_, led)| led.len()) {
            led.push(chain);
        }
    }
    // Each move makes two instances more equal, so the loop ends.
    while let Some((from, chain, to)) = next_move(&leads, |to, chain| wants[to].1 && would(to, chain)) {
        leads.get_mut(from).into_iter().for_each(|led| led.retain(|name| *name != chain));
        leads.get_mut(to).into_iter().for_each(|led| led.push(chain));
    }
    leads.into_iter().flat_map(|(holder, led)| led.into_iter().map(move |chain| (chain, holder))).collect()
}

/// The present leader of a chain.
fn holder<'a>(facts: &'a Facts<'a>, chain: &LeaseName) -> Option<&'a str> {
    if facts.held.contains(chain) {
        return Some(facts.me);
    }
    let row = facts.table.leases.iter().find(|lease| lease.name == *chain)?;
    (row.state == LeaseState::Held && row.holder != facts.me).then_some(row.holder.as_str())
}

fn next_move<'a>(
    leads: &BTreeMap<&'a str, Vec<&'a LeaseName>>,
    may: impl Fn(&str, &LeaseName) -> bool,
) -> Option<(&'a str, &'a LeaseName, &'a str)> {
    for (from, led) in leads {
        for chain in led.iter().rev() {
            let less = leads.iter().filter(|(to, few)| few.len() + 1 < led.len() && may(to, chain));
            if let Some((to, _)) = less.min_by_key(|(_, few)| few.len()) {
                return Some((from, chain, to));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
