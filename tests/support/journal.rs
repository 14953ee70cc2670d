//! Records everything that is committed and undone, inside the database: triggers see changes that the final tables no
//! longer show.

use sqlx::postgres::PgPool;

const TRIGGERS: &str = r"
create table journal (
    id bigint generated always as identity primary key,
    tx bigint not null default txid_current(),
    line text not null,
    source text, was bigint, was_hash bytea, now bigint, now_hash bytea,
    number bigint, hash bytea, events bigint
);

create function journal_checkpoint(source text, was source_groups, now source_groups) returns void language plpgsql as $$
declare
    words text;
begin
    if was.id is null then
        words := 'starts, at ' || now.block_number;
    elsif now.id is null then
        words := 'begins anew, was at ' || was.block_number;
    elsif now.block_number < was.block_number then
        words := 'back from ' || was.block_number || ' to ' || now.block_number;
    elsif now.block_number > was.block_number or now.block_hash <> was.block_hash then
        words := 'on from ' || was.block_number || ' to ' || now.block_number;
    end if;
    if words is not null then
        insert into journal (line, source, was, was_hash, now, now_hash)
        values (source || ': ' || words, source, was.block_number, was.block_hash, now.block_number, now.block_hash);
    end if;
end $$;
-- A group moves with all of its sources, or a source to another group.
create function journal_group() returns trigger language plpgsql as $$
declare
    was source_groups := old;
    now source_groups := new;
begin
    perform journal_checkpoint(s.name, was, now) from sources s where s.group_id = new.id order by s.id;
    return null;
end $$;
create trigger journal_group after update on source_groups for each row execute function journal_group();
create function journal_member() returns trigger language plpgsql as $$
declare
    was source_groups;
    now source_groups;
begin
    select * into was from source_groups where id = old.group_id;
    select * into now from source_groups where id = new.group_id;
    perform journal_checkpoint(new.name, was, now);
    return null;
end $$;
create trigger journal_member after update on sources for each row
    when (old.group_id is distinct from new.group_id) execute function journal_member();

create function journal_events() returns trigger language plpgsql as $$
declare
    word text := case tg_op when 'INSERT' then 'stored' else 'undone' end;
    sign int := case tg_op when 'INSERT' then 1 else -1 end;
begin
    insert into journal (line, number, hash, events)
    select word || ' ' || count(*) || ' in ' || block_number || ' of ' || encode(substring(block_hash from 1 for 4), 'hex'),
        block_number, block_hash, sign * count(*)
    from changed group by block_number, block_hash
    order by sign * block_number;
    return null;
end $$;
create trigger journal_events_stored after insert on events
    referencing new table as changed for each statement execute function journal_events();
create trigger journal_events_undone after delete on events
    referencing old table as changed for each statement execute function journal_events();

create function journal_reorg() returns trigger language plpgsql as $$
begin
    insert into journal (line) values ('reorg: ' || new.depth || ' deep, back to ' || new.ancestor_number);
    return null;
end $$;
create trigger journal_reorg after insert on reorgs for each row execute function journal_reorg();
";

/// One entry of the journal.
#[derive(sqlx::FromRow)]
pub struct Entry {
    /// Equal for all entries of one transaction.
    pub tx: i64,
    /// The source whose checkpoint moved; `None` for an entry about events or a reorg.
    pub source: Option<String>,
    /// Its earlier position; `None` if it did not exist.
    pub was: Option<i64>,
    pub was_hash: Option<Vec<u8>>,
    /// Its new position; `None` if it no longer exists.
    pub now: Option<i64>,
    pub now_hash: Option<Vec<u8>>,
    /// A block whose events were stored or undone.
    pub number: Option<i64>,
    pub hash: Option<Vec<u8>>,
    /// Their number; negative for undone events.
    pub events: Option<i64>,
}

/// All entries so far, in the order of their transactions' statements.
pub async fn entries(pool: &PgPool) -> Vec<Entry> {
    sqlx::query_as("select * from journal order by id").fetch_all(pool).await.expect("the journal is there")
}

/// Starts the journal. The schema must exist.
pub async fn install(pool: &PgPool) {
    sqlx::raw_sql(TRIGGERS).execute(pool).await.expect("triggers can be made");
}

/// All lines so far, in the order of their transactions' statements.
pub async fn lines(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select line from journal order by id")
        .fetch_all(pool)
        .await
        .expect("the journal is there")
}

/// The lines about checkpoints and reorgs.
pub async fn moves(pool: &PgPool) -> Vec<String> {
    let is_move = |line: &String| !line.starts_with("stored") && !line.starts_with("undone");
    lines(pool).await.into_iter().filter(is_move).collect()
}

/// The lines about events, without the moves.
pub async fn events(pool: &PgPool) -> Vec<String> {
    let is_event = |line: &String| line.starts_with("stored") || line.starts_with("undone");
    lines(pool).await.into_iter().filter(is_event).collect()
}
