-- What makes a first history sync fast.

-- Indexes that are not kept up while an empty database takes in its history: their definitions, as the catalogue gave them when
-- they were dropped. Built again from here, and then forgotten, before the head is followed.
create table deferred_indexes (
    name text not null,
    definition text not null,
    constraint deferred_indexes_pkey primary key (name)
);

comment on table deferred_indexes is 'Indexes of events that are still to be built: not empty only while a first history is read';

-- An index that names `balance`, even in its predicate alone, makes every change of a balance write to every index of the
-- table. A column that changes only when a balance changes its sign does not: updates stay on their page (HOT), for
-- which the page needs some room.
drop index token_balances_negative_idx;
alter table token_balances add column negative boolean not null generated always as (balance < 0) stored;
alter table token_balances set (fillfactor = 70);
create index token_balances_negative_idx on token_balances (chain_id, token) where negative;

alter table token_allowances set (fillfactor = 85);
alter table stakes set (fillfactor = 70);
alter table users set (fillfactor = 70);
