-- What was written since an entry of the log of changes.
-- KEYS: changes. ARGV: the entry last seen or '', a tag for the first entry of a log that is not there.
-- Returns the newest entry, and the ids since, or nil in their place where not all of them are known.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not newest then
  -- A first entry, of no key: whoever saw this empty store can tell it from another one that is emptied later.
  local first = '1-' .. ARGV[2]
  redis.call('XADD', KEYS[1], first, 'id', '')
  return {first, false}
end
if newest[1] == ARGV[1] then
  return {newest[1], {}}
end
if ARGV[1] == '' then
  return {newest[1], false}
end
local since = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1001)
if not since[1] or since[1][1] ~= ARGV[1] then
  return {newest[1], false}
end
local ids = {}
for place = 2, #since do
  ids[place - 1] = since[place][2][2]
end
return {newest[1], ids}
