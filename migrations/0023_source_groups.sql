-- One row for each group of sources that stand at the same block, in place of one row for each source: a block at the head moves
-- one row, however many sources there are. `checkpoints` is a view now, with the columns it had.

create table source_groups (
    id bigint generated always as identity,
    chain_id bigint not null,
    block_number bigint not null,
    block_hash bytea not null,
    -- Digest of the names of its sources. A writer that expects just these moves the row without sending their names. Null after
    -- any other change of its sources: the next writer compares source by source and writes it again.
    members bytea,
    updated_at timestamptz not null default now(),
    constraint source_groups_pkey primary key (id),
    constraint source_groups_chain_id_fkey foreign key (chain_id) references chains (chain_id),
    constraint source_groups_block_hash_check check (octet_length(block_hash) = 32)
)
-- Rewritten with every block: most new versions find room on their page.
with (fillfactor = 50);
create index source_groups_chain_idx on source_groups (chain_id);

comment on table source_groups is 'Where groups of sources stand: their newest stored block. Moved by compare-and-set in the transaction that stores what it stands for';

-- Null while nothing of the source is stored.
alter table sources add column group_id bigint constraint sources_group_id_fkey references source_groups (id);
create index sources_group_idx on sources (group_id);

insert into source_groups (chain_id, block_number, block_hash, updated_at)
select chain_id, block_number, block_hash, max(updated_at) from checkpoints group by chain_id, block_number, block_hash;

update sources s set group_id = g.id
from checkpoints c join source_groups g
    on g.chain_id = c.chain_id and g.block_number = c.block_number and g.block_hash = c.block_hash
where c.source = s.name;

alter table checkpoints rename to checkpoints_before;

create view checkpoints as
select s.name as source, g.chain_id, g.block_number, g.block_hash, g.updated_at
from sources s join source_groups g on g.id = s.group_id;

comment on view checkpoints is 'The newest stored block of each source';
comment on column checkpoints.source is 'Name of the source';
comment on column checkpoints.chain_id is 'EIP-155';
comment on column checkpoints.block_number is 'Newest stored block of the source';
comment on column checkpoints.block_hash is 'Its hash, 32 bytes';
comment on column checkpoints.updated_at is 'When it moved last';

-- Who might read the table reads the view.
do $$
declare
    reader oid;
begin
    for reader in
        select a.grantee from pg_class c, aclexplode(c.relacl) a
        where c.oid = 'checkpoints_before'::regclass and a.privilege_type = 'SELECT' and a.grantee <> c.relowner
    loop
        execute format('grant select on checkpoints to %s',
            case reader when 0 then 'public' else quote_ident(pg_get_userbyid(reader)) end);
    end loop;
end
$$;

drop table checkpoints_before;
