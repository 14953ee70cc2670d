-- Ids under which there was a person of its own, until a wallet showed that two of them are one.

create table user_aliases (
    -- An id of the application.
    alias text not null,
    -- The id of the person, who was there before.
    user_id text not null,
    merged_at timestamptz not null default now(),
    constraint user_aliases_pkey primary key (alias),
    constraint user_aliases_user_id_fkey foreign key (user_id) references application_users (id) on delete cascade
);

comment on table user_aliases is 'Other ids of people, which lead to the same person';

create index user_aliases_user_idx on user_aliases (user_id);
