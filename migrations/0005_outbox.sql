-- What leaves the house: messages written in the transaction of the event they are about.

-- From which block on events are announced. Null until it is decided: `publish_from = "head"` means the head
-- at the moment the chain is first seen, since nobody wants to be told about last year.
alter table sources add column publish_from bigint;

-- How a message about an event of this kind is made from the event's columns: what it is about, and the
-- arguments by their ABI names. Kept here, so that an event of a source that has left the configuration
-- can still be retracted.
alter table event_kinds add column layout jsonb not null default '{"aggregate": "contract", "columns": []}';

-- The number of the newest message. Taken as the last thing in a transaction and held until it commits, so that
-- numbers become visible in their order and without gaps. A sequence would do neither: it commits out of order,
-- and a reader that has seen 5 would never look for a 4 that comes later.
create table outbox_head (
    id boolean not null default true,
    seq bigint not null,
    constraint outbox_head_pkey primary key (id),
    constraint outbox_head_id_check check (id)
);
insert into outbox_head (seq) values (0);

create table outbox (
    seq bigint not null,
    created_at timestamptz not null default now(),
    -- When the head was seen that made it possible, by the daemon's clock; null while history is read.
    seen_at timestamptz,
    chain_id bigint not null,
    aggregate_type text not null,
    type text not null,
    state text not null,
    -- The user it is about, where one is known.
    user_id uuid,
    -- The whole message as it is published, `seq` included. Text and not jsonb: it is only passed on.
    message text not null,
    constraint outbox_pkey primary key (seq),
    constraint outbox_state_check check (state in ('pending', 'confirmed', 'retracted'))
);

comment on table outbox is 'Messages on their way out. Trimmed from the low end once every sink has them and they are old enough';

-- For the newest message of each aggregate type: what a sink's stream must end with.
create index outbox_aggregate_type_idx on outbox (aggregate_type, seq);

-- How far each sink is: everything up to and including seq has been delivered.
create table sink_cursors (
    sink text not null,
    seq bigint not null,
    updated_at timestamptz not null default now(),
    constraint sink_cursors_pkey primary key (sink)
);
