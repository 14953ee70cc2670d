-- What was read and stored is read again and compared, and can be taken back by other hands than a reorg's.

-- A repair takes back what the chain never had; nothing of the chain is undone then, and the depth is 0.
alter table reorgs
    add column reason text not null default 'reorg',
    add constraint reorgs_reason_check check (reason in ('reorg', 'rewind', 'repair'));

comment on column reorgs.reason is 'reorg: the chain changed. rewind: an operator went back. repair: what was stored is not on the chain';

-- Everything of the source from its start block up to here was compared with the chain a second time.
alter table sources add column verified_to bigint;
