-- What stands under each of KEYS: 'hash', 'zset', 'stream' and so on, 'none' for nothing.
local types = {}
for number, name in ipairs(KEYS) do
  types[number] = redis.call('TYPE', name).ok
end
return types
