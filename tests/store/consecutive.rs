//! Tokens that one event mints or moves (ERC-2309): the owner of each is the one on the chain, through reorgs.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use chainflume_devchain::{Action, CONSECUTIVE_TRANSFER, RawLog, Settings, TRANSFER};

use crate::daemon::Home;
use crate::scene::Scene;

const NFT: Address = Address::repeat_byte(0xdd);
const ALICE: Address = Address::with_last_byte(1);
const BOB: Address = Address::with_last_byte(2);

fn nft(keys: &str) -> String {
    format!(
        "[[source]]\nname = \"nft\"\nchain = \"dev\"\nfamily = \"erc721\"\naddress = \"{NFT}\"\nstart_block = 0\npublish_from = \"start\"\n{keys}"
    )
}

fn range(first: U256, last: U256, (from, to): (Address, Address)) -> Action {
    let topics = [CONSECUTIVE_TRANSFER, B256::from(first), from.into_word(), to.into_word()];
    Action::Raw(Box::new(RawLog::new(NFT, &topics, &last.to_be_bytes::<32>())))
}

fn batch(first: u64, last: u64, parties: (Address, Address)) -> Action {
    range(U256::from(first), U256::from(last), parties)
}

fn transfer(token: u64, (from, to): (Address, Address)) -> Action {
    let topics = [TRANSFER, from.into_word(), to.into_word(), B256::from(U256::from(token))];
    Action::Raw(Box::new(RawLog::new(NFT, &topics, &[])))
}

async fn scene() -> Scene {
    Scene::of(Settings { history: 0, ..Default::default() }).await
}

async fn texts(scene: &Scene, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(&scene.pool).await.expect("reads")
}

/// Each run of tokens with one owner.
async fn owners(scene: &Scene) -> Vec<String> {
    let sql = "select concat(min(token_id), '-', max(token_id), ' ', get_byte(owner, 19)) from \
        (select token_id, owner, token_id - row_number() over (partition by owner order by token_id) as run from nft_owners) t \
        group by owner, run order by min(token_id)";
    texts(scene, sql).await
}

const MINT: (Address, Address) = (Address::ZERO, ALICE);

#[tokio::test(flavor = "multi_thread")]
async fn each_token_of_a_batch_has_an_owner_and_leaves_with_its_block() {
    let scene = scene().await;
    let flume = scene.start_with("", &nft("")).await;
    scene.change(|chain| {
        chain.mine_with(vec![
            vec![batch(0, 4, (BOB, ALICE))],
            vec![transfer(3, (ALICE, BOB))],
            vec![batch(1, 1, (ALICE, Address::ZERO))],
            vec![],
            vec![],
        ]);
    });
    flume.until_tip("dev", 3).await;
    assert_eq!(owners(&scene).await, ["0-0 1", "2-2 1", "3-3 2", "4-4 1"]);
    let messages = "select concat_ws(' ', message::jsonb->>'type', message::jsonb->>'state', message::jsonb->'payload'->>'toTokenId') \
        from outbox order by seq";
    let confirmed = [
        "erc721.consecutive_transfer confirmed 4",
        "erc721.transfer confirmed",
        "erc721.consecutive_transfer confirmed 1",
    ];
    assert_eq!(texts(&scene, messages).await, confirmed);
    let view = "select concat_ws(' ', from_token_id, to_token_id) from nft_consecutive_transfer order by block_number";
    assert_eq!(texts(&scene, view).await, ["0 4", "1 1"]);
    let room = "select type from outbox where $1 = any(room_keys) order by seq";
    let of_bob: Vec<String> = sqlx::query_scalar(room)
        .bind(chainflume_outbox::room_key(&format!("{BOB:#x}")))
        .fetch_all(&scene.pool)
        .await
        .expect("reads");
    assert_eq!(of_bob, ["erc721.consecutive_transfer", "erc721.transfer"], "both parties of a range have it");
    // The burn leaves the chain, then the transfer, and then the batch itself.
    for (depth, length, left) in
        [(3, 4, vec!["0-2 1", "3-3 2", "4-4 1"]), (5, 6, vec!["0-4 1"]), (7, 8, vec![])]
    {
        scene.reorg(depth, length);
        let tip = scene.chain.head().number - 2;
        flume.until_tip("dev", tip).await;
        assert_eq!(owners(&scene).await, left);
    }
    let retracted = [
        "erc721.consecutive_transfer retracted 1",
        "erc721.transfer retracted",
        "erc721.consecutive_transfer retracted 4",
    ];
    assert_eq!(texts(&scene, messages).await, [confirmed, retracted].concat());
    flume.stop().await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_is_too_long_leaves_the_rest_of_its_block_stored() {
    let scene = scene().await;
    let flume = scene.start_with("", &nft("")).await;
    let huge = range(U256::ZERO, U256::MAX >> 1, MINT);
    scene.change(|chain| {
        chain.mine_with(vec![
            vec![batch(5, 10_004, MINT), huge, transfer(7, (ALICE, BOB)), batch(9, 8, MINT)],
            vec![],
            vec![],
        ]);
    });
    flume.until_tip("dev", 1).await;
    assert_eq!(owners(&scene).await, ["5-6 1", "7-7 2", "8-10004 1"]);
    let reasons = texts(&scene, "select reason from dead_letters order by id").await;
    let too_long = format!(
        "its tokens 0 to {} are more than the limit of 10000: they have no owner here until their first Transfer",
        U256::MAX >> 1
    );
    assert_eq!(reasons, [&too_long, "its last token is below its first token"]);
    flume.stop().await;
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_added_later_gives_its_tokens_their_owners() {
    let scene = scene().await;
    scene.change(|chain| {
        chain.mine_with(vec![
            vec![batch(0, 4_999, MINT)],
            vec![transfer(3, (ALICE, BOB)), transfer(4, (ALICE, BOB))],
            vec![transfer(4, (BOB, Address::ZERO))],
            vec![],
            vec![],
        ]);
    });
    let flume = scene.start_with("", &nft("events = [\"Transfer\"]\n")).await;
    flume.until_tip("dev", 3).await;
    flume.stop().await;
    assert_eq!(owners(&scene).await, ["3-3 2"]);
    let flume = scene.start_with("", &nft("")).await;
    flume.until_tip("dev", 3).await;
    flume.until("dev", "has read the past", |chain| chain.sources[0].unread.is_none()).await;
    flume.stop().await;
    assert_eq!(owners(&scene).await, ["0-2 1", "3-3 2", "5-4999 1"]);
    scene.equals_fresh_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_reads_each_of_many_ranges_once() {
    let scene = scene().await;
    let flume = scene.start_with("", &nft("")).await;
    let each = |parties| (0..1_000).map(|token| batch(token, token, parties)).collect::<Vec<_>>();
    scene.change(|chain| {
        chain.mine_with(vec![each(MINT), each((ALICE, BOB)), vec![], vec![]]);
    });
    flume.until_tip("dev", 2).await;
    assert_eq!(owners(&scene).await, ["0-999 2"]);
    scene.reorg(3, 4);
    flume.until_tip("dev", scene.chain.head().number - 2).await;
    assert_eq!(owners(&scene).await, ["0-999 1"]);
    // Connections report what they read when they end.
    flume.stop().await;
    let read =
        "select idx_tup_read::text from pg_stat_user_indexes where indexrelname = 'events_owner_range_idx'";
    let read: Vec<u64> =
        texts(&scene, read).await.iter().map(|read| read.parse().expect("a number")).collect();
    assert!((1_000..3_000).contains(&read[0]), "{read:?} entries of the index were read");
    scene.equals_fresh_sync().await;
}

/// Counts the rows that each statement changes.
const COUNTED: &str = "
    create table changed (number bigint generated always as identity, tokens bigint not null);
    create function count_tokens() returns trigger language plpgsql as
        $$ begin insert into changed (tokens) select count(*) from of_statement; return null; end $$;
    create trigger inserted after insert on nft_owners referencing new table as of_statement
        for each statement execute function count_tokens();
    create trigger updated after update on nft_owners referencing new table as of_statement
        for each statement execute function count_tokens();
    create trigger deleted after delete on nft_owners referencing old table as of_statement
        for each statement execute function count_tokens();";

#[tokio::test(flavor = "multi_thread")]
async fn many_ranges_of_a_block_are_changed_by_bounded_statements() {
    let scene = scene().await;
    let flume = scene.start_with("", &nft("")).await;
    scene.change(|chain| chain.mine_empty(3));
    flume.until_tip("dev", 1).await;
    sqlx::raw_sql(COUNTED).execute(&scene.pool).await.expect("made");
    let ranges = |count: u64, parties| {
        (0..count).map(|n| batch(n * 10_000, n * 10_000 + 9_999, parties)).collect::<Vec<_>>()
    };
    let changed = async || {
        let all = "select tokens::text from changed where tokens > 0 order by number";
        let all = texts(&scene, all).await;
        sqlx::raw_sql("truncate changed").execute(&scene.pool).await.expect("emptied");
        all
    };
    for (actions, statements, left) in [
        (ranges(7, MINT), &["20000", "20000", "20000", "10000"][..], vec!["0-69999 1"]),
        (ranges(3, (ALICE, BOB)), &["20000", "10000"], vec!["0-29999 2", "30000-69999 1"]),
    ] {
        let head = scene.change(|chain| chain.mine_with(vec![actions, vec![], vec![]]).number);
        flume.until_tip("dev", head - 2).await;
        assert_eq!((changed().await, owners(&scene).await), (owned(statements), owned(&left)));
    }
    // The way back: the newest of them, and then the first.
    for (depth, statements, left) in
        [(3, &["20000", "10000"][..], vec!["0-69999 1"]), (7, &["20000", "20000", "20000", "10000"], vec![])]
    {
        scene.reorg(depth, depth + 1);
        flume.until_tip("dev", scene.chain.head().number - 2).await;
        assert_eq!((changed().await, owners(&scene).await), (owned(statements), owned(&left)));
    }
    flume.stop().await;
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Rows as a version stored them that did not know the event, where the ABI had it.
const WITHOUT_MEANING: &str = "
    update event_kinds set type = 'contract.ConsecutiveTransfer', projection = 'none' where event = 'ConsecutiveTransfer';
    update events set projection = 'n', account = null, counterparty = null, token_id = null,
        args = jsonb_build_object('fromTokenId', token_id::text, 'toTokenId', args ->> 'toTokenId',
            'fromAddress', '0x' || encode(account, 'hex'), 'toAddress', '0x' || encode(counterparty, 'hex'))
        where projection = 'r';
    delete from nft_owners where token_id <> 3;";

#[tokio::test(flavor = "multi_thread")]
async fn events_stored_without_their_meaning_count_after_a_repair() {
    let scene = scene().await;
    scene.change(|chain| {
        chain.mine_with(vec![vec![batch(0, 4, MINT)], vec![transfer(3, (ALICE, BOB))], vec![]]);
        chain.mine_empty(40)
    });
    let home = Home::new(&scene.server, &nft(""), Some(&scene.url));
    let daemon = home.start();
    daemon.until_tip(41).await;
    daemon.stop_well().await;
    assert!(home.run(&["verify"]).await.fine().contains("2 events agree"));
    sqlx::raw_sql(WITHOUT_MEANING).execute(&scene.pool).await.expect("written");
    assert_eq!(owners(&scene).await, ["3-3 2"]);
    assert!(home.run(&["verify"]).await.error(1).starts_with("stored events differ from the chain"));
    home.run(&["verify", "--repair", "--source", "nft"]).await.fine();
    assert_eq!(owners(&scene).await, ["0-2 1", "3-3 2", "4-4 1"]);
    assert!(home.run(&["verify"]).await.fine().contains("2 events agree"));
}

/// Random batches and transfers of few tokens, through random reorgs and restarts: the owners are the chain's.
#[tokio::test(flavor = "multi_thread")]
async fn any_batches_and_transfers_give_the_owners_of_the_chain() {
    let mut random = crate::random::Random::new(crate::random::seed("consecutive"));
    let scene = scene().await;
    // The blocks of the chain, each with the tokens that it moves.
    type Moves = Vec<(std::ops::RangeInclusive<u64>, Address)>;
    let mut blocks: Vec<Moves> = Vec::new();
    let mut flume = scene.start_with("", &nft("")).await;
    for _ in 0..25 {
        let depth = random.below(6).min(blocks.len() as u64);
        blocks.truncate(blocks.len() - usize::try_from(depth).expect("small"));
        let mut new = Vec::new();
        for _ in 0..=depth {
            let (mut actions, mut moves) = (Vec::new(), Moves::new());
            for _ in 0..random.between(1, 3) {
                let who = |n: u64| Address::with_last_byte(u8::try_from(n).expect("small"));
                let parties = (who(random.below(3)), who(random.below(4)));
                let first = random.below(10);
                let last = first + if random.percent(50) { random.below(8) } else { 0 };
                let single = last == first && random.percent(80);
                actions.push(if single { transfer(first, parties) } else { batch(first, last, parties) });
                moves.push((first..=last, parties.1));
            }
            new.push(actions);
            blocks.push(moves);
        }
        scene.change(|chain| match depth {
            0 => {
                chain.mine_with(new);
            }
            depth => {
                let sign =
                    |actions: Vec<Action>| actions.into_iter().map(|action| chain.sign(action)).collect();
                let blocks: Vec<_> = new.into_iter().map(sign).collect();
                chain.reorg_with(depth, &blocks);
            }
        });
        if random.percent(15) {
            flume.stop().await;
            flume = scene.start_with("", &nft("")).await;
        }
    }
    scene.change(|chain| chain.mine_with(vec![Vec::<Action>::new(), Vec::new()]));
    flume.until_tip("dev", scene.chain.head().number - 2).await;
    flume.stop().await;
    let mut expected = BTreeMap::<u64, Address>::new();
    for (tokens, owner) in blocks.into_iter().flatten() {
        for token in tokens {
            match owner {
                Address::ZERO => drop(expected.remove(&token)),
                owner => drop(expected.insert(token, owner)),
            }
        }
    }
    let expected: Vec<String> =
        expected.into_iter().map(|(token, owner)| format!("{token} {}", owner.0[19])).collect();
    let stored = "select concat_ws(' ', token_id, get_byte(owner, 19)) from nft_owners order by token_id";
    assert_eq!(texts(&scene, stored).await, expected);
    scene.equals_fresh_sync().await;
}
