-- Who may write. Of several daemons on one database each chain, and each sink, has one that leads; the others wait.

create table instances (
    -- The daemon's name and a number of its run: one that was restarted is another.
    holder text not null,
    -- Names of leases it would take.
    wants text[] not null,
    since timestamptz not null default clock_timestamp(),
    -- By this server's clock, as every time of a lease: those of the daemons may differ.
    expires_at timestamptz not null,
    -- The session over which it says that it lives. A session that is gone says sooner than any clock that its
    -- daemon was killed.
    backend_pid int not null,
    backend_start timestamptz not null,
    constraint instances_pkey primary key (holder)
);

comment on table instances is 'Daemons on this database, each with what it would lead; written over about every quarter of a lease';

create table leases (
    -- `chain <id>`, `sink <name>`, `audit <id>` (of a chain), or `outbox`, who trims it.
    name text not null,
    holder text not null,
    -- The fencing token: grows with every new holder, and stands in chains.epoch too.
    epoch bigint not null,
    expires_at timestamptz not null,
    constraint leases_pkey primary key (name)
);

comment on table leases is 'One writer each. A row and not an advisory lock: it outlives a killed client, and says who led last';
comment on column chains.epoch is 'Fencing token of the writer: who holds an older one commits nothing';

-- One token a chain is enough: every writer locks the chain's row before it moves a checkpoint.
alter table checkpoints drop column epoch;
