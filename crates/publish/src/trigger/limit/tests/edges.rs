//! Where a limit begins and ends: in amounts, in messages and in blocks.

use super::*;

impl Chain {
    /// A reorg takes back what was pending alone: no balance had it.
    async fn retract_pending(&mut self, one: Move) {
        self.seq = sqlx::query_scalar("update outbox_head set seq = seq + 1 returning seq")
            .fetch_one(self.database.pool())
            .await
            .expect("numbered");
        let mut message = message(&one, "retracted", self.seq);
        message["retracts"] = "pending".into();
        sqlx::query(
            "insert into outbox (seq, chain_id, aggregate_type, type, state, message, account) \
             values ($1, 1337, 'token', 'erc20.transfer', 'retracted', $2, $3)",
        )
        .bind(self.seq)
        .bind(message.to_string())
        .bind(one.from.as_slice())
        .execute(self.database.pool())
        .await
        .expect("written");
    }
}

#[test]
fn a_balance_at_the_limit_is_not_beyond_it() {
    let is_beyond = |side, amount: U256, balance: BalanceSum| {
        BalanceLimit { chain_id: 1, token: TOKEN, side, amount }.is_beyond(balance)
    };
    let sum = |balance: i64| BalanceSum::try_from(balance).expect("small");
    for (below, above, balance) in [(true, false, 49), (false, false, 50), (false, true, 51)] {
        let limit = U256::from(50);
        assert_eq!(is_beyond(LimitSide::Below, limit, sum(balance)), below, "{balance}");
        assert_eq!(is_beyond(LimitSide::Above, limit, sum(balance)), above, "{balance}");
    }
    // A balance is below zero where a token changes balances without an event.
    for (below, above, balance) in [(true, false, -1), (false, false, 0), (false, true, 1)] {
        assert_eq!(is_beyond(LimitSide::Below, U256::ZERO, sum(balance)), below, "{balance}");
        assert_eq!(is_beyond(LimitSide::Above, U256::ZERO, sum(balance)), above, "{balance}");
    }
    // Several wallets may have more than the largest limit together.
    let largest = BalanceSum::try_from(alloy_primitives::U512::from(U256::MAX)).expect("it fits");
    assert!(!is_beyond(LimitSide::Above, U256::MAX, largest));
    assert!(is_beyond(LimitSide::Above, U256::MAX, largest + sum(1)));
    assert!(is_beyond(LimitSide::Below, U256::MAX, largest - sum(1)));
}

#[tokio::test]
async fn a_crossing_begins_one_unit_beyond_the_limit() {
    let mut chain = Chain::new().await;
    let low = watch(&chain, vec![threshold(50)]);
    low.begin().await.expect("begins");
    let steps = [gains((1, 0), 51), loses((2, 0), 1), loses((3, 0), 1), gains((4, 0), 1), loses((5, 0), 1)];
    let mut found = Vec::new();
    for step in steps {
        chain.confirm(&[step]).await;
        found.push(low.round().await.expect("judges"));
    }
    assert_eq!(found, [0, 0, 1, 0, 1], "51, 50, 49, 50, 49");
    assert_eq!(chain.published().await, vec![format!("{LOW} confirmed 7 49"); 2]);
}

#[tokio::test]
async fn a_limit_counts_from_the_message_after_it_was_set() {
    let mut chain = Chain::new().await;
    let (watch, alerts) = (watch(&chain, Vec::new()), UserAlerts::of(&chain.database, vec![1337]));
    watch.begin().await.expect("begins");
    chain.confirm(&[gains((1, 0), 100)]).await;
    chain.confirm(&[loses((2, 0), 60)]).await;
    let limit = AlertLimit { chain_id: 1337, token: TOKEN, side: LimitSide::Below, amount: U256::from(30) };
    assert!(alerts.put("7", std::slice::from_ref(&limit)).await.expect("writes"));
    chain.confirm(&[loses((3, 0), 11)]).await;
    assert_eq!(watch.round().await.expect("judges"), 1);
    assert_eq!(chain.published().await, ["alert.triggered confirmed 7 29"]);
    // The same limit, set again, is the one that was there.
    assert!(alerts.put("7", &[limit]).await.expect("writes"));
    chain.confirm(&[gains((4, 0), 1), loses((5, 0), 1)]).await;
    assert_eq!(watch.round().await.expect("judges"), 1);
}

#[tokio::test]
async fn what_was_pending_alone_moves_no_balance() {
    let mut chain = Chain::new().await;
    let low = watch(&chain, vec![threshold(50)]);
    low.begin().await.expect("begins");
    chain.confirm(&[gains((1, 0), 100), loses((2, 0), 60), gains((3, 0), 60)]).await;
    assert_eq!(low.round().await.expect("judges"), 1);
    chain.retract_pending(loses((4, 0), 60)).await;
    chain.confirm(&[loses((4, 1), 70)]).await;
    assert_eq!(low.round().await.expect("judges"), 1, "it falls from 100 to 30");
    assert_eq!(chain.published().await, [40, 30].map(|balance| format!("{LOW} confirmed 7 {balance}")));
}

#[tokio::test]
async fn a_crossing_is_kept_for_as_long_as_a_reorg_may_reach_it() {
    let mut chain = Chain::new().await;
    let low = watch(&chain, vec![threshold(50)]);
    low.begin().await.expect("begins");
    // `reorg_window` is 16 blocks: with a crossing in block 19, block 3 is the lowest that a reorg may undo.
    let all = [loses((2, 0), 60), gains((3, 0), 60), loses((18, 0), 60), gains((19, 0), 60)];
    chain.confirm(&[gains((1, 0), 100)]).await;
    chain.confirm(&all).await;
    low.round().await.expect("judges");
    let kept = async |chain: &Chain| -> Vec<i64> {
        let sql = "select block_number from limit_crossings where block_number is not null order by id";
        sqlx::query_scalar(sql).fetch_all(chain.database.pool()).await.expect("reads")
    };
    assert_eq!(
        kept(&chain).await,
        [2, 3, 18, 19],
        "block 2 has the side on which the balance was below block 3"
    );
    chain.confirm(&[loses((20, 0), 60)]).await;
    low.round().await.expect("judges");
    assert_eq!(kept(&chain).await, [3, 18, 19, 20]);
}
