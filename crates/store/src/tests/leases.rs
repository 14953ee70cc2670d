use std::time::Duration;

use super::fixture::*;
use crate::{Backfill, ChainStore, Pending, ProvenBlocks, Rewind, Store};
use chainflume_core::domain::BlockRange;
use chainflume_db::{Epoch, LeaseClaim, LeaseName, LeaseSession, LeaseState, StoreError};
use chainflume_outbox::RoundOutcome;

const LONG: Duration = Duration::from_secs(60);

fn lease() -> LeaseName {
    LeaseName::chain(CHAIN)
}

/// A session that has registered itself.
async fn session(store: &Store, holder: &str, length: Duration) -> LeaseSession {
    let mut session = store.lease_session(holder.to_owned(), length);
    session.renew(&[lease().to_string()], &[]).await.expect("renews");
    session
}

async fn seen(session: &mut LeaseSession) -> (String, u64, LeaseState) {
    let lease = session.table().await.expect("reads").leases.remove(0);
    (lease.holder, lease.epoch.number(), lease.state)
}

/// Takes the lease for `b` from `a`, who has it at epoch 1.
async fn replace(b: &mut LeaseSession) -> Epoch {
    b.take(&LeaseClaim::orphaned(lease(), 1)).await.expect("answers").expect("it is taken")
}

async fn until_seen(session: &mut LeaseSession, state: LeaseState) {
    let seen = async {
        while seen(session).await.2 != state {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the lease gets into the state");
}

#[tokio::test]
async fn of_many_who_want_a_lease_one_gets_it() {
    let store = store().await;
    let mut taking = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        taking.spawn(async move {
            let mut session = session(&store, &format!("i{n}"), LONG).await;
            session.take(&LeaseClaim::free(lease(), 0)).await.expect("answers")
        });
    }
    let taken = taking.join_all().await;
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), [&Epoch::of(1)]);
}

#[tokio::test]
async fn a_lease_is_held_until_its_end_or_until_it_is_given_back() {
    let store = store().await;
    let (mut a, mut b) =
        (session(&store, "a", Duration::from_millis(300)).await, session(&store, "b", LONG).await);
    let first = a.take(&LeaseClaim::free(lease(), 0)).await.expect("answers").expect("it is free");
    assert_eq!(b.take(&LeaseClaim::free(lease(), 1)).await.expect("answers"), None, "it is held");
    until_seen(&mut b, LeaseState::Free).await;
    assert_eq!(a.renew(&[], &[(lease(), first)]).await.expect("renews"), [lease()], "no instance took it");
    assert_eq!(seen(&mut b).await, ("a".to_owned(), 1, LeaseState::Held));
    a.release(&lease(), first).await.expect("gives back");
    let second = b.take(&LeaseClaim::free(lease(), 1)).await.expect("answers").expect("it is free");
    assert_eq!(second.number(), 2);
    assert!(a.renew(&[], &[(lease(), first)]).await.expect("renews").is_empty(), "it is another's");
    a.release(&lease(), first).await.expect("does nothing");
    assert_eq!(seen(&mut a).await, ("b".to_owned(), 2, LeaseState::Held));
}

#[tokio::test]
async fn a_holder_whose_session_is_gone_is_seen_to_be_gone() {
    let store = store().await;
    let mut watcher = session(&store, "b", LONG).await;
    let mut gone = session(&store, "a", LONG).await;
    gone.take(&LeaseClaim::free(lease(), 0)).await.expect("answers").expect("it is free");
    assert_eq!(seen(&mut watcher).await.2, LeaseState::Held);
    assert_eq!(watcher.table().await.expect("reads").instances.len(), 2);
    drop(gone);
    until_seen(&mut watcher, LeaseState::Orphaned).await;
    let table = watcher.table().await.expect("reads");
    assert_eq!(table.instances.iter().map(|i| i.holder.as_str()).collect::<Vec<_>>(), ["b"]);
    watcher.leave().await.expect("leaves");
    assert_eq!(texts(&store, "select holder from instances").await, ["a"]);
}

async fn led(store: &Store, session: &mut LeaseSession, seen: u64) -> ChainStore {
    let claim = if seen > 0 { LeaseClaim::orphaned } else { LeaseClaim::free };
    let epoch = session.take(&claim(lease(), seen)).await.expect("answers").expect("it is free");
    open(store).await.as_leader(epoch).await.expect("leads")
}

#[tokio::test]
async fn a_writer_without_its_lease_commits_nothing() {
    let store = store().await;
    let (mut a, mut b) = (session(&store, "a", LONG).await, session(&store, "b", LONG).await);
    let old = led(&store, &mut a, 0).await;
    let (one, two) = (block(1, 0), block(2, 0));
    advance(&old, None, one, vec![event(one, 0, staked(1, 1))]).await.expect("leads");
    replace(&mut b).await;
    let before = dump(&store).await;

    let fenced = |error: StoreError| assert!(error.is_fenced() && !error.is_transient(), "{error}");
    // Whatever it would write, it is right by the checkpoints.
    fenced(advance(&old, Some(one), two, vec![event(two, 0, staked(1, 1))]).await.expect_err("lost"));
    fenced(
        old.rewind(&Rewind { expected: all_at(Some(one)), to: block(0, 0), by_operator: false })
            .await
            .expect_err("lost"),
    );
    let backfill = Backfill {
        source: "vault".to_owned(),
        range: BlockRange::single(1),
        reorgs: 0,
        events: vec![event(one, 1, staked(2, 2))],
        dead_letters: vec![],
    };
    fenced(old.backfill(&backfill).await.expect_err("lost"));
    fenced(old.repair(&backfill, &ProvenBlocks::default()).await.expect_err("lost"));
    let pending = Pending {
        expected: all_at(Some(one)),
        blocks: vec![two],
        events: vec![event(two, 0, staked(1, 1))],
        head: 2,
        seen_at: None,
    };
    fenced(old.publish_pending(&pending).await.expect_err("lost"));
    fenced(old.retract_unfollowed().await.expect_err("lost"));
    fenced(old.decide_by_head(7).await.expect_err("lost"));
    fenced(old.stage(&pending.events).await.expect_err("lost"));
    fenced(old.defer_indexes().await.expect_err("lost"));
    fenced(old.build_indexes().await.expect_err("lost"));
    fenced(open(&store).await.as_leader(Epoch::of(1)).await.expect_err("lost"));
    assert_eq!(dump(&store).await, before);
    // A command has no lease and is fenced by what it read.
    assert_eq!(open(&store).await.backfill(&backfill).await.expect("backfills").missing.len(), 1);
}

#[tokio::test]
async fn blocks_a_leader_wrote_ahead_do_not_hinder_the_next_leader() {
    let store = store().await;
    let (mut a, mut b) = (session(&store, "a", LONG).await, session(&store, "b", LONG).await);
    let old = led(&store, &mut a, 0).await;
    let one = block(1, 0);
    let step = step(None, one, vec![event(one, 0, staked(1, 1))]);
    let staged = old.stage(&step.events).await.expect("leads").expect("a connection is spare");
    let new = led(&store, &mut b, 1).await;
    new.advance(&step).await.expect("it waits for no other session");
    let error = old.advance_staged(&step, Some(staged)).await.expect_err("its session was ended");
    assert!(error.is_transient(), "{error}");
    assert_eq!(texts(&store, "select stake_amount::text from users").await, ["1"]);
}

#[tokio::test]
async fn a_relay_frozen_inside_its_transaction_is_thrown_out() {
    let store = store().await;
    let name = chainflume_db::LeaseName::sink("webhook:crm");
    let (mut a, mut b) = (session(&store, "a", LONG).await, session(&store, "b", LONG).await);
    a.take(&LeaseClaim::free(name.clone(), 0)).await.expect("answers").expect("it is free");
    let mut frozen = store.pool.begin().await.expect("begins");
    // As `settle` begins.
    sqlx::query("select from leases for share").execute(&mut *frozen).await.expect("locks");
    b.take(&LeaseClaim::orphaned(name.clone(), 1)).await.expect("answers").expect("it is taken");
    let error = frozen.commit().await.expect_err("its session was ended");
    assert!(StoreError::from(error).is_transient());
}

#[tokio::test]
async fn a_cursor_is_noted_by_the_leader_of_the_sink() {
    let store = store().await;
    let name = chainflume_db::LeaseName::sink("redis");
    let (mut a, mut b) = (session(&store, "a", LONG).await, session(&store, "b", LONG).await);
    let first = a.take(&LeaseClaim::free(name.clone(), 0)).await.expect("answers").expect("it is free");
    store.outbox().note_sink_cursor("redis", 7, Some(first)).await.expect("leads");
    let second = b.take(&LeaseClaim::orphaned(name.clone(), 1)).await.expect("answers").expect("taken");
    assert!(store.outbox().note_sink_cursor("redis", 3, Some(first)).await.expect_err("lost").is_fenced());
    store.outbox().note_sink_cursor("redis", 8, Some(second)).await.expect("leads");
    assert_eq!(store.outbox().sink_cursor("redis").await.expect("reads"), Some(8));
    let settled = RoundOutcome { cursor: Some(9), ..RoundOutcome::default() };
    assert!(store.outbox().finish_round("redis", &settled, Some(first)).await.expect_err("lost").is_fenced());
    assert_eq!(store.outbox().sink_cursor("redis").await.expect("reads"), Some(8));
    store.outbox().finish_round("redis", &settled, Some(second)).await.expect("leads");
    assert_eq!(store.outbox().sink_cursor("redis").await.expect("reads"), Some(9));
}

#[tokio::test]
async fn a_takeover_waits_for_a_commit_that_is_under_way() {
    let store = store().await;
    let (mut a, mut b) = (session(&store, "a", LONG).await, session(&store, "b", LONG).await);
    let old = led(&store, &mut a, 0).await;
    let mut outside = store.pool.begin().await.expect("begins");
    sqlx::query("lock table events in exclusive mode").execute(&mut *outside).await.expect("locks");
    let one = block(1, 0);
    let commit =
        tokio::spawn(async move { advance(&old, None, one, vec![event(one, 0, staked(1, 1))]).await });
    let waits = "select count(*)::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let waiting = async {
        while texts(&store, waits).await != ["1"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the commit waits for the lock");
    let error =
        b.take(&LeaseClaim::orphaned(lease(), 1)).await.expect_err("a writer that works is not thrown out");
    assert!(error.is_transient(), "{error}");
    assert_eq!(seen(&mut a).await, ("a".to_owned(), 1, LeaseState::Held));
    outside.rollback().await.expect("ends");
    commit.await.expect("runs").expect("commits");
    replace(&mut b).await;
}

#[tokio::test]
async fn a_writer_frozen_inside_its_transaction_is_thrown_out() {
    let store = store().await;
    let (mut a, mut b) = (session(&store, "a", LONG).await, session(&store, "b", LONG).await);
    led(&store, &mut a, 0).await;
    let mut frozen = store.pool.begin().await.expect("begins");
    sqlx::query("select from chains for update").execute(&mut *frozen).await.expect("locks");
    replace(&mut b).await;
    let error = frozen.commit().await.expect_err("its session was ended");
    assert!(StoreError::from(error).is_transient());
}
