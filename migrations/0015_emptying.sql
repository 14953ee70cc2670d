-- A source is deleted in pages, so that millions of events need neither one transaction nor the chain's lock for an hour.

alter table sources
    -- The record of its deletion, from the first page to the last. As long as it is set, a part of the source's events is gone:
    -- no daemon follows it, and no other source takes its logs. The record has the checkpoint the source had.
    add column emptying bigint,
    -- What the daemon that led the chain last follows under this name, as a digest; null where it follows nothing. A command
    -- whose configuration says otherwise would be undone by that daemon.
    add column followed_as text,
    add constraint sources_emptying_fkey foreign key (emptying) references reorgs (id);

alter table reorgs
    drop constraint reorgs_reason_check,
    add constraint reorgs_reason_check check (reason in ('reorg', 'rewind', 'repair', 'removal'));

comment on column reorgs.reason is 'reorg: the chain changed. rewind: an operator went back. repair: what was stored is not on the chain. removal: an operator deleted a source';
