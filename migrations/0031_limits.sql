-- Limits of balances: those of the configuration and those that people set, and which side of them each balance is on.

-- How far the messages about balances were judged: one row.
create table balance_watch (
    is_only boolean not null default true,
    seq bigint not null,
    constraint balance_watch_pkey primary key (is_only),
    constraint balance_watch_is_only_check check (is_only)
);

comment on table balance_watch is 'Number of the newest message whose balances were compared with limits';

create table thresholds (
    -- Name and limit of a [[threshold]]: another limit is another rule.
    rule text not null,
    -- Messages after this one count.
    after_seq bigint not null,
    constraint thresholds_pkey primary key (rule)
);

comment on table thresholds is 'From which message on each [[threshold]] counts';

create table user_alerts (
    user_id text not null,
    chain_id bigint not null,
    token bytea not null,
    -- 'below' or 'above'
    side text not null,
    -- Base units of the token.
    amount numeric(78, 0) not null,
    after_seq bigint not null,
    constraint user_alerts_pkey primary key (user_id, chain_id, token, side, amount),
    constraint user_alerts_user_id_fkey foreign key (user_id) references application_users (id) on delete cascade,
    constraint user_alerts_side_check check (side in ('below', 'above')),
    constraint user_alerts_token_check check (octet_length(token) = 20)
);

comment on table user_alerts is 'Limits of balances that people set: PUT /v1/users/{id}/alerts';

create table limit_crossings (
    id bigint generated always as identity,
    rule text not null,
    user_id text not null,
    -- Whether the balance is beyond the limit from here on.
    is_beyond boolean not null,
    -- The block in which it crossed; null where no message of the chain said so: a wallet was linked, or history was read.
    chain_id bigint not null,
    block_number bigint,
    block_hash bytea,
    -- The event that was published about it.
    event_id uuid,
    constraint limit_crossings_pkey primary key (id),
    constraint limit_crossings_user_id_fkey foreign key (user_id) references application_users (id) on delete cascade,
    constraint limit_crossings_block_check check ((block_number is null) = (block_hash is null))
);

-- A reorg deletes those of its blocks; the newest that is left says which side the balance is on.
create index limit_crossings_rule_idx on limit_crossings (user_id, rule, id);

comment on table limit_crossings is 'When balances crossed limits, for as long as a reorg may undo it';
