-- People as the application knows them. What the chain says about a wallet stays in `users`, one row a wallet; a person may have
-- several wallets, and the two are joined by them.

create table application_users (
    -- The application's own id.
    id text not null,
    email text,
    phone text,
    -- BCP 47
    locale text,
    -- IANA
    zone text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint application_users_pkey primary key (id)
);

comment on table application_users is 'People by the application''s own ids, with their contacts';

create table user_wallets (
    wallet bytea not null,
    user_id text not null,
    linked_at timestamptz not null default now(),
    constraint user_wallets_pkey primary key (wallet),
    constraint user_wallets_user_id_fkey foreign key (user_id) references application_users (id) on delete cascade,
    constraint user_wallets_wallet_check check (octet_length(wallet) = 20)
);

comment on table user_wallets is 'Whose a wallet is; one wallet is of one person';

create index user_wallets_user_idx on user_wallets (user_id);
-- For a person by the id of a wallet's record, also where the chain has no record of it.
create index user_wallets_record_idx on user_wallets (user_id(wallet));

create table user_devices (
    user_id text not null,
    -- fcm, apns, webpush …
    kind text not null,
    token text not null,
    added_at timestamptz not null default now(),
    constraint user_devices_pkey primary key (user_id, kind, token),
    constraint user_devices_user_id_fkey foreign key (user_id) references application_users (id) on delete cascade
);

comment on table user_devices is 'Devices of people, for push notifications';
