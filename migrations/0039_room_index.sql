-- Room keys are stored with the message, and the daemon adds them to outbox_rooms afterwards, many messages at once. A row for each
-- address and user, written by the transaction that stores the message, made a live block and a reorg slower.
alter table outbox add column room_keys bigint[] not null default '{}';

comment on column outbox.room_keys is 'Hashes of the addresses and users that the message names; outbox_rooms has a row for each';

-- How far outbox_rooms has the keys of messages. Not in outbox_head, whose row every writer with messages locks until its commit.
create table outbox_room_index (
    id boolean not null default true,
    -- Number of the last message whose keys are in outbox_rooms.
    upto bigint not null,
    constraint outbox_room_index_pkey primary key (id),
    constraint outbox_room_index_id_check check (id)
);

comment on table outbox_room_index is 'One row: how far outbox_rooms has the keys of messages';

insert into outbox_room_index (upto) select seq from outbox_head;

-- Messages that are stored already have no keys with them, so trimming them would leave their rows. They are read one by one, until
-- they are trimmed.
truncate outbox_rooms;
update outbox_head set rooms_from = seq + 1;

-- Rows of a trimmed message are found by its keys.
drop index outbox_rooms_seq_idx;
