//! Tokens that mint and burn by other events than a Transfer: balances are those on the chain, through reorgs.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256, keccak256};
use chainflume_core::domain::Topics;
use chainflume_devchain::{Action, RawLog, Settings};

use crate::random::{self, Random};
use crate::scene::Scene;

const WRAPPED: Address = Address::repeat_byte(0xcc);
const ALICE: Address = Address::with_last_byte(1);
const BOB: Address = Address::with_last_byte(2);

fn wrapped(keys: &str) -> String {
    format!(
        "[[source]]\nname = \"wrapped\"\nchain = \"dev\"\nfamily = \"erc20\"\naddress = \"{WRAPPED}\"\nstart_block = 0\npublish_from = \"start\"\n{keys}"
    )
}

const SUPPLY: &str = "mints = [\"event Deposit(address indexed dst, uint256 wad)\"]\n\
                      burns = [\"event Withdrawal(address indexed src, uint256 wad)\"]\n";

fn supply(event: &str, who: Address, amount: u64) -> Action {
    let topics = [keccak256(event), who.into_word()];
    Action::Raw(Box::new(RawLog {
        address: WRAPPED,
        topics: Topics::new(&topics).expect("two"),
        data: U256::from(amount).to_be_bytes_vec().into(),
    }))
}

fn deposit(who: Address, amount: u64) -> Action {
    supply("Deposit(address,uint256)", who, amount)
}

fn withdrawal(who: Address, amount: u64) -> Action {
    supply("Withdrawal(address,uint256)", who, amount)
}

fn transfer(from: Address, to: Address, amount: u64) -> Action {
    let transfer = Action::Erc20Transfer { from, to, amount: U256::from(amount) };
    Action::Raw(Box::new(RawLog { address: WRAPPED, ..transfer.log() }))
}

async fn balances(scene: &Scene) -> Vec<(u8, String)> {
    let rows: Vec<(Vec<u8>, String)> =
        sqlx::query_as("select account, balance::text from token_balances where token = $1 order by 1")
            .bind(WRAPPED.as_slice())
            .fetch_all(&scene.pool)
            .await
            .expect("reads");
    rows.into_iter().map(|(account, balance)| (account[19], balance)).collect()
}

async fn texts(scene: &Scene, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&scene.pool).await.expect("reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn deposits_and_withdrawals_count_and_leave_with_their_block() {
    let scene = Scene::of(Settings { history: 0, ..Default::default() }).await;
    let flume = scene.start_with("", &wrapped(SUPPLY)).await;
    scene.change(|chain| {
        chain.mine_with(vec![
            vec![deposit(ALICE, 1000)],
            vec![transfer(ALICE, BOB, 400)],
            vec![withdrawal(ALICE, 600)],
            vec![],
            vec![],
        ]);
    });
    flume.until_tip("dev", 3).await;
    assert_eq!(balances(&scene).await, [(1, "0".to_owned()), (2, "400".to_owned())]);
    let types = "select message::jsonb->>'type' from outbox where message::jsonb->>'state' = 'confirmed' and type not like 'user.%' order by seq";
    assert_eq!(texts(&scene, types).await, ["erc20.mint", "erc20.transfer", "erc20.burn"]);
    // The withdrawal leaves the chain, and then the transfer.
    scene.reorg(3, 4);
    flume.until_tip("dev", 4).await;
    assert_eq!(balances(&scene).await, [(1, "600".to_owned()), (2, "400".to_owned())]);
    scene.reorg(5, 7);
    flume.until_tip("dev", 6).await;
    assert_eq!(balances(&scene).await, [(1, "1000".to_owned())]);
    flume.stop().await;
    scene.equals_fresh_sync().await;
    let rows = "select concat_ws(' ', dst, wad) from wrapped_deposit";
    assert_eq!(texts(&scene, rows).await, [format!("\\x{ALICE:x} 1000").replace("\\x0x", "\\x")]);
}

/// Random deposits, transfers and withdrawals, through random reorgs: the balances are the chain's.
#[tokio::test(flavor = "multi_thread")]
async fn any_row_of_supply_changes_gives_the_balances_of_the_chain() {
    let mut random = Random::new(random::seed("supply"));
    let scene = Scene::of(Settings { history: 0, ..Default::default() }).await;
    // The blocks of the chain, each with what it changes.
    let mut blocks: Vec<BTreeMap<u8, i64>> = Vec::new();
    let flume = scene.start_with("", &wrapped(SUPPLY)).await;
    for _ in 0..25 {
        let depth = random.below(6).min(blocks.len() as u64);
        blocks.truncate(blocks.len() - usize::try_from(depth).expect("small"));
        let mut new = Vec::new();
        for _ in 0..=depth {
            let (who, other) = (random.between(1, 4), random.between(1, 4));
            let amount = random.between(1, 500);
            let (address, receiver) = (
                Address::with_last_byte(u8::try_from(who).expect("small")),
                Address::with_last_byte(u8::try_from(other).expect("small")),
            );
            let mut changes = BTreeMap::<u8, i64>::new();
            let mut change = |who: Address, by: i64| *changes.entry(who.0[19]).or_default() += by;
            let signed = i64::try_from(amount).expect("small");
            let action = match random.below(3) {
                0 => {
                    change(address, signed);
                    deposit(address, amount)
                }
                1 => {
                    change(address, -signed);
                    withdrawal(address, amount)
                }
                _ => {
                    change(address, -signed);
                    change(receiver, signed);
                    transfer(address, receiver, amount)
                }
            };
            new.push(vec![action]);
            blocks.push(changes);
        }
        scene.change(|chain| match depth {
            0 => {
                chain.mine_with(new);
            }
            depth => {
                let blocks: Vec<_> = new
                    .into_iter()
                    .map(|calls| calls.into_iter().map(|call| chain.sign(call)).collect())
                    .collect();
                chain.reorg_with(depth, &blocks);
            }
        });
    }
    scene.change(|chain| chain.mine_with(vec![Vec::<Action>::new(), Vec::new()]));
    flume.until_tip("dev", scene.chain.head().number - 2).await;
    flume.stop().await;
    let mut expected = BTreeMap::<u8, i64>::new();
    blocks.iter().flatten().for_each(|(who, by)| *expected.entry(*who).or_default() += by);
    let expected: Vec<(u8, String)> = expected.into_iter().map(|(who, sum)| (who, sum.to_string())).collect();
    assert_eq!(balances(&scene).await, expected);
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_stored_before_they_counted_are_named() {
    let scene = Scene::of(Settings { history: 0, ..Default::default() }).await;
    scene.change(|chain| {
        chain.mine_with(vec![vec![deposit(ALICE, 1000)], vec![transfer(ALICE, BOB, 400)], vec![], vec![]])
    });
    let events = "events = [\"event Deposit(address indexed dst, uint256 wad)\", \"event Transfer(address indexed from, address indexed to, uint256 value)\"]\n";
    let flume = scene.start_with("", &wrapped(events)).await;
    flume.until_tip("dev", 2).await;
    flume.stop().await;
    assert_eq!(balances(&scene).await, [(1, "-400".to_owned()), (2, "400".to_owned())]);
    let flume = scene.start_with("", &wrapped(&format!("{events}mints = [\"Deposit\"]\n"))).await;
    flume.until_tip("dev", 2).await;
    let notes = flume.chain("dev").sources[0].notes.clone();
    flume.stop().await;
    assert!(notes[0].contains("`chainflume sources reset wrapped`"), "{notes:?}");
}
