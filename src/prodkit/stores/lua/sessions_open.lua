-- KEYS: records, seen, revoked (hashes by id), ends (sorted set of ids by when they are over), open (sorted set, all of score
-- 0: the subject's mark, sixteen signs that sort as the moment of creation does, the id; of sessions that nobody revoked).
-- ARGV: id, text of the record, seen_at, revoked_at or '', end, created_at, most, mark, sixteen signs.
-- Returns 1, or 0 if there is a session of this id.
local records, seen, revoked, ends, open = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, now, most, mark = ARGV[1], ARGV[6], tonumber(ARGV[7]), ARGV[8]

if redis.call('HEXISTS', records, id) == 1 then
  return 0
end
-- These raise an error where a name is not ours, before anything is written.
redis.call('HLEN', seen)
redis.call('HLEN', revoked)
redis.call('ZCARD', ends)

-- The newest most - 1 stay beside the one that comes.
local moment, kept = tonumber(now), 0
local lower, upper = '[' .. mark, '(' .. string.sub(mark, 1, -2) .. ';'
local others = {}
if redis.call('ZLEXCOUNT', open, lower, upper) >= most then
  others = redis.call('ZREVRANGEBYLEX', open, upper, lower)
end
for _, place in ipairs(others) do
  local other = string.sub(place, #mark + 17)
  local finish = redis.call('ZSCORE', ends, other)
  if finish and tonumber(finish) > moment then
    kept = kept + 1
    if kept >= most then
      redis.call('HSET', revoked, other, now)
      redis.call('ZADD', ends, 'XX', now, other)
      redis.call('ZREM', open, place)
    end
  end
end

redis.call('ZADD', ends, ARGV[5], id)
redis.call('HSET', seen, id, ARGV[3])
redis.call('HSET', records, id, ARGV[2])
if ARGV[4] ~= '' then
  redis.call('HSET', revoked, id, ARGV[4])
else
  redis.call('ZADD', open, 0, mark .. ARGV[9] .. id)
end
return 1
