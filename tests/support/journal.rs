//! Writes down, inside the database itself, everything that is committed and undone: triggers see what no
//! look at the final tables can.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use sqlx::postgres::PgPool;

const TRIGGERS: &str = r"
create table journal (id bigint generated always as identity primary key, line text not null);

create function journal_checkpoint() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into journal (line) values (new.source || ': starts, at ' || new.block_number);
    elsif new.block_number < old.block_number then
        insert into journal (line) values (new.source || ': back from ' || old.block_number || ' to ' || new.block_number);
    elsif new.block_number > old.block_number or new.block_hash <> old.block_hash then
        insert into journal (line) values (new.source || ': on from ' || old.block_number || ' to ' || new.block_number);
    end if;
    return null;
end $$;
create trigger journal_checkpoint after insert or update on checkpoints
    for each row execute function journal_checkpoint();

create function journal_events() returns trigger language plpgsql as $$
declare
    word text := case tg_op when 'INSERT' then 'stored' else 'undone' end;
begin
    insert into journal (line)
    select word || ' ' || count(*) || ' in ' || block_number || ' of ' || encode(substring(block_hash from 1 for 4), 'hex')
    from changed group by block_number, block_hash
    order by case tg_op when 'INSERT' then block_number else -block_number end;
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

/// Starts writing down. The schema must be there.
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

/// The lines that say where checkpoints and reorgs went, without those about events.
pub async fn moves(pool: &PgPool) -> Vec<String> {
    let is_move = |line: &String| !line.starts_with("stored") && !line.starts_with("undone");
    lines(pool).await.into_iter().filter(is_move).collect()
}

/// The lines about events, without the moves.
pub async fn events(pool: &PgPool) -> Vec<String> {
    let is_event = |line: &String| line.starts_with("stored") || line.starts_with("undone");
    lines(pool).await.into_iter().filter(is_event).collect()
}
