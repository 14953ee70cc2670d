-- What was announced at the head and waits to be confirmed or taken back.

-- An event is here from its `pending` message to its `confirmed` or `retracted` one: it enters and leaves in the
-- transactions of these messages. Whole, because a retraction tells it all again and its block may be gone by then.
create table pending_events (
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
    -- As in events, the hash is not part of it: what is told of one branch is taken back before the other is told.
    constraint pending_events_pkey primary key (chain_id, block_number, tx_index, log_index)
);

comment on table pending_events is 'Events told as pending, above the checkpoint of their source. Nothing else follows from them';
