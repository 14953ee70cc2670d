-- The append-only log of facts, and what reorgs took back from it.

create table events (
    chain_id bigint not null,
    block_number bigint not null,
    tx_index bigint not null,
    log_index bigint not null,
    block_time timestamptz not null,
    kind_id int not null,
    -- n(one) s(take) b(alance) a(llowance) o(wner): copied from the kind so that partial indexes can name it.
    projection "char" not null,
    block_hash bytea not null,
    tx_hash bytea not null,
    -- The contract.
    address bytea not null,
    account bytea,
    counterparty bytea,
    amount numeric(78, 0),
    token_id numeric(78, 0),
    args jsonb,
    -- The place in the chain. log_index alone repeats on some chains, and (tx_hash, log_index) changes when a
    -- transaction is mined again elsewhere. The block hash is checked, not part of the key: two blocks at one
    -- height must collide.
    constraint events_pkey primary key (chain_id, block_number, tx_index, log_index)
);

-- No foreign key to event_kinds, no checks: each would cost more per row than the row itself, and only
-- `COPY` from our own encoder writes here.
--
-- To partition later: the primary key starts with (chain_id, block_number), so that
-- `partition by range (chain_id, block_number)` (or by list of chains, then by range) needs no other key.
-- Create the partitioned table, attach this one as its first partition with a check constraint proven
-- beforehand, and rename. Every query here names chain_id and a bound on block_number, or goes through an
-- index below, which partitions carry too.
comment on table events is 'One row for each confirmed log of every source. Typed views, one for each ABI event, show it with named columns';
comment on column events.account is 'Whom the event is about; what it means depends on the projection, see event_kinds';
comment on column events.amount is 'Base units of the token, exact';
comment on column events.args is 'Arguments without a column of their own: numbers as decimal strings, bytes as 0x strings';

-- For typed views and anything else that asks for one kind in chain order. New rows land at the right edge of
-- each kind, which makes it the cheapest index there is beside the primary key.
create index events_kind_idx on events (kind_id, block_number);

-- "What happened to this wallet", newest first. The one index with random inserts.
create index events_account_idx on events (account, block_number) where account is not null;

-- The three below serve rewind and backfill, which ask for the events that remain for a key.
-- (account, counterparty) picks out few rows already: chain and token are left to the row itself.
create index events_stake_idx on events (account) where projection = 's';
create index events_allowance_idx on events (account, counterparty, block_number) where projection = 'a';
create index events_owner_idx on events (address, token_id, block_number) where projection = 'o';

create table reorgs (
    id bigint generated always as identity,
    chain_id bigint not null,
    ancestor_number bigint not null,
    ancestor_hash bytea not null,
    old_tip_number bigint not null,
    old_tip_hash bytea not null,
    -- Blocks between the two.
    depth bigint not null,
    -- Events taken back.
    events bigint not null,
    detected_at timestamptz not null default now(),
    constraint reorgs_pkey primary key (id)
);

create index reorgs_chain_idx on reorgs (chain_id, id);

create table orphaned_events (
    reorg_id bigint not null,
    orphaned_at timestamptz not null default now(),
    chain_id bigint not null,
    block_number bigint not null,
    tx_index bigint not null,
    log_index bigint not null,
    block_time timestamptz not null,
    kind_id int not null,
    projection "char" not null,
    block_hash bytea not null,
    tx_hash bytea not null,
    address bytea not null,
    account bytea,
    counterparty bytea,
    amount numeric(78, 0),
    token_id numeric(78, 0),
    args jsonb,
    constraint orphaned_events_pkey primary key (reorg_id, block_number, tx_index, log_index),
    constraint orphaned_events_reorg_id_fkey foreign key (reorg_id) references reorgs (id)
);

comment on table orphaned_events is 'What reorgs took back, kept as it was. The same place may appear once for each reorg';

-- The public id of an event: a UUIDv8 of 40 bits block number, 20 bits transaction index, 24 bits log index
-- and 38 bits of SHA-256 over (chain id, block number, block hash, transaction index, log index), big-endian.
-- The program computes the same; a test holds the two together. The body is parsed here and now, so no
-- search_path can change it.
create function event_id(chain_id bigint, block_number bigint, block_hash bytea, tx_index bigint, log_index bigint)
returns uuid
language sql
immutable strict parallel safe
return (
    select (
        lpad(to_hex((substring(place from 1 for 48) || b'1000' || substring(place from 49 for 12))::bit(64)::bigint), 16, '0')
        || lpad(to_hex((b'10' || substring(place from 61 for 62))::bit(64)::bigint), 16, '0')
    )::uuid
    from (
        select block_number::bit(40) || tx_index::bit(20) || log_index::bit(24)
            || substring(
                ('x' || encode(substring(sha256(
                    int8send(chain_id) || int8send(block_number) || block_hash
                    || substring(int8send(tx_index) from 5 for 4)
                    || substring(int8send(log_index) from 5 for 4)
                ) from 1 for 8), 'hex'))::bit(64)
                from 27 for 38
            ) as place
    ) as bits
);
