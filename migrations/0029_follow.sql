-- Transactions that are followed on a chain, for as long as a reorg may change what became of them.

create table watched_transactions (
    id bigint generated always as identity,
    chain_id bigint not null,
    tx_hash bytea not null,
    -- What it is followed for: an activity's id.
    subject uuid not null,
    -- 'waiting', 'mined', 'succeeded', 'reverted', 'replaced' or 'timed_out'.
    state text not null default 'waiting',
    -- The block with it.
    block_number bigint,
    block_hash bytea,
    -- Who signed it, and its nonce, once the node has known it.
    sender bytea,
    nonce numeric(20, 0),
    -- The head when another transaction of this nonce was confirmed.
    replaced_at bigint,
    -- Whether the last look found the nonce used by another transaction.
    is_doubted boolean not null default false,
    -- When the node last knew it, or the watch began.
    known_at timestamptz not null default now(),
    checked_at timestamptz,
    constraint watched_transactions_pkey primary key (id),
    constraint watched_transactions_subject_key unique (subject, chain_id, tx_hash),
    constraint watched_transactions_state_check
        check (state in ('waiting', 'mined', 'succeeded', 'reverted', 'replaced', 'timed_out')),
    constraint watched_transactions_block_check check ((block_number is null) = (block_hash is null)),
    constraint watched_transactions_tx_hash_check check (octet_length(tx_hash) = 32)
);
-- The next batch of a chain: new ones first, then those that were looked at longest ago.
create index watched_transactions_checked_at_idx on watched_transactions (chain_id, checked_at nulls first, id);

-- Open activities with a transaction, which are followed.
create index activities_open_transaction_idx on activities (chain_id, created_at, id)
    where tx_hash is not null and closed_by is null;

-- A hint about a contract that no source reads is confirmed by the receipt of its transaction.
alter table inbound_hints add column followed boolean not null default false;

comment on table watched_transactions is 'Transactions that are followed until no reorg can change what became of them';
