-- KEYS: seen. ARGV: id, at.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and tonumber(ARGV[2]) > tonumber(known) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return 1
