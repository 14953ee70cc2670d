-- What nodes have taught about their limits, so that a restart does not have to be refused again. Nothing here is
-- needed: with an empty table it is learnt anew. The name holds a host and a digest, no key.
create table endpoints (
    fingerprint text not null,
    learnt      jsonb not null,
    updated_at  timestamptz not null default now(),
    constraint endpoints_pkey primary key (fingerprint)
);
