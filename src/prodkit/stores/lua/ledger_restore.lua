-- ARGV: of an exported entry its sequence, kind, amount, moment, whether it is estimated, hold, then as JSON hold, units, asks,
-- attributes and reason, and a last line or nothing.
-- Returns {'done'}, {'known', sequence, entry} where that sequence is taken, {'gap', last sequence} where it is not the next,
-- {'overdrawn', budget} or {'overfull', budget}.
local last = whole(call('HGET', INDEX, 'last'), INDEX)
if tonumber(ARGV[1]) <= last then
  return answer('known', ARGV[1])
elseif tonumber(ARGV[1]) > last + 1 then
  return { 'gap', digits(last) }
end
local kind, nano, at, id, asks = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[6], ARGV[9]
local names, budgets, list = accounts_of(asks)
local quantities = cjson.decode(ARGV[8])
local settled, settled_by = fields(SETTLED, names), counted(list, nano, quantities, 0)

-- What became of its hold, which may be there as it was before, or not at all.
local hold, held_names, held_by
if kind ~= 'manual' and kind ~= 'cached' then
  hold = read(id)
  if hold and hold.open then
    local held_budgets, held_list
    held_names, held_budgets, held_list = accounts_of(hold.asks)
    held_by = rests(hold, held_list)
    for number, amount in ipairs(held_by) do
      held_by[number] = -amount
    end
    local refusal = refuses(held_budgets, fields(HELD, held_names), {}, held_by)
    if refusal then
      return refusal
    end
  elseif not hold then
    local reserved = {}
    for unit, quantity in pairs(kind == 'presumed' and quantities or {}) do
      reserved[unit] = { digits(quantity) }
    end
    hold = {
      id = id, envelope = '0', amount = nano, drawn = 0, charged = 0, exact = '0', parent = '', asks = asks,
      attributes = ARGV[10], units = ARGV[12] ~= '' and cjson.encode(reserved) or '',
    }
  end
  hold.state, hold.ends = kind == 'presumed' and 'presumed' or 'settled', at
  hold.charged, hold.attributes = kind == 'adjusted' and hold.charged + nano or nano, ARGV[10]
end
local refusal = refuses(budgets, {}, settled, nil, settled_by)
if refusal then
  return refusal
end

local found = reached(list, names, settled, settled_by)
local by_id = kind == 'manual' and MANUAL or kind == 'cached' and CACHED
if by_id then
  call('HEXISTS', by_id, id)
end
local entry = {
  kind = kind, nano = nano, estimated = ARGV[5], hold = ARGV[7], units = ARGV[8], asks = asks, attributes = ARGV[10],
  reason = ARGV[11], saved = ARGV[12] ~= '' and ARGV[12] or nil,
}
local sequence = enter(at, entry)
tell(found, at, entry)
if by_id then
  call('HSET', by_id, id, sequence)
else
  hold.exact = kind == 'adjusted' and ARGV[5] == '0' and sequence or hold.exact
  call('HSET', HOLDS, id, written(hold))
  call('ZREM', OPEN, id)
end
add(HELD, held_names, held_by)
add(SETTLED, names, settled_by)
return { 'done' }
