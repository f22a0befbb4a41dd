-- KEYS: answer, lease, ends, sizes, as in cache_fill.lua. ARGV: key.
local answer, lease, ends, sizes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local size = redis.call('HGET', sizes, ARGV[1])
redis.call('ZREM', ends, ARGV[1])
redis.call('DEL', answer, lease)
if size then
  redis.call('HDEL', sizes, ARGV[1])
  redis.call('HINCRBY', sizes, '', -tonumber(size))
end
return 1
