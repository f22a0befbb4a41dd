-- KEYS: answer, lease, ends (sorted set of keys by when they expire, in milliseconds), sizes (hash by key; that of '' is the sum).
-- ARGV: owner, answer, milliseconds to keep it, key, what the names of answers begin with, most entries, most bytes.
-- Returns whether it was kept. All names have one hash tag, so those that are put together here are on this machine.
local answer, lease, ends, sizes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local text, ttl, key, prefix = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local most_entries, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])

if redis.call('GET', lease) ~= ARGV[1] then
  return 0
end
-- These raise an error where a name is not ours, before anything is written.
redis.call('ZCARD', ends)
local total = tonumber(redis.call('HGET', sizes, '') or '0')
-- First of all that is written: a server without memory refuses it, and nothing was changed.
redis.call('SET', answer, text, 'PX', ttl)
redis.call('DEL', lease)

local function uncount(one)
  total = total - tonumber(redis.call('HGET', sizes, one) or '0')
  redis.call('HDEL', sizes, one)
  redis.call('ZREM', ends, one)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
uncount(key)
for _, one in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do
  uncount(one)
end
while redis.call('ZCARD', ends) >= most_entries or total + #text > most_bytes do
  local first = redis.call('ZRANGE', ends, 0, 0)[1]
  if not first then
    total = 0
    break
  end
  uncount(first)
  redis.call('DEL', prefix .. first)
end
redis.call('ZADD', ends, now + ttl, key)
redis.call('HSET', sizes, key, #text, '', total + #text)
-- What is counted goes when the last of what it counts does.
for _, name in ipairs({ ends, sizes }) do
  if redis.call('PTTL', name) < ttl then
    redis.call('PEXPIRE', name, ttl)
  end
end
return 1
