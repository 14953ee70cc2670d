-- Where sources begin and end: the latest block is decided once, by the first head of a node that has synced.

-- Null until it is decided. Stored events of the source may begin here; the block that was decided never moves to a later one.
alter table sources alter column start_block drop not null;

-- Whether the configuration says "latest". A source without a checkpoint takes the block of its configuration again, except where
-- this was set before and still is.
alter table sources add column starts_at_latest boolean not null default false;

-- The last block of the source as configured; null without one. A source that has stored it reads nothing more.
alter table sources add column end_block bigint;
