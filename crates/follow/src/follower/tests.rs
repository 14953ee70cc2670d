use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use chainflume_core::domain::BlockId;
use chainflume_db::Settings;
use chainflume_testkit::postgres;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::*;
use crate::judge::WatchState;
use crate::watches::{NewWatch, WatchOutcome, watch};

/// Confirmations, and blocks until nothing changes.
const DEPTH: u64 = 2;
const FINAL: u64 = 6;

/// A chain as one node has it: for each block its branch and its transactions, by number, with whether they succeeded.
#[derive(Default)]
struct ModelChain {
    blocks: Vec<(u8, BTreeMap<u8, bool>)>,
    waiting: BTreeMap<u8, u64>,
}

#[derive(Clone, Default)]
struct Model(Arc<Mutex<ModelChain>>);

/// Transactions `n` and `n + 100` have one sender and one nonce.
fn hash_of(transaction: u8) -> B256 {
    B256::repeat_byte(transaction)
}

fn sender_of(transaction: u8) -> SeenSender {
    SeenSender { account: Address::repeat_byte(transaction % 100), nonce: 0 }
}

impl Model {
    fn mine(&self, branch: u8, transactions: &[(u8, bool)]) {
        let mut chain = self.0.lock().unwrap();
        for (transaction, _) in transactions {
            chain.waiting.remove(transaction);
        }
        chain.blocks.push((branch, transactions.iter().copied().collect()));
    }

    fn drop_top(&self, depth: usize) {
        let mut chain = self.0.lock().unwrap();
        let kept = chain.blocks.len().saturating_sub(depth).max(1);
        chain.blocks.truncate(kept);
    }

    fn submit(&self, transaction: u8) {
        self.0.lock().unwrap().waiting.insert(transaction, 0);
    }

    fn forget(&self, transaction: u8) {
        self.0.lock().unwrap().waiting.remove(&transaction);
    }

    fn place(&self, transaction: u8) -> Option<SeenReceipt> {
        let chain = self.0.lock().unwrap();
        let mut places = (0u64..).zip(&chain.blocks);
        places.find_map(|(number, (branch, transactions))| {
            let succeeded = *transactions.get(&transaction)?;
            Some(SeenReceipt { block: BlockId { number, hash: block_hash(number, *branch) }, succeeded })
        })
    }

    fn has(&self, transaction: u8) -> bool {
        self.place(transaction).is_some()
    }
}

fn block_hash(number: u64, branch: u8) -> B256 {
    let mut hash = [branch; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    B256::from(hash)
}

impl ChainView for Model {
    type Error = Infallible;

    async fn depths(&self) -> Result<ChainDepths, Infallible> {
        let head = self.0.lock().unwrap().blocks.len() as u64 - 1;
        Ok(ChainDepths { head, confirmed: head.checked_sub(DEPTH), final_number: head.saturating_sub(FINAL) })
    }

    async fn receipts(&self, transactions: &[B256]) -> Result<Vec<Option<SeenReceipt>>, Infallible> {
        Ok(transactions.iter().map(|hash| self.place(hash[0])).collect())
    }

    async fn blocks(&self, numbers: &[u64]) -> Result<Vec<Option<B256>>, Infallible> {
        let chain = self.0.lock().unwrap();
        let hash = |number: &u64| {
            let (branch, _) = chain.blocks.get(usize::try_from(*number).ok()?)?;
            Some(block_hash(*number, *branch))
        };
        Ok(numbers.iter().map(hash).collect())
    }

    async fn senders(&self, transactions: &[B256]) -> Result<Vec<Option<SeenSender>>, Infallible> {
        let known = |hash: &B256| {
            let transaction = hash[0];
            let waits = self.0.lock().unwrap().waiting.contains_key(&transaction);
            (waits || self.has(transaction)).then(|| sender_of(transaction))
        };
        Ok(transactions.iter().map(known).collect())
    }

    async fn nonces(&self, accounts: &[Address], block: u64) -> Result<Vec<Option<u64>>, Infallible> {
        let next = |account: &Address| {
            let places = [account[0], account[0] + 100].map(|transaction| self.place(transaction));
            u64::from(places.into_iter().flatten().any(|place| place.block.number <= block))
        };
        Ok(accounts.iter().map(|account| Some(next(account))).collect())
    }
}

/// Keeps the changes that a follower reports.
#[derive(Clone, Default)]
struct Reported(Arc<Mutex<Vec<TransactionChange>>>);

impl Subject for Reported {
    fn changed<'a>(&'a self, _: &'a mut Tx, changes: Vec<TransactionChange>) -> Taken<'a> {
        let reported = self.clone();
        let count = move || reported.0.lock().unwrap().extend(changes);
        Box::pin(async { Ok(AfterCommit::from([Box::new(count) as Box<dyn FnOnce() + Send>])) })
    }
}

impl Reported {
    /// The states that a transaction has come to, in order.
    fn states(&self, transaction: u8) -> Vec<WatchState> {
        let reported = self.0.lock().unwrap();
        let own = reported.iter().filter(|change| change.transaction == hash_of(transaction));
        own.map(|change| change.to).collect()
    }
}

async fn migrated() -> Database {
    let url = postgres::database().await;
    let settings = Settings { url, max_connections: 4, acquire_timeout: Duration::from_secs(30) };
    let database = Database::connect(&settings).await.expect("the database is there");
    database.migrate().await.expect("the tables can be made");
    database
}

fn settings(batch: u32, timeout: Duration) -> FollowSettings {
    let limits = WatchLimits { timeout, late: Duration::from_secs(600) };
    let every = Duration::from_millis(10);
    FollowSettings { chain: "dev".to_owned(), chain_id: 1, every, batch, most: 10_000, limits }
}

fn follower(database: &Database, model: &Model, reported: &Reported) -> Follower<Model, Reported> {
    let settings = settings(100, Duration::from_secs(600));
    Follower::new(database, settings, model.clone(), reported.clone())
}

async fn follow(database: &Database, transaction: u8) {
    let mut tx = transaction::begin(database.pool()).await.expect("a transaction");
    let new = NewWatch { chain_id: 1, transaction: hash_of(transaction), subject: Uuid::from_u128(7) };
    assert_eq!(watch(&mut tx, &new, 10_000).await.expect("stored"), WatchOutcome::Watched);
    tx.commit().await.expect("a commit");
}

async fn watched(database: &Database) -> i64 {
    let count = sqlx::query_scalar("select count(*) from watched_transactions").fetch_one(database.pool());
    count.await.expect("a count")
}

#[tokio::test]
async fn a_transaction_is_followed_through_a_reorg_and_restarts() {
    let (database, model, reported) = (migrated().await, Model::default(), Reported::default());
    model.mine(0, &[]);
    follow(&database, 1).await;
    // A new follower each time: nothing is kept in memory.
    let look = async || follower(&database, &model, &reported).round().await.expect("a round");
    assert_eq!(look().await, 0, "no node knows it yet");
    model.submit(1);
    assert_eq!(look().await, 0);
    model.mine(0, &[(1, true)]);
    assert_eq!((look().await, look().await), (1, 0));
    model.mine(0, &[]);
    model.mine(0, &[]);
    assert_eq!(look().await, 1);
    model.drop_top(3);
    model.mine(1, &[]);
    model.submit(1);
    assert_eq!((look().await, look().await), (1, 0), "out");
    model.mine(1, &[(1, false)]);
    assert_eq!(look().await, 1, "in again");
    for _ in 0..FINAL {
        model.mine(1, &[]);
        look().await;
    }
    use WatchState::{Mined, Reverted, Succeeded, Waiting};
    assert_eq!(reported.states(1), [Mined, Succeeded, Waiting, Mined, Reverted]);
    assert_eq!(watched(&database).await, 0, "it is final");
}

#[tokio::test]
async fn a_replaced_transaction_comes_back_with_a_reorg() {
    let (database, model, reported) = (migrated().await, Model::default(), Reported::default());
    model.mine(0, &[]);
    model.submit(1);
    follow(&database, 1).await;
    let look = async || follower(&database, &model, &reported).round().await.expect("a round");
    look().await;
    model.forget(1);
    model.mine(0, &[(101, true)]);
    assert_eq!((look().await, look().await), (0, 0), "the other one is not confirmed");
    model.mine(0, &[]);
    model.mine(0, &[]);
    assert_eq!((look().await, look().await, look().await), (0, 1, 0));
    model.drop_top(3);
    model.mine(1, &[(1, true)]);
    model.mine(1, &[]);
    model.mine(1, &[]);
    look().await;
    assert_eq!(reported.states(1), [WatchState::Replaced, WatchState::Succeeded]);
}

#[tokio::test]
async fn a_transaction_no_node_knows_times_out_and_completes_late() {
    let (database, model, reported) = (migrated().await, Model::default(), Reported::default());
    model.mine(0, &[]);
    follow(&database, 1).await;
    let look = async || follower(&database, &model, &reported).round().await.expect("a round");
    look().await;
    let sql = "update watched_transactions set known_at = now() - interval '601 seconds'";
    sqlx::query(sql).execute(database.pool()).await.expect("a row");
    assert_eq!(look().await, 1);
    for _ in 0..3 {
        model.mine(0, &[(1, true)]);
    }
    assert_eq!(look().await, 0, "what has timed out is looked at once a minute");
    let sql = "update watched_transactions set checked_at = now() - interval '61 seconds'";
    sqlx::query(sql).execute(database.pool()).await.expect("a row");
    assert_eq!(look().await, 1);
    assert_eq!(reported.states(1), [WatchState::TimedOut, WatchState::Succeeded]);
}

#[tokio::test]
async fn an_open_activity_with_a_transaction_is_followed_from_its_row() {
    let (database, model, reported) = (migrated().await, Model::default(), Reported::default());
    model.mine(0, &[]);
    for (transaction, closed) in [(1, "null"), (2, "'caller'")] {
        let status = if closed == "null" { "pending" } else { "completed" };
        let sql = format!(
            "insert into activities (id, user_id, type, status, title, chain_id, tx_hash, closed_by, created_at, updated_at) \
             values (gen_random_uuid(), '7', 'send', '{status}', 'Send', 1, '\\x{:x}', {closed}, now(), now())",
            hash_of(transaction)
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(database.pool()).await.expect("a row");
    }
    model.mine(0, &[(1, true), (2, true)]);
    let look = async || follower(&database, &model, &reported).round().await.expect("a round");
    assert_eq!((look().await, look().await), (1, 0));
    assert_eq!((reported.states(1), reported.states(2)), (vec![WatchState::Mined], vec![]));
}

#[tokio::test]
async fn a_change_that_is_not_committed_is_not_counted() {
    let (database, model, reported) = (migrated().await, Model::default(), Reported::default());
    model.mine(0, &[]);
    follow(&database, 1).await;
    model.mine(0, &[(1, true)]);
    let refuse = r"
        create function refuse() returns trigger language plpgsql as $$ begin raise exception 'the gate is closed'; end $$;
        create constraint trigger refuse after update on watched_transactions deferrable initially deferred
            for each row execute function refuse()
    ";
    sqlx::raw_sql(refuse).execute(database.pool()).await.expect("a trigger");
    assert!(follower(&database, &model, &reported).round().await.is_err());
    assert_eq!(reported.states(1), []);
    sqlx::raw_sql("drop trigger refuse on watched_transactions")
        .execute(database.pool())
        .await
        .expect("gone");
    assert_eq!(follower(&database, &model, &reported).round().await, Ok(1));
    assert_eq!(reported.states(1), [WatchState::Mined]);
}

#[tokio::test]
async fn many_transactions_take_one_batch_each_round() {
    let (database, model, reported) = (migrated().await, Model::default(), Reported::default());
    model.mine(0, &[]);
    for transaction in 1..=30 {
        follow(&database, transaction).await;
    }
    let all: Vec<(u8, bool)> = (1..=30).map(|transaction| (transaction, true)).collect();
    model.mine(0, &all);
    let settings = settings(10, Duration::from_secs(600));
    let follower = Follower::new(&database, settings, model.clone(), reported.clone());
    for _ in 0..3 {
        assert_eq!(follower.round().await, Ok(10));
    }
    assert_eq!(follower.round().await, Ok(0));
    let mut tx = transaction::begin(database.pool()).await.expect("a transaction");
    let new = NewWatch { chain_id: 1, transaction: hash_of(99), subject: Uuid::from_u128(7) };
    assert_eq!(watch(&mut tx, &new, 30).await.expect("an answer"), WatchOutcome::Full);
    let known = NewWatch { transaction: hash_of(1), ..new };
    assert_eq!(watch(&mut tx, &known, 30).await.expect("an answer"), WatchOutcome::Watched);
}

#[tokio::test]
async fn two_followers_at_once_report_each_change_once() {
    let (database, model, reported) = (migrated().await, Model::default(), Reported::default());
    model.mine(0, &[]);
    for transaction in 1..=20 {
        follow(&database, transaction).await;
    }
    let all: Vec<(u8, bool)> = (1..=20).map(|transaction| (transaction, transaction % 2 == 0)).collect();
    model.mine(0, &all);
    for _ in 0..4 {
        let (one, other) = (follower(&database, &model, &reported), follower(&database, &model, &reported));
        let (one, other) = tokio::join!(one.round(), other.round());
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
        model.mine(0, &[]);
    }
    for transaction in 1..=20 {
        let end = if transaction % 2 == 0 { WatchState::Succeeded } else { WatchState::Reverted };
        assert_eq!(reported.states(transaction), [WatchState::Mined, end], "{transaction}");
    }
}

/// Something that happens on a chain.
#[derive(Clone, Debug)]
enum Happening {
    Mine(Vec<(u8, bool)>),
    Reorg(usize, Vec<Vec<(u8, bool)>>),
    Submit(u8),
    Forget(u8),
    Look,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let transaction = || prop_oneof![1u8..4, 101u8..104];
    let block = move || proptest::collection::vec((transaction(), any::<bool>()), 0..3);
    let one = prop_oneof![
        3 => block().prop_map(Happening::Mine),
        1 => (1usize..5, proptest::collection::vec(block(), 1..6)).prop_map(|(depth, blocks)| Happening::Reorg(depth, blocks)),
        1 => transaction().prop_map(Happening::Submit),
        1 => transaction().prop_map(Happening::Forget),
        4 => Just(Happening::Look),
    ];
    proptest::collection::vec(one, 1..40)
}

/// A nonce is used once.
fn valid(model: &Model, block: &[(u8, bool)]) -> Vec<(u8, bool)> {
    let mut taken: Vec<u8> = Vec::new();
    let mut is_free = |transaction: u8| {
        let account = transaction % 100;
        let is_free = !taken.contains(&account) && !model.has(account) && !model.has(account + 100);
        taken.push(account);
        is_free
    };
    block.iter().copied().filter(|(transaction, _)| is_free(*transaction)).collect()
}

#[test]
fn random_reorgs_end_with_states_of_the_surviving_chain() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let database = runtime.block_on(migrated());
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&happenings(), |happenings| {
        runtime.block_on(random_life(&database, happenings));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn random_life(database: &Database, happenings: Vec<Happening>) {
    sqlx::query("delete from watched_transactions").execute(database.pool()).await.expect("rows");
    let (model, reported) = (Model::default(), Reported::default());
    model.mine(0, &[]);
    for transaction in 1..4 {
        follow(database, transaction).await;
    }
    let look = async || follower(database, &model, &reported).round().await.expect("a round");
    let mut branch = 0;
    for happening in happenings {
        match happening {
            Happening::Mine(block) => model.mine(branch, &valid(&model, &block)),
            Happening::Reorg(depth, blocks) => {
                branch += 1;
                model.drop_top(depth);
                blocks.iter().for_each(|block| model.mine(branch, &valid(&model, block)));
                // Never shorter than before: two reorgs in a row would reach what is final.
                (blocks.len()..depth).for_each(|_| model.mine(branch, &[]));
            }
            Happening::Submit(transaction) => model.submit(transaction),
            Happening::Forget(transaction) => model.forget(transaction),
            Happening::Look => {
                look().await;
            }
        }
    }
    // Reorgs above are no deeper than what is final, so what is over is right.
    for _ in 0..FINAL + 3 {
        look().await;
        model.mine(branch, &[]);
    }
    look().await;
    for transaction in 1..4 {
        let expected = match model.place(transaction) {
            Some(SeenReceipt { succeeded: true, .. }) => WatchState::Succeeded,
            Some(SeenReceipt { succeeded: false, .. }) => WatchState::Reverted,
            None => WatchState::Waiting,
        };
        let reported = reported.states(transaction);
        let last = reported.last().copied().unwrap_or(WatchState::Waiting);
        // Of a transaction that no node ever knew, a replacement cannot be seen.
        let is_replaced = last == WatchState::Replaced && model.has(transaction + 100);
        assert!(
            last == expected || (is_replaced && expected == WatchState::Waiting),
            "{transaction}: {reported:?}"
        );
        assert!(
            reported.windows(2).all(|pair| pair[0] != pair[1]),
            "each change is reported once: {reported:?}"
        );
    }
}
