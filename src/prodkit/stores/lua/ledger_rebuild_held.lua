-- Returns the names of the accounts that were wrong.
-- Sums are kept in two parts, of 1e9 nano-USD and of the rest: a double holds each exactly.
local sums = {}
local ids = call('ZRANGE', OPEN, 0, -1)
for first = 1, #ids, CHUNK do
  local some = { unpack(ids, first, math.min(first + CHUNK - 1, #ids)) }
  for number, text in ipairs(fields(HOLDS, some)) do
    local hold = parsed(some[number], text or foreign(HOLDS))
    local nano = hold.open and hold.amount - hold.drawn or 0
    for _, name in ipairs(nano > 0 and accounts_of(hold.asks) or {}) do
      local sum = sums[name] or { 0, 0 }
      sum[1], sum[2] = sum[1] + floor(nano / 1e9), sum[2] + nano % 1e9
      sums[name] = sum
    end
  end
end
local wrong, kept = {}, call('HGETALL', HELD)
for name, sum in pairs(sums) do
  local carried = floor(sum[2] / 1e9)
  local whole_part, rest = sum[1] + carried, sum[2] - carried * 1e9
  local text = whole_part > 0 and format('%.0f%09.0f', whole_part, rest) or digits(rest)
  if call('HGET', HELD, name) ~= text then
    call('HSET', HELD, name, text)
    wrong[#wrong + 1] = name
  end
end
for number = 1, #kept, 2 do
  if not sums[kept[number]] then
    call('HDEL', HELD, kept[number])
    wrong[#wrong + 1] = kept[number]
  end
end
return wrong
