-- ARGV: a sequence, the most entries to read; then of each account its name and the sum of its entries up to that sequence.
-- Returns the names of the accounts that were wrong; nothing if there are too many later entries to add here.
local last = whole(call('HGET', INDEX, 'last'), INDEX)
if last - tonumber(ARGV[1]) > tonumber(ARGV[2]) then
  return false
end
local rest = {}
if last > tonumber(ARGV[1]) then
  for _, row in ipairs(call('XRANGE', ENTRIES, digits(tonumber(ARGV[1]) + 1) .. '-0', '+')) do
    local entry = split(row[2][2])
    local names, _, list = accounts_of(entry.asks)
    local amounts = counted(list, tonumber(entry.nano), cjson.decode(entry.units), 0)
    for number, name in ipairs(names) do
      rest[name] = rest[name] or {}
      table.insert(rest[name], digits(amounts[number]))
    end
  end
end
local wrong = {}
for number = 3, #ARGV, 2 do
  local name, sum = ARGV[number], ARGV[number + 1]
  local kept = call('HGET', SETTLED, name) or '0'
  if rest[name] or kept ~= sum then
    -- Redis adds them up, in 64 bits.
    call('HSET', SETTLED, name, sum)
    for _, nano in ipairs(rest[name] or {}) do
      call('HINCRBY', SETTLED, name, nano)
    end
    local true_sum = call('HGET', SETTLED, name)
    if true_sum ~= kept then
      wrong[#wrong + 1] = name
    end
    if true_sum == '0' then
      call('HDEL', SETTLED, name)
    end
  end
end
return wrong
