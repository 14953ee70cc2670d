-- What is published by the clock, and facts that a reorg can take back.

create table schedules (
    -- Name of the [[schedule]] of the configuration.
    name text not null,
    -- Its cron expression and zone. Another one begins anew: times that it had before are not missed.
    pattern text not null,
    -- The newest time that was looked at; runs are due after it.
    due_at timestamptz not null,
    ran_at timestamptz,
    constraint schedules_pkey primary key (name)
);

comment on table schedules is 'How far each [[schedule]] has run';

-- An event that the daemon found on a chain, such as a balance below a limit.
alter table domain_events add column withdrawn_at timestamptz;
comment on column domain_events.withdrawn_at is 'When a reorg took away what the event says, and its message was retracted; null for all others';
