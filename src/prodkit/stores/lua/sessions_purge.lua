-- KEYS: records, seen, revoked, ends, open, as in sessions_open.lua. ARGV: before, most. Returns how many were forgotten.
local records, seen, revoked, ends, open = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local over = redis.call('ZRANGEBYSCORE', ends, '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(over) do
  if not redis.call('HGET', revoked, id) then
    local ours, record = pcall(cjson.decode, redis.call('HGET', records, id) or '')
    if ours and type(record) == 'table' and record.place then
      redis.call('ZREM', open, record.place)
    end
  end
  redis.call('HDEL', records, id)
  redis.call('HDEL', seen, id)
  redis.call('HDEL', revoked, id)
  redis.call('ZREM', ends, id)
end
return #over
