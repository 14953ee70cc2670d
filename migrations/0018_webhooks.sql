-- What one failed delivery holds up, how many wait, and what went wrong last.

-- The wallet that a message is about, besides its aggregate: a transfer's aggregate is the whole token. Null where an event
-- names none, and for messages of older programs.
alter table outbox add column account bytea;

-- Deliveries with the same key come in the order of their numbers; a failed one holds up those and no others. Rows of older
-- programs were ordered by aggregate alone.
alter table deliveries add column order_key text;
update deliveries set order_key = aggregate_type || ' ' || aggregate_id;
alter table deliveries alter column order_key set not null;

-- With seq, since thousands may be due at one moment: without it each round would sort them all.
drop index deliveries_due_idx;
create index deliveries_due_idx on deliveries (sink, due_at, seq) where due_at is not null;
drop index deliveries_aggregate_idx;
create index deliveries_order_idx on deliveries (sink, order_key, seq);

-- Rows of the sink in deliveries: counting them in each round would cost more the more there are.
alter table sink_states add column held bigint not null default 0;
-- Why nothing could be delivered at the last try; null from the next delivery on.
alter table sink_states add column last_error text;
insert into sink_states (sink, held) select sink, count(*) from deliveries group by sink
on conflict on constraint sink_states_pkey do update set held = excluded.held;
