-- What is deleted when it is old: found by index, however many rows there are.
create index dead_letters_resolved_idx on dead_letters (resolved_at) where resolved_at is not null;
create index dead_letters_source_idx on dead_letters (source, id) where resolved_at is null;
