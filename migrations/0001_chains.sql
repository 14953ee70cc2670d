-- Where the flume stands: chains, sources, checkpoints, the reorg window.
--
-- Names are not qualified: search_path decides the schema. Hashes are 32 bytes, addresses 20, both raw.
-- Block numbers and counters are bigint: an int4 counter is an outage with a date.

create table chains (
    -- EIP-155. Chain ids above 2^63 - 1 are refused at the door.
    chain_id bigint not null,
    name text not null,
    -- Tells two chains of one id apart (a test network that began anew). Null where the node was not asked.
    genesis_hash bytea,
    -- Nothing at or below is undone. Only ever rises.
    final_number bigint,
    -- Rises with each rewind: who read it before a long fetch knows whether the fetch is still worth anything.
    reorgs bigint not null default 0,
    -- Fencing token of the writer.
    epoch bigint not null default 0,
    constraint chains_pkey primary key (chain_id),
    constraint chains_genesis_hash_check check (octet_length(genesis_hash) = 32)
);

comment on table chains is 'One row a chain. Every writing transaction locks its chain''s row first, so the writers of one chain are serial';

create table sources (
    id int generated always as identity,
    name text not null,
    chain_id bigint not null,
    family text not null,
    -- The lowest block whose events of this source may be stored. A config that starts lower later on
    -- needs a backfill; this column follows when that is done.
    start_block bigint not null,
    -- Of the token, where the family needs them to show amounts.
    decimals smallint,
    constraint sources_pkey primary key (id),
    constraint sources_name_key unique (name),
    constraint sources_chain_id_fkey foreign key (chain_id) references chains (chain_id)
);

create table checkpoints (
    source text not null,
    chain_id bigint not null,
    block_number bigint not null,
    block_hash bytea not null,
    epoch bigint not null default 0,
    updated_at timestamptz not null default now(),
    constraint checkpoints_pkey primary key (source),
    constraint checkpoints_source_fkey foreign key (source) references sources (name),
    constraint checkpoints_block_hash_check check (octet_length(block_hash) = 32)
);

comment on table checkpoints is 'The durable tip of each source. Moved by compare-and-set in the transaction that stores what it stands for';

create table blocks (
    chain_id bigint not null,
    number bigint not null,
    hash bytea not null,
    constraint blocks_pkey primary key (chain_id, number),
    constraint blocks_hash_check check (octet_length(hash) = 32)
);

comment on table blocks is 'Hashes of the reorg window alone: the newest final block and what stands above it';

create table event_kinds (
    id int generated always as identity,
    source text not null,
    chain_id bigint not null,
    type text not null,
    event text not null,
    signature text not null,
    projection text not null,
    -- How many rows of `events` are of this kind. Kept by the writers, because counting a billion rows for
    -- a status line is not an option.
    events bigint not null default 0,
    constraint event_kinds_pkey primary key (id),
    -- The projection is part of the identity: what an event changed must be undone as it was done, also
    -- after its source's family was changed in the configuration.
    constraint event_kinds_identity_key unique (source, chain_id, type, event, signature, projection),
    constraint event_kinds_source_fkey foreign key (source) references sources (name),
    constraint event_kinds_projection_check
        check (projection in ('none', 'stake', 'balance', 'allowance', 'owner'))
);

create table write_probe (
    id boolean not null default true,
    written_at timestamptz not null,
    constraint write_probe_pkey primary key (id),
    constraint write_probe_id_check check (id)
);

comment on table write_probe is 'One row, rewritten to prove that the database takes writes: a read-only replica can be reached just as well';
