-- A person may decide that a dead letter is nothing to worry about.

-- Why it was resolved by hand. Null while it is open, and where the log became an event.
alter table dead_letters add column note text;
