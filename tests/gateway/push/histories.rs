//! Random histories: clients of each protocol join, leave and lose their connections, servers are killed, the chain reorganizes and old
//! messages are deleted. Whatever happens, what a client has of a room is what the outbox had, in order and once, or was named as a gap.

mod followers;
mod log;

use std::collections::BTreeMap;
use std::sync::Arc;

use followers::{Order, Protocol, start};
use log::{ClientLog, Stored, rooms};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::random::{Random, seed};

/// Steps of one history, and the clients in it: a debug build on two cores is done within a minute.
const STEPS: u64 = 24;
const CLIENTS: [Protocol; 6] = [
    Protocol::WebSocket,
    Protocol::Sse,
    Protocol::SocketIo,
    Protocol::WebSocket,
    Protocol::Sse,
    Protocol::SocketIo,
];

/// A follower, as the history directs it.
struct Following {
    orders: mpsc::UnboundedSender<Order>,
    ended: JoinHandle<ClientLog>,
}

/// The servers of one database, and everything that was ever in its outbox.
struct World {
    gate: Gate,
    second: Home,
    ports: [u16; 2],
    daemons: [Option<Daemon>; 2],
    random: Random,
    stored: BTreeMap<u64, Stored>,
    /// Messages up to this one were deleted.
    deleted: u64,
}

impl World {
    async fn new(seed: u64) -> Self {
        let gate = Gate::new(seed, "[server.auth]\nmode = \"none\"\n").await;
        let (second, port) = (Home::bare(), free_port());
        gate.write(&second, port);
        let leader = gate.start().await;
        gate.mine(&leader, 3).await;
        let ports = [gate.port, port];
        let random = Random::new(seed);
        let mut this = Self {
            gate,
            second,
            ports,
            daemons: [Some(leader), None],
            random,
            stored: BTreeMap::new(),
            deleted: 0,
        };
        this.serve().await;
        this.look().await;
        this
    }

    /// Starts the server beside the daemon.
    async fn serve(&mut self) {
        let daemon = self.second.start_as(&["serve"], &[]);
        daemon.until("ready", |status, _| status == 200).await;
        self.daemons[1] = Some(daemon);
    }

    /// Remembers what is in the outbox now.
    async fn look(&mut self) {
        for (position, message) in self.gate.outbox().await {
            let seq = log::seq(&position);
            self.stored.insert(seq, Stored { rooms: rooms(&message) });
        }
    }

    fn newest(&self) -> u64 {
        self.stored.keys().next_back().copied().unwrap_or(0)
    }

    /// Deletes the oldest messages, as the retention does.
    async fn forget(&mut self) {
        self.look().await;
        self.deleted = self.newest().saturating_sub(self.random.below(6)).max(self.deleted);
        let seq = i64::try_from(self.deleted).expect("short");
        sqlx::query("delete from outbox where seq <= $1")
            .bind(seq)
            .execute(&self.gate.pool)
            .await
            .expect("deleted");
    }

    /// Kills a server, and starts it again.
    async fn kill(&mut self) {
        let which = usize::from(self.random.percent(60));
        if let Some(daemon) = self.daemons[which].take() {
            daemon.kill_9().await;
        }
        let (count, depth) = (self.random.between(1, 3), self.random.between(2, 4));
        self.gate.chain.mine(count);
        if self.random.percent(50) {
            self.gate.chain.reorg(depth, depth + 1);
        }
        if which == 0 {
            self.daemons[0] = Some(self.gate.start().await);
        } else {
            self.serve().await;
        }
    }

    async fn step(&mut self, clients: &[Following]) {
        match self.random.below(20) {
            0 => self.kill().await,
            1 => self.forget().await,
            2..=4 => {
                let depth = self.random.between(2, 5);
                self.gate.chain.reorg(depth, depth + 1);
            }
            5..=9 => drop(self.gate.chain.mine(self.random.between(1, 3))),
            _ => {
                let client = self.random.pick(&[0, 1, 2, 3, 4, 5]);
                let room = self.random.pick(&log::ROOMS);
                let order = match self.random.below(4) {
                    0 => Order::Cut(self.random.pick(&self.ports)),
                    1 => Order::Leave(room),
                    _ => Order::Join(room),
                };
                clients[client].orders.send(order).expect("the client follows");
            }
        }
        // Some steps meet the messages of those before on their way, some do not.
        if self.random.percent(40) {
            self.settle().await;
        }
    }

    /// Waits until the chain is stored.
    async fn settle(&mut self) {
        let daemon = self.daemons[0].as_ref().expect("it runs");
        daemon.until_tip(self.gate.chain.head().number - 2).await;
        self.look().await;
    }
}

/// One history; what each client has is compared with what there was.
async fn lives_through(seed: u64) {
    let mut world = World::new(seed).await;
    let clients = CLIENTS.map(|protocol| {
        let (orders, given) = mpsc::unbounded_channel();
        let room = world.random.pick(&log::ROOMS);
        orders.send(Order::Join(room)).expect("the other end is here");
        let port = world.random.pick(&world.ports);
        Following { orders, ended: tokio::spawn(start(protocol, port, given)) }
    });
    for _ in 0..STEPS {
        world.step(&clients).await;
    }
    world.gate.chain.mine(3);
    world.settle().await;
    let stored = Arc::new(world.stored);
    for (client, protocol) in clients.into_iter().zip(CLIENTS) {
        client.orders.send(Order::Finish(stored.clone(), world.deleted)).expect("the client follows");
        let ended = tokio::time::timeout(WAIT_LIMIT, client.ended).await;
        let log = ended
            .unwrap_or_else(|_| panic!("seed {seed}: {protocol:?} never has everything"))
            .unwrap_or_else(|error| panic!("seed {seed}: {protocol:?}: {error}"));
        let wrong = log.compared(&stored, world.deleted);
        assert_eq!(wrong, Vec::<String>::new(), "seed {seed}: {protocol:?}");
    }
    for daemon in world.daemons.into_iter().flatten() {
        daemon.stop_well().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_have_what_the_outbox_had_through_random_histories() {
    lives_through(seed("push histories")).await;
}

/// `PUSH_HISTORIES=50 cargo test --test gateway push::histories -- --ignored`: many histories, one after the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "as long as one likes"]
async fn many_random_histories() {
    let count: u64 = std::env::var("PUSH_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let first = seed("push histories");
    for seed in first..first + count {
        lives_through(seed).await;
        eprintln!("seed {seed} is well");
    }
}
