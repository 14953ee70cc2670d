-- State folded from events. Each row counts the events behind it: at none, it disappears, so that every table
-- equals what a fresh sync of the surviving chain gives.
--
-- Sums are numeric without bounds: two amounts of 78 digits add up to 79.

create table stakes (
    chain_id bigint not null,
    contract bytea not null,
    account bytea not null,
    amount numeric not null,
    events bigint not null,
    last_at timestamptz not null,
    constraint stakes_pkey primary key (chain_id, contract, account)
);

create index stakes_account_idx on stakes (account);

create table users (
    id uuid not null default gen_random_uuid(),
    wallet bytea not null,
    -- Base units, summed over all vaults and chains.
    stake_amount numeric not null default 0,
    -- Block time of the latest stake; null while there is none.
    staked_at timestamptz,
    status text not null default 'registered',
    -- What the status was before the stake made it 'active': given back when the stake is undone.
    status_before text,
    -- A row the chain created disappears with its last stake; an application's row never does.
    origin text not null default 'application',
    created_at timestamptz not null default now(),
    constraint users_pkey primary key (id),
    constraint users_wallet_key unique (wallet),
    constraint users_wallet_check check (octet_length(wallet) = 20),
    constraint users_origin_check check (origin in ('chain', 'application'))
);

comment on table users is 'One row a wallet. Applications may add rows and columns; stake_amount, staked_at and, on a stake, status are the chain''s';

create table token_balances (
    chain_id bigint not null,
    token bytea not null,
    account bytea not null,
    -- Below zero for rebasing tokens and for tokens whose history was not read from the start: kept and counted.
    balance numeric not null,
    events bigint not null,
    constraint token_balances_pkey primary key (chain_id, token, account)
);

create index token_balances_account_idx on token_balances (account);
create index token_balances_negative_idx on token_balances (chain_id, token) where balance < 0;

create table token_allowances (
    chain_id bigint not null,
    token bytea not null,
    owner bytea not null,
    spender bytea not null,
    -- As last approved. Spending lowers it on chain without an event, so this is an upper bound.
    amount numeric(78, 0) not null,
    constraint token_allowances_pkey primary key (chain_id, token, owner, spender)
);

create table nft_owners (
    chain_id bigint not null,
    contract bytea not null,
    token_id numeric(78, 0) not null,
    owner bytea not null,
    constraint nft_owners_pkey primary key (chain_id, contract, token_id)
);

comment on table nft_owners is 'Tokens that exist: a burned token has no row';

create index nft_owners_owner_idx on nft_owners (owner);

create view nft_balances as
select chain_id, contract, owner, count(*) as tokens
from nft_owners
group by chain_id, contract, owner;

-- A division would round: numeric keeps about 16 digits of a quotient. A product is exact.
create view user_stakes as
select
    u.id,
    u.wallet,
    '0x' || encode(u.wallet, 'hex') as address,
    u.stake_amount,
    trim_scale(u.stake_amount * ('1e-' || d.decimals)::numeric) as stake_amount_scaled,
    d.decimals,
    u.staked_at,
    u.status
from users u
cross join (select max(decimals) as decimals from sources where family = 'stake') d;

comment on view user_stakes is 'Users with their stake in whole tokens; the configuration demands that all stake sources agree on decimals';
