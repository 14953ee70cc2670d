-- What each source was filled by, so that a configuration which asks for something else is noticed.

-- Blocks in which an event of these contracts was followed. Rows of one source are rewritten when its configuration changes and
-- while the past of what is new is read, never for a block at the head: what is followed still ends at the checkpoint.
create table followed (
    source text not null,
    -- Canonical, as in event_kinds.
    signature text not null,
    -- With what else decides how a log is read: `indexed`, and which argument is the account.
    declaration text not null,
    -- Null for an anonymous event.
    topic0 bytea,
    topics smallint not null,
    -- Null for every contract.
    addresses bytea[],
    from_block bigint not null,
    -- Null while it is followed: up to the checkpoint of the source.
    to_block bigint,
    -- Stored without being announced.
    quiet boolean not null default false,
    constraint followed_source_fkey foreign key (source) references sources (name) on update cascade on delete cascade,
    constraint followed_topic0_check check (octet_length(topic0) = 32)
);

create index followed_source_idx on followed (source);

comment on table followed is 'What each source was filled by. Holes in it are read by the daemon. A source without rows was filled by an older program';
