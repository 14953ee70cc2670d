-- Records of users' flows. A row is what is shown now; activity_changes has how it came about.

create table activities (
    id uuid not null,
    -- The application's own id.
    user_id text not null,
    type text not null,
    status text not null,
    title text not null,
    description text,
    data jsonb not null default '{}',
    -- The transaction it follows; null for none.
    chain_id bigint,
    tx_hash bytea,
    -- Who gave it its final status, caller or follower: what a caller closed stays closed. Null while it is open.
    closed_by text,
    -- Number of its newest change.
    changes bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint activities_pkey primary key (id),
    constraint activities_status_check check (status in ('pending', 'in_progress', 'completed', 'failed')),
    constraint activities_closed_by_check check (
        (status in ('completed', 'failed')) = (closed_by is not null) and closed_by in ('caller', 'follower')
    ),
    constraint activities_tx_hash_check check ((chain_id is null) = (tx_hash is null) and octet_length(tx_hash) = 32)
);

comment on table activities is 'Records of users'' flows whose status changes, always by their id';

-- For pages of one user, and of all, the newest first.
create index activities_user_idx on activities (user_id, created_at, id);
create index activities_created_at_idx on activities (created_at, id);
create index activities_transaction_idx on activities (chain_id, tx_hash) where tx_hash is not null;

create table activity_changes (
    activity_id uuid not null,
    number bigint not null,
    -- Id of its message.
    message_id uuid not null,
    -- created, updated, completed or failed
    kind text not null,
    -- The name of the service or user, or `follower`.
    made_by text not null,
    -- The fields that changed, with their new values.
    changed jsonb not null,
    made_at timestamptz not null,
    constraint activity_changes_pkey primary key (activity_id, number),
    constraint activity_changes_activity_id_fkey foreign key (activity_id) references activities (id) on delete cascade,
    constraint activity_changes_kind_check check (kind in ('created', 'updated', 'completed', 'failed'))
);

comment on table activity_changes is 'Every change of every activity, in order';

create index activity_changes_message_idx on activity_changes (message_id);
