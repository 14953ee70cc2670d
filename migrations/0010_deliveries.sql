-- Messages for receivers that answer each one and cannot be asked what they hold: webhooks. One that fails waits here
-- for its next try, and those about the same thing behind it, so that the others can go on.

create table deliveries (
    sink text not null,
    -- Number of the message.
    seq bigint not null,
    aggregate_type text not null,
    aggregate_id text not null,
    type text not null,
    state text not null,
    user_id uuid,
    -- The message itself and not a reference to the outbox, which is trimmed meanwhile.
    message text not null,
    created_at timestamptz not null,
    -- Tries so far: where on the schedule it is. 0 while it waits behind another.
    attempts bigint not null default 0,
    -- When it was first tried.
    tried_at timestamptz,
    -- When it is tried next; null while it waits behind another about the same thing.
    due_at timestamptz,
    -- What came of the last try.
    reason text,
    constraint deliveries_pkey primary key (sink, seq)
);

-- Who stands first of those about one thing.
create index deliveries_aggregate_idx on deliveries (sink, aggregate_type, aggregate_id, seq);
create index deliveries_due_idx on deliveries (sink, due_at) where due_at is not null;

-- What a sink is in besides its cursor; no row for one that is well.
create table sink_states (
    sink text not null,
    -- Since when nothing is sent there, until somebody enables it again, and why.
    disabled_at timestamptz,
    reason text,
    -- Nothing is tried before.
    paused_until timestamptz,
    -- Rounds in a row in which nothing could be delivered.
    failures bigint not null default 0,
    constraint sink_states_pkey primary key (sink)
);

-- Deliveries that a sink refuses for good are dead letters too. They are about a message and have no place in a chain: a
-- reorg does not take them along, since its retraction is a message of its own.
alter table dead_letters add column sink text;
alter table dead_letters add column seq bigint;
alter table dead_letters
    alter column chain_id drop not null,
    alter column source drop not null,
    alter column block_number drop not null,
    alter column block_hash drop not null,
    alter column tx_index drop not null,
    alter column log_index drop not null;
alter table dead_letters add constraint dead_letters_subject_check check (
    case when sink is null
        then seq is null and num_nulls(chain_id, source, block_number, block_hash, tx_index, log_index) = 0
        else seq is not null and num_nonnulls(chain_id, source, block_number, block_hash, tx_index, log_index) = 0
    end
);
alter table dead_letters add constraint dead_letters_delivery_key unique (sink, seq);
create index dead_letters_unresolved_idx on dead_letters (id) where resolved_at is null;
