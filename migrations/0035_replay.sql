-- Facts of the application in the order of their messages, for a replay.

create index domain_events_seq_idx on domain_events (seq);

alter table activity_changes add column seq bigint;
comment on column activity_changes.seq is 'Number of its message; not above 0 for a change that is older than this column';

-- The numbers of older changes are not stored. They come before all others, in the order of their times, and those of one activity in
-- their own order.
update activity_changes c set seq = o.place - o.changes
from (
    select activity_id, number, count(*) over () as changes,
        row_number() over (order by latest, activity_id, number) as place
    from (
        select activity_id, number, max(made_at) over (partition by activity_id order by number) as latest from activity_changes
    ) as timed
) as o
where o.activity_id = c.activity_id and o.number = c.number;

alter table activity_changes alter column seq set not null;
create index activity_changes_seq_idx on activity_changes (seq);

-- For the question whether a reorg may still take away what an event says.
create index limit_crossings_event_idx on limit_crossings (event_id) where event_id is not null;
