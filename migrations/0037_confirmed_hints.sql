-- Hints that a reorg may open again, by their transaction.

create index inbound_hints_confirmed_idx on inbound_hints (chain_id, tx_hash) where state = 'confirmed';
