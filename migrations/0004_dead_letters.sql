-- Logs that cannot succeed by trying again, kept whole and in nobody's way.

create table dead_letters (
    id bigint generated always as identity,
    kind text not null,
    chain_id bigint not null,
    source text not null,
    block_number bigint not null,
    block_hash bytea not null,
    tx_index bigint not null,
    log_index bigint not null,
    reason text not null,
    -- The log as the node told it; bytes as 0x strings.
    raw jsonb not null,
    attempts bigint not null default 1,
    first_seen timestamptz not null default now(),
    last_seen timestamptz not null default now(),
    resolved_at timestamptz,
    constraint dead_letters_pkey primary key (id),
    -- Reading a range again finds the letter again and must not write a second one.
    constraint dead_letters_place_key
        unique (chain_id, block_number, tx_index, log_index, block_hash, source, kind)
);

create index dead_letters_open_idx on dead_letters (source) where resolved_at is null;
