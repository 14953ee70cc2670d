//! What happens in a case, drawn from its seed alone. An act has all it needs and does nothing where it
//! makes no sense, so that a failing case can be run again with any of its acts left out.

use super::sources::{COUNT, Sources};
use crate::random::Random;

/// One random chain and the life of the daemon that follows it.
#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    pub world: World,
    pub acts: Vec<Act>,
}

/// What stays the same throughout a case.
#[derive(Clone, Debug)]
pub struct World {
    pub confirmations: Confirmations,
    pub window: u64,
    /// Whether what is seen at the head is published.
    pub pending: bool,
    /// How far the `finalized` tag is below the head, where the node has tags.
    pub finalized: Option<u64>,
    /// Whether logs have their block's time.
    pub timed: bool,
    /// Blocks there are at the start.
    pub history: u64,
    /// Whether heads are pushed, else they are polled for.
    pub ws: bool,
    pub create_missing: bool,
    pub initial_range: u64,
    pub ranges_in_flight: u64,
    pub starts: [u64; COUNT],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmations {
    Blocks(u64),
    Safe,
}

#[derive(Clone, Debug)]
pub enum Act {
    /// Blocks of ordinary traffic.
    Mine(u64),
    /// One block of logs no well-behaved contract emits.
    Odd(u64),
    /// `depth` blocks go, `len` others come.
    Reorg { depth: u64, len: u64 },
    /// The same transactions are mined again, so many blocks later.
    Remine { depth: u64, later: u64 },
    /// Blocks go and none come.
    Truncate(u64),
    /// A→B→A, with so many milliseconds for the daemon to see B.
    Flip { depth: u64, len: u64, pause: u64 },
    /// After so many headers asked for, one answer comes from a node on another branch.
    Flicker { after: u64, depth: u64 },
    /// The daemon starts with these sources; it is dropped when it has been polled so often.
    Start { sources: Sources, polls: Option<u64> },
    /// SIGTERM.
    Stop,
    /// `kill -9`, here and now.
    Kill,
    /// `kill -9` while the server executes a statement of the daemon's.
    KillAt(Statement, Fate),
    /// Every connection of the daemon's is terminated.
    Terminate,
    /// The connection is terminated in this statement.
    TerminateAt(Statement),
    /// This statement fails.
    FailAt(Statement),
    /// The connection breaks and takes the server's next so many-th answer with it.
    LoseAnswer(u64),
    /// The connection breaks after the next commit, before the daemon hears of it.
    LoseCommit,
    /// The node does something wrong.
    Node(NodeFault),
    /// The node behaves again.
    Heal,
    /// So many milliseconds pass.
    Pause(u64),
    /// The daemon has time to catch up.
    CatchUp,
}

/// A statement of a writing transaction, counted from now on.
#[derive(Clone, Copy, Debug)]
pub enum Statement {
    /// The so many-th that changes a table.
    Write(u64),
    /// The `commit` in which the so many-th checkpoint's change becomes durable.
    Commit(u64),
}

/// What becomes of the transaction in which the daemon was killed.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// The server finishes the statement, and the transaction if it was the commit.
    Finishes,
    /// It goes down with the daemon.
    Terminated,
}

#[derive(Clone, Debug)]
pub enum NodeFault {
    /// So many calls are answered wrongly, in this way, after as many that pass.
    Calls {
        method: &'static str,
        after: u64,
        times: u64,
        how: Wrong,
    },
    /// It does not know the newest blocks.
    Lag(u64),
    MaxRange(u64),
    MaxLogs(u64),
    MaxAddresses(u64),
    RefuseBeyondHead,
    ServeOrphans,
    WsSilent,
    WsRefuse,
    WsCut,
}

#[derive(Clone, Copy, Debug)]
pub enum Wrong {
    Error,
    RateLimit,
    Null,
    Close,
    Truncate,
    CutOff,
    Page,
    OtherId,
    Hang,
    Delay(u64),
    Lag(u64),
    Duplicate,
    OtherAddress,
    OtherBlock,
}

impl Case {
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let world = World::draw(&mut random);
        let mut acts = Acts { random, sources: Sources(0), done: Vec::new() };
        acts.start();
        for _ in 0..acts.random.between(8, 20) {
            acts.next();
        }
        Self { seed, world, acts: acts.done }
    }

    /// Every source the case ever configures: what it ends with.
    pub fn sources(&self) -> Sources {
        let all = self.acts.iter().map(|act| match act {
            Act::Start { sources, .. } => sources.0,
            _ => 0,
        });
        Sources(all.fold(0, |all, these| all | these).max(1))
    }
}

impl World {
    fn draw(random: &mut Random) -> Self {
        let finalized = random.percent(35).then(|| random.between(6, 24));
        let safe = finalized.is_some() && random.percent(25);
        let history = random.between(0, 30);
        let mut starts = [0; COUNT];
        starts.iter_mut().for_each(|start| *start = if random.percent(40) { 0 } else { random.below(40) });
        Self {
            confirmations: if safe {
                Confirmations::Safe
            } else {
                Confirmations::Blocks(random.pick(&[0, 1, 2, 2, 3]))
            },
            window: random.between(6, 16),
            pending: random.percent(70),
            finalized,
            timed: random.percent(50),
            history,
            // The tag `safe` is asked for when something wakes the daemon; no head does when none comes any more.
            ws: !safe && random.percent(60),
            create_missing: random.percent(75),
            initial_range: random.between(1, 10),
            ranges_in_flight: random.between(1, 4),
            starts,
        }
    }

    /// How far below the head a block is final at the latest.
    pub fn depth(&self) -> u64 {
        self.finalized.unwrap_or(self.window).min(self.window)
    }
}

struct Acts {
    random: Random,
    sources: Sources,
    done: Vec<Act>,
}

impl Acts {
    fn next(&mut self) {
        match self.random.below(100) {
            0..52 => self.chain(),
            52..58 => self.restart(Act::Stop),
            58..66 => {
                let kill = self.kill();
                self.restart(kill);
            }
            66..70 => self.start_fused(),
            70..78 => self.database(),
            78..87 => {
                let fault = Act::Node(self.node_fault());
                self.done.push(fault);
            }
            87..90 => self.done.push(Act::Heal),
            90..96 => self.done.push(Act::CatchUp),
            _ => {
                let pause = Act::Pause(self.random.between(1, 40));
                self.done.push(pause);
            }
        }
    }

    /// The chain moves, and the daemon has more or less time for it.
    fn chain(&mut self) {
        let random = &mut self.random;
        // Up to far more than there can be: what is too deep is cut to what is allowed.
        let depth = if random.percent(60) { random.between(1, 4) } else { random.between(1, 30) };
        let act = match random.below(100) {
            0..38 => Act::Mine(random.between(1, 6)),
            38..56 => Act::Odd(random.below(u64::MAX)),
            56..76 => Act::Reorg { depth, len: random.below(depth + 4) },
            76..83 => Act::Remine { depth, later: random.below(3) },
            83..87 => Act::Truncate(depth),
            87..95 => Act::Flip { depth, len: random.between(1, depth + 2), pause: random.below(30) },
            _ => Act::Flicker { after: random.below(12), depth: random.between(1, 4) },
        };
        self.done.push(act);
        match self.random.below(10) {
            0..4 => {}
            4..7 => self.done.push(Act::Pause(self.random.between(1, 25))),
            _ => self.done.push(Act::CatchUp),
        }
    }

    fn kill(&mut self) -> Act {
        let fate = self.random.pick(&[Fate::Finishes, Fate::Terminated]);
        match self.random.below(4) {
            0 => Act::Kill,
            1 => Act::KillAt(Statement::Commit(self.random.between(1, 8)), fate),
            _ => Act::KillAt(self.statement(), fate),
        }
    }

    fn statement(&mut self) -> Statement {
        if self.random.percent(30) {
            Statement::Commit(self.random.between(1, 8))
        } else {
            Statement::Write(self.random.between(1, 25))
        }
    }

    /// Something may happen while the daemon is down.
    fn restart(&mut self, down: Act) {
        if matches!(down, Act::KillAt(..)) {
            // Else there would be nothing to be killed in.
            self.done.push(Act::Mine(self.random.between(1, 5)));
        }
        self.done.push(down);
        for _ in 0..self.random.pick(&[0, 0, 1, 2, 3]) {
            self.chain();
        }
        self.start();
    }

    fn start(&mut self) {
        let sources = self.next_sources();
        self.done.push(Act::Start { sources, polls: None });
    }

    fn start_fused(&mut self) {
        let sources = self.next_sources();
        let most = self.random.pick(&[60, 200, 800]);
        let polls = Some(self.random.between(1, most));
        self.done.push(Act::Kill);
        self.done.push(Act::Start { sources, polls });
    }

    /// Mostly one more; now and then one less, which comes back later.
    fn next_sources(&mut self) -> Sources {
        let random = &mut self.random;
        if self.sources.0 == 0 {
            self.sources = Sources(u8::try_from(random.between(1, Sources::ALL.0.into())).expect("a byte"));
            return self.sources;
        }
        let one = 1u8 << random.below(COUNT as u64);
        match random.below(10) {
            0..6 => self.sources.0 |= one,
            6 if self.sources.0 != one => self.sources.0 &= !one,
            _ => {}
        }
        self.sources
    }

    fn database(&mut self) {
        let act = match self.random.below(6) {
            0 => Act::Terminate,
            1 => Act::TerminateAt(self.statement()),
            2 => Act::FailAt(self.statement()),
            3 => Act::LoseAnswer(self.random.between(1, 40)),
            _ => Act::LoseCommit,
        };
        self.done.push(act);
    }

    fn node_fault(&mut self) -> NodeFault {
        let random = &mut self.random;
        match random.below(20) {
            0 => NodeFault::Lag(random.between(1, 4)),
            1 => NodeFault::MaxRange(random.between(1, 6)),
            2 => NodeFault::MaxLogs(random.between(1, 20)),
            3 => NodeFault::MaxAddresses(random.between(1, 3)),
            4 => NodeFault::RefuseBeyondHead,
            5 => NodeFault::ServeOrphans,
            6 => NodeFault::WsSilent,
            7 => NodeFault::WsRefuse,
            8 => NodeFault::WsCut,
            _ => NodeFault::Calls {
                method: random.pick(&["eth_getLogs", "eth_getLogs", "eth_getBlockByNumber", "eth_chainId"]),
                after: random.below(6),
                times: random.between(1, 3),
                how: self.wrong(),
            },
        }
    }

    fn wrong(&mut self) -> Wrong {
        let random = &mut self.random;
        match random.below(16) {
            0 | 1 => Wrong::Error,
            2 => Wrong::RateLimit,
            3 => Wrong::Null,
            4 => Wrong::Close,
            5 => Wrong::Truncate,
            6 => Wrong::CutOff,
            7 => Wrong::Page,
            8 => Wrong::OtherId,
            9 => Wrong::Hang,
            10 => Wrong::Delay(random.between(1, 60)),
            11 | 12 => Wrong::Lag(random.between(1, 4)),
            13 => Wrong::Duplicate,
            14 => Wrong::OtherAddress,
            _ => Wrong::OtherBlock,
        }
    }
}
