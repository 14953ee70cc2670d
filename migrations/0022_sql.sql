-- For people who write SQL (docs/SQL.md): functions between text and the raw bytes that the tables hold, and a comment on each
-- column of the tables that are made to be read.

-- An address as the tables hold it: `where account = addr('0x…')` goes by the index. A text in place of an address would be
-- taken for other bytes, and the answer would be empty; this fails instead.
create function addr(text)
returns bytea
language plpgsql
immutable strict parallel safe
as $$
begin
    if $1 !~* '^0x[0-9a-f]{40}$' then
        raise exception '"%" is no address', $1
            using errcode = 'invalid_text_representation', hint = 'An address is 0x and 40 hexadecimal digits.';
    end if;
    return decode(substr($1, 3), 'hex');
end
$$;

-- As addr, of a block's or a transaction's hash.
create function hash32(text)
returns bytea
language plpgsql
immutable strict parallel safe
as $$
begin
    if $1 !~* '^0x[0-9a-f]{64}$' then
        raise exception '"%" is no hash', $1
            using errcode = 'invalid_text_representation', hint = 'A hash is 0x and 64 hexadecimal digits.';
    end if;
    return decode(substr($1, 3), 'hex');
end
$$;

-- The inverse of both: bytes as 0x and lower-case hexadecimal digits.
create function hex0x(bytea)
returns text
language sql
immutable strict parallel safe
return '0x' || encode($1, 'hex');

-- Where the event of an id is in its chain, so that a message leads to its row by the primary key. The inverse of event_id, as
-- far as an id is long. Messages about users have ids of their own.
create function event_place(id uuid, out block_number bigint, out tx_index bigint, out log_index bigint)
language sql
immutable strict parallel safe
begin atomic
    select substring(bits from 1 for 40)::bit(40)::bigint, substring(bits from 41 for 20)::bit(20)::bigint,
        substring(bits from 61 for 24)::bit(24)::bigint
    from (
        select substring(raw from 1 for 48) || substring(raw from 53 for 12) || substring(raw from 67 for 62) as bits
        from (select ('x' || replace(event_place.id::text, '-', ''))::bit(128) as raw) as whole
    ) as joined;
end;

comment on function addr(text) is 'An address in 0x form as bytes; an error for anything else';
comment on function hash32(text) is 'A hash in 0x form as bytes; an error for anything else';
comment on function hex0x(bytea) is 'Bytes in 0x form';
comment on function event_place(uuid) is 'Block number, transaction index and log index of an event''s id';

comment on column events.chain_id is 'EIP-155';
comment on column events.block_number is 'Number of the block';
comment on column events.tx_index is 'Index of the transaction in the block';
comment on column events.log_index is 'Index of the log; it repeats within a block on some chains';
comment on column events.block_time is 'Time of the block, as the block has it';
comment on column events.kind_id is 'Source and ABI event: event_kinds.id';
comment on column events.projection is 'What it changes: n(one) s(take) b(alance) a(llowance) o(wner)';
comment on column events.block_hash is 'Hash of the block, 32 bytes';
comment on column events.tx_hash is 'Hash of the transaction, 32 bytes';
comment on column events.address is 'The contract, 20 bytes';
comment on column events.counterparty is 'The other party: receiver, spender or operator, 20 bytes';
comment on column events.token_id is 'Token id of an NFT, exact';

comment on column users.id is 'A function of the wallet, user_id(wallet); users of older versions have another';
comment on column users.wallet is 'The address, 20 bytes';
comment on column users.stake_amount is 'Base units, summed over all vaults and chains';
comment on column users.staked_at is 'Block time of the latest stake; null while there is none';
comment on column users.status is 'active with a stake, else what the application wrote';
comment on column users.status_before is 'What the status was before the stake';
comment on column users.origin is 'chain: the row goes with its last stake. application: it stays';
comment on column users.created_at is 'When the row was written';

comment on table token_balances is 'Sum of all transfers of each account and ERC-20 token';
comment on column token_balances.chain_id is 'EIP-155';
comment on column token_balances.token is 'The contract, 20 bytes';
comment on column token_balances.account is 'The holder, 20 bytes';
comment on column token_balances.balance is 'Base units. Below zero for rebasing tokens, and where history was not read from the start';
comment on column token_balances.events is 'Events behind the sum';
comment on column token_balances.negative is 'Whether the balance is below zero';

comment on table token_allowances is 'What each owner approved last';
comment on column token_allowances.chain_id is 'EIP-155';
comment on column token_allowances.token is 'The contract, 20 bytes';
comment on column token_allowances.owner is 'Who approved, 20 bytes';
comment on column token_allowances.spender is 'Who may spend, 20 bytes';
comment on column token_allowances.amount is 'Base units as approved: spending lowers it without an event, so an upper bound';

comment on column nft_owners.chain_id is 'EIP-155';
comment on column nft_owners.contract is 'The contract, 20 bytes';
comment on column nft_owners.token_id is 'Token id, exact';
comment on column nft_owners.owner is 'The owner, 20 bytes';

comment on table stakes is 'What each account staked in each vault';
comment on column stakes.chain_id is 'EIP-155';
comment on column stakes.contract is 'The vault, 20 bytes';
comment on column stakes.account is 'Who staked, 20 bytes';
comment on column stakes.amount is 'Base units';
comment on column stakes.events is 'Events behind the sum';
comment on column stakes.last_at is 'Block time of the latest stake';

comment on table event_kinds is 'Each ABI event of each source';
comment on column event_kinds.id is 'events.kind_id';
comment on column event_kinds.source is 'Name of the source';
comment on column event_kinds.chain_id is 'EIP-155';
comment on column event_kinds.type is 'Type of its messages, such as erc20.transfer';
comment on column event_kinds.event is 'Name in the ABI';
comment on column event_kinds.signature is 'Name and types, as hashed for the first topic';
comment on column event_kinds.events is 'How many events there are, without counting';

comment on column checkpoints.source is 'Name of the source';
comment on column checkpoints.chain_id is 'EIP-155';
comment on column checkpoints.block_number is 'Newest stored block of the source';
comment on column checkpoints.block_hash is 'Its hash, 32 bytes';
comment on column checkpoints.updated_at is 'When it moved last';

comment on table reorgs is 'What was taken back, and when: by reorgs, by commands and by repairs';
comment on column reorgs.id is 'orphaned_events.reorg_id';
comment on column reorgs.chain_id is 'EIP-155';
comment on column reorgs.ancestor_number is 'Newest block that stayed';
comment on column reorgs.ancestor_hash is 'Its hash, 32 bytes';
comment on column reorgs.old_tip_number is 'Newest stored block before';
comment on column reorgs.old_tip_hash is 'Its hash, 32 bytes';
comment on column reorgs.depth is 'Blocks between the two';
comment on column reorgs.events is 'Events taken back';
comment on column reorgs.detected_at is 'When';
comment on column reorgs.reason is 'reorg, rewind, repair or removal';

comment on table dead_letters is 'Logs and deliveries that cannot succeed by a retry';
comment on column dead_letters.kind is 'decode, mapping or delivery';
comment on column dead_letters.source is 'Name of the source; null for a delivery';
comment on column dead_letters.reason is 'Why, in words';
comment on column dead_letters.raw is 'The log as the node returned it, or the message as it was to be sent';
comment on column dead_letters.attempts is 'Tries so far';
comment on column dead_letters.resolved_at is 'When it was stored, put in line again or dropped; null while it is open';
comment on column dead_letters.note is 'Why an operator dropped it';
comment on column dead_letters.sink is 'Name of the sink; null for a log';
comment on column dead_letters.seq is 'Number of the message; null for a log';

comment on column outbox.seq is 'Number of the message: no gaps within an epoch, in commit order';
comment on column outbox.created_at is 'When its transaction began';
comment on column outbox.seen_at is 'When the head was seen that made it possible; null for history';
comment on column outbox.chain_id is 'EIP-155';
comment on column outbox.aggregate_type is 'user, token, nft or contract';
comment on column outbox.type is 'Type of the message';
comment on column outbox.state is 'pending, confirmed or retracted';
comment on column outbox.user_id is 'The user it is about, where one is known';
comment on column outbox.counterparty_user_id is 'The other user it is about, where there is one';
comment on column outbox.account is 'The wallet it is about besides its aggregate, 20 bytes';
comment on column outbox.message is 'The whole message, JSON';
