-- KEYS: answer, lease. ARGV: owner, milliseconds of a lease.
-- Returns {'found' | 'leading' | 'taken', milliseconds that this holds, the answer}.
local answer = redis.call('GET', KEYS[1])
if answer then
  return { 'found', redis.call('PTTL', KEYS[1]), answer }
end
local leader = redis.call('GET', KEYS[2])
if leader and leader ~= ARGV[1] then
  return { 'taken', redis.call('PTTL', KEYS[2]), '' }
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return { 'leading', tonumber(ARGV[2]), '' }
