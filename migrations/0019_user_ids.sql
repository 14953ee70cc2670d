-- A user's id is a function of the wallet: the same after a reorg took the user away and brought it back, and in each database.

-- A UUIDv8 (RFC 9562 section 5.8) of a hash of the wallet.
create function user_id(wallet bytea)
returns uuid
language sql
immutable strict parallel safe
return (
    select encode(set_byte(set_byte(h, 6, (get_byte(h, 6) & 15) | 128), 8, (get_byte(h, 8) & 63) | 128), 'hex')::uuid
    from (select substring(sha256('chainflume user'::bytea || wallet) from 1 for 16) as h) as hashed
);

-- Ids that are not that function: users of older programs, and of an application that chose the id itself. Other tables may
-- refer to them, so rows keep them, and a row that comes back gets its id back.
create table user_ids (
    wallet bytea not null,
    id uuid not null,
    constraint user_ids_pkey primary key (wallet)
);

comment on table user_ids is 'Ids of users that were deleted and had another id than user_id(wallet)';

create function users_set_id() returns trigger language plpgsql as $$
begin
    new.id := coalesce((select k.id from user_ids k where k.wallet = new.wallet), user_id(new.wallet));
    return new;
end
$$;

create function users_keep_id() returns trigger language plpgsql as $$
begin
    insert into user_ids (wallet, id) values (old.wallet, old.id)
    on conflict on constraint user_ids_pkey do update set id = excluded.id;
    return old;
end
$$;

alter table users alter column id drop default;
create trigger users_set_id before insert on users for each row when (new.id is null) execute function users_set_id();
create trigger users_keep_id before delete on users for each row when (old.id <> user_id(old.wallet))
    execute function users_keep_id();

-- The second user of a message: a transfer between two users is about both.
alter table outbox add column counterparty_user_id uuid;
