-- The foreign key looked up the record of the reorg for each event that was taken back, which took more time than moving the event.
-- One statement writes the events of a record that the same transaction made, and retention deletes a record after its events.
alter table orphaned_events drop constraint orphaned_events_reorg_id_fkey;
