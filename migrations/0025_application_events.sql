-- What the application publishes: facts that are stored for ever and numbered in the same stream as the chain's.

-- A message about a fact that is not on a chain has none. Dropping the constraint is a change of the catalogue alone.
alter table outbox alter column chain_id drop not null;
comment on column outbox.chain_id is 'EIP-155; null for a fact that is not on a chain';
comment on column outbox.aggregate_type is 'user, token, nft or contract for the chain''s messages; else what the application names';

create table domain_events (
    -- By the caller, or made from the Idempotency-Key, or new.
    id uuid not null,
    type text not null,
    aggregate_type text not null,
    aggregate_id text not null,
    payload jsonb not null,
    -- The application's own id of the user it is about.
    user_id text,
    -- What happened together.
    correlation_id text,
    -- The message that caused this one.
    causation_id text,
    -- Who published it.
    source text not null,
    happened_at timestamptz not null,
    stored_at timestamptz not null default now(),
    -- Number of its message.
    seq bigint not null,
    constraint domain_events_pkey primary key (id)
);

comment on table domain_events is 'Events that the application published; kept for ever unless publish.retention says otherwise';

-- For the tree of what caused what.
create index domain_events_correlation_idx on domain_events (correlation_id) where correlation_id is not null;
create index domain_events_causation_idx on domain_events (causation_id) where causation_id is not null;
-- For the history of one thing, in its order.
create index domain_events_aggregate_idx on domain_events (aggregate_type, aggregate_id, seq);
-- For the deletion of old ones.
create index domain_events_stored_at_idx on domain_events (stored_at);
