-- Appends messages to their streams, all at one moment as others see it.
--   KEYS  the streams
--   ARGV  the length to trim to, then for each stream the newest number it must hold,
--         then for each message: index of its stream, number, JSON, type, state, the user's channel or ""
-- Answers {"ok", numbers that were there already, newest number of each stream}, {"lost", {stream, newest number}, {}} or
-- {"foreign", {stream, number}, {}}; any error of Redis is the answer, and what came before it stays.
local newest = {}
for k = 1, #KEYS do
    newest[k] = 0
    local info = redis.pcall('XINFO', 'STREAM', KEYS[k])
    if info.err then
        if not string.find(info.err, 'no such key', 1, true) then return info end
    else
        for i = 1, #info, 2 do
            if info[i] == 'last-generated-id' then newest[k] = tonumber(string.match(info[i + 1], '^%d+')) end
        end
    end
    -- Checked here and not before: a FLUSHALL or a failover between a look and the append would leave a hole.
    if newest[k] < tonumber(ARGV[1 + k]) then return { 'lost', { k, newest[k] }, {} } end
end

local repeats = {}
for at = 2 + #KEYS, #ARGV, 6 do
    local k, seq, json = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
    local stream, id = KEYS[k], ARGV[at + 1] .. '-0'
    if seq > newest[k] then
        local added = redis.pcall('XADD', stream, 'MAXLEN', '~', ARGV[1], id,
            'message', json, 'type', ARGV[at + 3], 'state', ARGV[at + 4])
        if type(added) == 'table' and added.err then return added end
        newest[k] = seq
        -- Only with the entry, so that a repeat is not heard twice.
        for _, channel in ipairs({ stream, ARGV[at + 5] }) do
            local heard = channel ~= '' and redis.pcall('PUBLISH', channel, json)
            if type(heard) == 'table' and heard.err then return heard end
        end
    else
        -- A repeat, unless somebody else wrote under our number. One that is gone was trimmed or read and deleted.
        local held = redis.pcall('XRANGE', stream, id, id)
        if held.err then return held end
        if held[1] and held[1][2][2] ~= json then return { 'foreign', { k, seq }, {} } end
        repeats[#repeats + 1] = seq
    end
end
return { 'ok', repeats, newest }
