-- One page of records in the order of the bytes of their index.
-- KEYS: records, index. ARGV: from, to (both as ZRANGEBYLEX has them), most, how many bytes of the index stand before the id.
-- Returns ids and texts by turns.
local places = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
if #places == 0 then
  return {}
end
local ids = {}
for number, place in ipairs(places) do
  ids[number] = string.sub(place, tonumber(ARGV[4]) + 1)
end
local texts = redis.call('HMGET', KEYS[1], unpack(ids))
local page = {}
for number, id in ipairs(ids) do
  page[2 * number - 1] = id
  page[2 * number] = texts[number]
end
return page
