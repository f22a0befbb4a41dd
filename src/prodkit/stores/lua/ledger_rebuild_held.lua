-- Returns the names of the accounts that were wrong.
-- Sums are kept in two parts, of 1e9 and of the rest: a double holds each exactly.
local sums = {}
local ids = call('ZRANGE', OPEN, 0, -1)
for first = 1, #ids, CHUNK do
  local some = { unpack(ids, first, math.min(first + CHUNK - 1, #ids)) }
  for number, text in ipairs(fields(HOLDS, some)) do
    local hold = parsed(some[number], text or foreign(HOLDS))
    if hold.open then
      local names, _, list = accounts_of(hold.asks)
      for place, amount in ipairs(rests(hold, list)) do
        if amount > 0 then
          local sum = sums[names[place]] or { 0, 0 }
          sum[1], sum[2] = sum[1] + floor(amount / 1e9), sum[2] + amount % 1e9
          sums[names[place]] = sum
        end
      end
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
