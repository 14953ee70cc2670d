-- Events that move a range of tokens (ERC-2309).

alter table event_kinds drop constraint event_kinds_projection_check;
alter table event_kinds add constraint event_kinds_projection_check
    check (projection in ('none', 'stake', 'balance', 'allowance', 'owner', 'owner_range'));

-- What a token belonged to before, after such an event or a transfer is taken back: ranges that begin a little below it.
create index events_owner_range_idx on events (address, token_id) where projection = 'r';

comment on column events.projection is 'What it changes: n(one) s(take) b(alance) a(llowance) o(wner) r(ange of owners)';
comment on column events.token_id is 'Token id of an NFT, exact; the first one of a range';
comment on column token_balances.balance is
    'Base units. Below zero for rebasing tokens, wrapped ones without `mints` and `burns`, and where history was not read from the start';
