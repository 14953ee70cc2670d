-- Signed webhooks of providers, and what they say about a chain.

-- Deliveries whose signature was right, as they came. A repeat has the id of the first, which is part of what was signed.
create table inbound_deliveries (
    id bigint generated always as identity,
    -- Name of the [[inbound]] of the configuration.
    endpoint text not null,
    delivery_id text not null,
    -- Headers by lower-case name, credentials left out.
    headers jsonb not null,
    -- As it was signed: decompressed where it was compressed.
    body bytea not null,
    received_at timestamptz not null default now(),
    constraint inbound_deliveries_pkey primary key (id),
    constraint inbound_deliveries_delivery_id_key unique (endpoint, delivery_id)
);
create index inbound_deliveries_received_at_idx on inbound_deliveries (received_at);
comment on table inbound_deliveries is 'Webhooks of providers as they came, kept for retention.inbound';

-- Transactions and logs that a delivery names: what a provider says it saw, which the chain must confirm.
create table inbound_hints (
    id bigint generated always as identity,
    delivery bigint not null,
    chain_id bigint not null,
    -- 'erc20_transfer', 'erc721_transfer', 'erc721_mint' or 'contract_call', derived from the log.
    kind text not null,
    tx_hash bytea not null,
    -- Null where the delivery does not say.
    block_number bigint,
    block_hash bytea,
    -- The contract, first topic and place of the log; null for a transaction of which no log is shown.
    address bytea,
    topic0 bytea,
    log_index bigint,
    -- 'open', 'confirmed', 'unconfirmed', or 'uncovered': no source of the configuration reads this contract.
    state text not null default 'open',
    -- The block at which it is unconfirmed; null until it was first compared.
    due_block bigint,
    compared_at timestamptz,
    constraint inbound_hints_pkey primary key (id),
    constraint inbound_hints_delivery_fkey foreign key (delivery) references inbound_deliveries (id) on delete cascade,
    constraint inbound_hints_state_check check (state in ('open', 'confirmed', 'unconfirmed', 'uncovered')),
    constraint inbound_hints_tx_hash_check check (octet_length(tx_hash) = 32)
);
create index inbound_hints_delivery_idx on inbound_hints (delivery);
create index inbound_hints_open_idx on inbound_hints (chain_id, id) where state = 'open';
comment on table inbound_hints is 'What providers said they saw on a chain, and whether the stored events confirm it';
