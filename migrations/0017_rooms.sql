-- Messages by what they name, for clients that come back: a room with ten messages among a million is read by ten.

-- From which number on messages are in outbox_rooms. Older ones are read one by one, as before, until they are trimmed: building
-- an index of them would hold up the daemon for as long as the table is large.
alter table outbox_head add column rooms_from bigint not null default 1;
update outbox_head set rooms_from = seq + 1;

-- One row for each address or user that a message names. A table and not a GIN index of an array: pages are read in the order
-- of seq, from any position, and GIN has no order; and an address that is in every message must cost a page, not the whole list.
create table outbox_rooms (
    -- Hash of the id in the names of rooms (`user-<id>`, `address-<id>`, `contract-<id>`). Two ids of one hash cost a look at the
    -- other's messages.
    key bigint not null,
    seq bigint not null,
    constraint outbox_rooms_pkey primary key (key, seq)
);

comment on table outbox_rooms is 'Which messages of the outbox name an address or a user; trimmed with them';

-- For trimming. It grows at its end alone, which costs writers next to nothing.
create index outbox_rooms_seq_idx on outbox_rooms (seq);
