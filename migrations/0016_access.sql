-- What the public server keeps about callers, so that any number of servers act as one. Nothing here is about a chain.

create sequence revocation_numbers;

-- Credentials that are worth nothing any more. Every server reads what is new once a second.
create table revocations (
    -- 'sub' for all tokens of a user issued up to revoked_at, 'jti' for one token, 'key' for a service key.
    kind text not null,
    -- The user, the token's id, or the hash of the key.
    name text not null,
    revoked_at timestamptz not null,
    -- Grows with each change, in the order of the commits: what a server reads on from.
    number bigint not null,
    constraint revocations_pkey primary key (kind, name),
    constraint revocations_number_key unique (number),
    constraint revocations_kind_check check (kind in ('sub', 'jti', 'key'))
);
comment on table revocations is 'Credentials that the public server refuses although they have not expired';

-- Tickets that open one stream once. A server that takes one deletes it, so no other can.
create table tickets (
    -- SHA-256 of the ticket: who reads this table can use none.
    hash bytea not null,
    -- Who asked for it.
    owner text not null,
    -- JSON: the caller's claims, the rooms and the position to begin after.
    content text not null,
    expires_at timestamptz not null,
    constraint tickets_pkey primary key (hash),
    constraint tickets_hash_check check (octet_length(hash) = 32)
);
create index tickets_owner_idx on tickets (owner, expires_at);
create index tickets_expires_at_idx on tickets (expires_at);
comment on table tickets is 'Single-use tickets of the public server, for clients that can send no header';

-- Answers to requests with an Idempotency-Key, kept for a day.
create table request_answers (
    owner text not null,
    route text not null,
    key text not null,
    -- SHA-256 of the body: the same key with another body is refused.
    request bytea not null,
    began_at timestamptz not null,
    -- HTTP status and JSON; null while the request runs.
    status bigint,
    answer text,
    constraint request_answers_pkey primary key (owner, route, key),
    constraint request_answers_answer_check check ((status is null) = (answer is null))
);
create index request_answers_began_at_idx on request_answers (began_at);
comment on table request_answers is 'First answers to requests with an Idempotency-Key, given again to repeats';
