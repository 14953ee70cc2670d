-- Appends messages to their streams, all at one moment as others see it; without messages looks what the streams hold.
--   KEYS  the streams
--   ARGV  the length to trim to, then for each stream the newest number it must hold and the epoch of its newest entry ("" for
--         none), then for each message: index of its stream, number, epoch, JSON, type, state, the channels
--         of two users or ""
-- Each entry bears the epoch of its number, so that the newest says to which history of which database the stream belongs. It
-- stands in the entry and not in a key of its own: it cannot be lost without it, lies on the same node, and needs no right.
-- Answers {"ok", numbers that were there already, newest number of each stream, epoch of each newest entry, entries}, where
-- entries are {number, epoch, JSON} of each newest entry when there are no messages; or one of {"lost", {stream, newest
-- number}}, {"changed", {stream, newest number}}, {"foreign", {stream, number}}. Any error of Redis is the answer, and what came
-- before it stays.
local STREAM, MESSAGE = 2, 8
local messages = 2 + STREAM * #KEYS

local function field(entry, name)
    for i = 1, #entry[2], 2 do
        if entry[2][i] == name then return entry[2][i + 1] end
    end
    return ''
end

-- Only a writer of this database gives numbers of our epochs; 0 stands for messages from before there were any.
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
    -- Checked here and not before: a FLUSHALL or a failover between a look and the append would leave a hole, and another
    -- database may have come in between.
    local held, epoch = tonumber(ARGV[STREAM * k]), ARGV[STREAM * k + 1]
    if newest[k] < held then return { 'lost', { k, newest[k] } } end
    -- A newest entry that a consumer has deleted says nothing, and its number is the one we left.
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
        -- Only with the entry, so that a repeat is not heard twice.
        for _, channel in ipairs({ stream, ARGV[at + 6], ARGV[at + 7] }) do
            local heard = channel ~= '' and redis.pcall('PUBLISH', channel, json)
            if type(heard) == 'table' and heard.err then return heard end
        end
    else
        -- A repeat only if it is there, or was: what is older than the first entry was trimmed. Inside the stream a number
        -- without an entry is one that nobody sent, and it cannot be put there any more.
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
