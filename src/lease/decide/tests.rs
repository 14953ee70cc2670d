use super::*;
use chainflume_db::{Epoch, InstanceRow, LeaseName};

/// The decisions of `me` about chains 1 to 4 and a sink.
struct World {
    settings: Settings,
    held: BTreeSet<LeaseName>,
    table: LeaseTable,
    idle: BTreeMap<LeaseName, Duration>,
    twins: BTreeSet<String>,
}

const ME: &str = "b:1#run2";

fn wants() -> Vec<LeaseName> {
    (1..=4).map(LeaseName::chain).chain([LeaseName::outbox(), LeaseName::sink("redis")]).collect()
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            name: "b:1".to_owned(),
            length: Duration::from_secs(10),
            sole: false,
            follows: vec![],
        };
        let (held, twins) = (BTreeSet::new(), BTreeSet::new());
        Self { settings, held, table: LeaseTable::default(), idle: BTreeMap::new(), twins }.with(ME, true)
    }

    fn with(mut self, holder: &str, settled: bool) -> Self {
        self.table.instances.push(InstanceRow {
            holder: holder.to_owned(),
            wants: wants(),
            settled,
            until: 0,
        });
        self
    }

    fn leased(mut self, holder: &str, names: &[&str], state: LeaseState) -> Self {
        for name in names {
            if holder == ME && state == LeaseState::Held {
                self.held.insert(LeaseName::stored(*name));
            }
            self.table.leases.push(LeaseRow {
                name: LeaseName::stored(*name),
                holder: holder.to_owned(),
                epoch: Epoch::of(3),
                state,
                left: Duration::ZERO,
            });
        }
        self
    }

    fn seen_idle(mut self, millis: u64) -> Self {
        self.idle = wants().into_iter().map(|name| (name, Duration::from_millis(millis))).collect();
        self
    }

    /// `+` for taken leases, `-` for leases handed over.
    fn decides(&self) -> Vec<String> {
        let wants = wants();
        let facts = Facts {
            settings: &self.settings,
            me: ME,
            wants: &wants,
            held: &self.held,
            table: &self.table,
            idle: &self.idle,
            twins: &self.twins,
        };
        let word = |next: &Move| match next {
            Move::Take(claim) => format!("+{}", claim.name),
            Move::Yield { name } => format!("-{name}"),
        };
        decide(&facts).iter().map(word).collect()
    }
}

const EVERYTHING: [&str; 6] = ["chain 1", "chain 2", "chain 3", "chain 4", "outbox", "sink redis"];

#[test]
fn a_single_instance_takes_every_lease_at_once() {
    let all: Vec<String> = EVERYTHING.iter().map(|name| format!("+{name}")).collect();
    assert_eq!(World::new().decides(), all);
    assert_eq!(World::new().leased("a:1#run1", &EVERYTHING, LeaseState::Free).decides(), all);
}

#[test]
fn two_that_start_together_share_the_chains() {
    let world = World::new().with("a:1#run1", false);
    assert_eq!(world.decides(), ["+chain 2", "+chain 4", "+outbox", "+sink redis"]);
    let late = World::new().with("a:1#run1", false).seen_idle(2_000);
    assert_eq!(late.decides().len(), 6, "what the other does not take is not left lying");
}

#[test]
fn an_instance_above_its_share_hands_over_to_a_settled_one() {
    let led = |settled| World::new().with("a:1#run1", settled).leased(ME, &EVERYTHING, LeaseState::Held);
    assert_eq!(led(false).decides(), [""; 0]);
    assert_eq!(led(true).decides(), ["-chain 3", "-chain 4"]);
    let three = World::new().with("a:1#run1", true).leased(ME, &EVERYTHING[..3], LeaseState::Held);
    let three = three.leased("a:1#run1", &EVERYTHING[3..], LeaseState::Held);
    assert_eq!(three.decides(), ["-chain 3"]);
    let balanced = World::new().with("a:1#run1", true).leased(ME, &EVERYTHING[..2], LeaseState::Held);
    assert_eq!(balanced.leased("a:1#run1", &EVERYTHING[2..], LeaseState::Held).decides(), [""; 0]);
}

#[test]
fn a_lease_whose_holder_is_gone_is_taken_before_its_end() {
    let orphaned = |holder| World::new().leased(holder, &EVERYTHING, LeaseState::Orphaned);
    assert_eq!(orphaned("a:1#run1").decides(), [""; 0]);
    assert_eq!(orphaned("a:1#run1").seen_idle(3_400).decides(), [""; 0]);
    assert_eq!(orphaned("a:1#run1").seen_idle(3_500).decides().len(), 6);
    assert_eq!(orphaned("b:1#run1").decides().len(), 6, "its own earlier run was killed");
    assert_eq!(World::new().leased("b:1#run1", &EVERYTHING, LeaseState::Held).decides(), [""; 0]);
    let mut twin = orphaned("b:1#run1");
    twin.twins.insert("b:1#run1".to_owned());
    assert_eq!(twin.decides(), [""; 0], "it has the same name and lives");
    assert_eq!(twin.seen_idle(3_500).decides().len(), 6);
    let mut unheard = World::new().leased(ME, &EVERYTHING, LeaseState::Held);
    unheard.held.clear();
    assert_eq!(unheard.decides().len(), 6, "it got them and never heard so");
}

#[test]
fn no_other_instance_can_be_on_a_private_database() {
    let mut world = World::new().leased("renamed:1#run1", &EVERYTHING, LeaseState::Held);
    world.settings.sole = true;
    assert_eq!(world.decides().len(), 6);
}
