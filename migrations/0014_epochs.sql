-- Which history of which database a message belongs to. A number alone does not say it: a database that is restored to an
-- older state, or that fails over to a replica that lacked the last commits, gives the numbers it lost to other messages.

-- An epoch begins with the first message after the database was found in another place than the one before: another server,
-- the same server started again, another copy of the database. Only there can commits have been lost, so within an epoch no
-- number is given twice, and (epoch, number) names one message for ever. An epoch that is known here and a number below the
-- next epoch's first belong to this history; a restart that lost nothing is noticed by nobody.
create table outbox_epochs (
    -- Number of its first message.
    first_seq bigint not null,
    -- Number of the last message before it: first_seq - 1, or lower where `sinks adopt` left numbers out.
    after_seq bigint not null,
    -- Twelve hexadecimal digits at random; '0' for messages from before there were epochs.
    epoch text not null,
    began_at timestamptz not null default now(),
    constraint outbox_epochs_pkey primary key (first_seq),
    constraint outbox_epochs_after_seq_check check (after_seq < first_seq)
);
insert into outbox_epochs (first_seq, after_seq, epoch) values (1, 0, '0');

comment on table outbox_epochs is 'The histories this database''s messages have had, each up to the next one''s after_seq';

-- The epoch of the newest message, and where the database was when its number was taken.
alter table outbox_head
    add column epoch text not null default '0',
    add column home text not null default '';

-- Since when a sink holds what this database never sent, and what that is. Nothing is sent there until an operator
-- decides (`chainflume sinks adopt`, `chainflume sinks reset`).
alter table sink_states
    add column foreign_at timestamptz,
    add column foreign_reason text;

-- Newest entries of another history after which this one goes on, by an operator's word.
create table adopted_streams (
    sink text not null,
    aggregate_type text not null,
    -- Number and epoch of the newest entry when it was adopted; '' where the entry bears none.
    seq bigint not null,
    epoch text not null,
    adopted_at timestamptz not null default now(),
    constraint adopted_streams_pkey primary key (sink, aggregate_type)
);
