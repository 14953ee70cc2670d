-- A reorg asks for the newest stake of an account that remains: with the time in the index it is the first entry from its end.
-- Without, all stakes that the account ever made are read.
do $$
begin
    if exists (select from deferred_indexes where name like '%events_stake_idx') then
        update deferred_indexes set definition = replace(definition, '(account)', '(account, block_time)')
        where name like '%events_stake_idx';
    else
        drop index events_stake_idx;
        create index events_stake_idx on events (account, block_time) where projection = 's';
    end if;
end
$$;
