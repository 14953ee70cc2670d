-- Stops a writing transaction at a statement of the test's choice: there it fails, loses its connection, or
-- waits for the test. `gate` says where and what; the sequences count what has been passed.

create table gate (place text not null, at bigint not null, deed text not null);
insert into gate values ('write', 0, 'none');
create sequence gate_write;
create sequence gate_commit;

create function pass_gate() returns trigger language plpgsql as $$
declare
    passed bigint := nextval('gate_' || tg_argv[0]);
    deed text := (select gate.deed from gate where place = tg_argv[0] and at = passed);
begin
    if deed = 'terminate' then
        perform pg_terminate_backend(pg_backend_pid());
    elsif deed = 'fail' then
        raise exception 'the gate is closed' using errcode = 'serialization_failure';
    elsif deed = 'hold' then
        perform pg_advisory_xact_lock(4711);
    end if;
    return null;
end $$;

do $$
declare
    name text;
begin
    foreach name in array array['chains', 'source_groups', 'blocks', 'event_kinds', 'events', 'orphaned_events', 'reorgs',
        'stakes', 'users', 'token_balances', 'token_allowances', 'nft_owners', 'dead_letters', 'pending_events', 'outbox']
    loop
        execute format(
            'create trigger gate after insert or update or delete on %I for each statement execute function pass_gate(''write'')',
            name);
    end loop;
end $$;

-- Deferred: it runs inside `commit`.
create constraint trigger gate_commit after insert or update or delete on source_groups
    deferrable initially deferred for each row execute function pass_gate('commit');

create constraint trigger gate_commit after insert on pending_events
    deferrable initially deferred for each row execute function pass_gate('commit');

create function empty_tables() returns void language sql as $$
    update gate set deed = 'none';
    delete from outbox;
    delete from outbox_rooms;
    update outbox_head set seq = 0;
    update outbox_room_index set upto = 0;
    delete from pending_events;
    delete from orphaned_events;
    delete from reorgs;
    delete from events;
    delete from event_kinds;
    delete from dead_letters;
    delete from sources;
    delete from source_groups;
    delete from blocks;
    delete from chains;
    delete from stakes;
    delete from users;
    delete from user_ids;
    delete from token_balances;
    delete from token_allowances;
    delete from nft_owners;
$$;
