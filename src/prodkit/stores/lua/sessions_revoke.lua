-- KEYS: records, revoked, ends, open, as in sessions_open.lua. ARGV: id, at. Returns whether there is such a session.
local records, revoked, ends, open = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, at = ARGV[1], ARGV[2]

local text = redis.call('HGET', records, id)
if not text then
  return 0
end
local known = redis.call('HGET', revoked, id)
if not known or tonumber(at) < tonumber(known) then
  redis.call('HSET', revoked, id, at)
  redis.call('ZADD', ends, 'XX', 'LT', at, id)
end
if not known then
  -- It ends also where its text is not ours; then its place stays, and means nothing.
  local ours, record = pcall(cjson.decode, text)
  if ours and type(record) == 'table' and record.place then
    redis.call('ZREM', open, record.place)
  end
end
return 1
