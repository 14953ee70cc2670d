-- Appends messages to their streams atomically. Without messages it only reads the ends of the streams.
--   KEYS  the streams
--   ARGV  the length to trim to, then for each stream the newest number that it must hold and the epoch of its newest
--         entry ("" for none), then for each message: index of its stream, number, epoch, JSON, type, state, the
--         channels of two users or ""
-- Each entry has the epoch of its number. So the newest entry identifies the database, and its history, that wrote the
-- stream. The epoch is a field of the entry and not a key: the two are lost only together, are on the same node, and
-- need no further right.
-- Returns {"ok", repeated numbers, newest number of each stream, epoch of each newest entry, entries}. Without messages,
-- entries are {number, epoch, JSON} of each newest entry. Otherwise returns one of {"lost", {stream, newest number}},
-- {"changed", {stream, newest number}}, {"foreign", {stream, number}}. An error of Redis is returned as it is; entries
-- appended before the error remain.
local STREAM, MESSAGE = 2, 8
local messages = 2 + STREAM * #KEYS

local function field(entry, name)
    for i = 1, #entry[2], 2 do
        if entry[2][i] == name then return entry[2][i + 1] end
    end
    return ''
end

-- Only a writer of this database assigns numbers of our epochs. Epoch 0 marks messages of old versions, without an epoch.
local ours = {}
for at = messages, #ARGV, MESSAGE do ours[ARGV[at + 2]] = ARGV[at + 2] ~= '0' end

local newest, first, epochs, entries = {}, {}, {}, {}
for k = 1, #KEYS do
    newest[k], epochs[k], entries[k] = 0, '', {}
    local info = redis.pcall('XINFO', 'STREAM', KEYS[k])
    if info.err then
        if not string.find(info.err, 'no such key', 1, true) then return info end
    else
        for i = 1, #info, 2 do
            local value = info[i + 1]
            if info[i] == 'last-generated-id' then
                newest[k] = tonumber(string.match(value, '^%d+'))
            elseif info[i] == 'first-entry' and value then
                first[k] = tonumber(string.match(value[1], '^%d+'))
            elseif info[i] == 'last-entry' and value then
                epochs[k] = field(value, 'epoch')
                entries[k] = { tonumber(string.match(value[1], '^%d+')), epochs[k], field(value, 'message') }
            end
        end
    end
    -- Checked in this script and not before it: a FLUSHALL or a failover between check and append would leave a gap, and
    -- another database may have written in between.
    local held, epoch = tonumber(ARGV[STREAM * k]), ARGV[STREAM * k + 1]
    if newest[k] < held then return { 'lost', { k, newest[k] } } end
    -- If a consumer deleted the newest entry, only the newest number can be compared.
    local same = newest[k] == held and (entries[k][1] ~= held or epochs[k] == epoch)
    if messages <= #ARGV and not same and not ours[epochs[k]] then return { 'changed', { k, newest[k] } } end
end
if messages > #ARGV then return { 'ok', {}, newest, epochs, entries } end

local repeats = {}
for at = messages, #ARGV, MESSAGE do
    local k, seq, epoch, json = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
    local stream, id = KEYS[k], ARGV[at + 1] .. '-0'
    if seq > newest[k] then
        local added = redis.pcall('XADD', stream, 'MAXLEN', '~', ARGV[1], id,
            'message', json, 'type', ARGV[at + 4], 'state', ARGV[at + 5], 'epoch', epoch)
        if type(added) == 'table' and added.err then return added end
        newest[k], epochs[k] = seq, epoch
        -- Only together with the entry, so that a repeat is not published twice.
        for _, channel in ipairs({ stream, ARGV[at + 6], ARGV[at + 7] }) do
            local heard = channel ~= '' and redis.pcall('PUBLISH', channel, json)
            if type(heard) == 'table' and heard.err then return heard end
        end
    else
        -- A repeat has an entry, or is older than the first entry and was trimmed. A later number without an entry was
        -- never sent, and cannot be appended any more.
        local held = redis.pcall('XRANGE', stream, id, id)
        if held.err then return held end
        if held[1] then
            local marked = field(held[1], 'epoch')
            if field(held[1], 'message') ~= json or (marked ~= '' and marked ~= epoch) then
                return { 'foreign', { k, seq } }
            end
        elseif first[k] and seq > first[k] then
            return { 'foreign', { k, seq } }
        end
        repeats[#repeats + 1] = seq
    end
end
return { 'ok', repeats, newest, epochs, {} }
