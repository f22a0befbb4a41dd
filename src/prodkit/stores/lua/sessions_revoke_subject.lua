-- KEYS: revoked, ends, open, as in sessions_open.lua. ARGV: the subject's mark, at. Returns how many were ended by this.
local revoked, ends, open = KEYS[1], KEYS[2], KEYS[3]
local mark, at = ARGV[1], ARGV[2]

local lower, upper = '[' .. mark, '(' .. string.sub(mark, 1, -2) .. ';'
local count = 0
for _, place in ipairs(redis.call('ZRANGEBYLEX', open, lower, upper)) do
  local id = string.sub(place, #mark + 17)
  if redis.call('ZSCORE', ends, id) and redis.call('HSETNX', revoked, id, at) == 1 then
    redis.call('ZADD', ends, 'XX', 'LT', at, id)
    count = count + 1
  end
end
redis.call('ZREMRANGEBYLEX', open, lower, upper)
return count
