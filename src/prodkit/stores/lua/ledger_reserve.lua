-- ARGV: now or nothing, id, amount, seconds of the lease, state, whether an envelope, asks, attributes, units as a hold has them
-- or nothing.
-- Returns {'done', hold}, {'known', hold}, {'refused', number of the ask, limit set or '', settled, held}, or {'overfull', budget}.
local id, amount = ARGV[2], tonumber(ARGV[3])
local known = read(id)
if known then
  return { 'known', written(known) }
end
local names, budgets, list = accounts_of(ARGV[7])
local limits, settled, held = fields(LIMITS, budgets), fields(SETTLED, names), fields(HELD, names)
local hold = {
  id = id, state = ARGV[5], envelope = ARGV[6], amount = amount, drawn = 0, charged = 0, ends = later(moment(ARGV[1]), ARGV[4]),
  exact = '0', parent = '', asks = ARGV[7], attributes = ARGV[8],
  units = ARGV[9],
}
local quantities = {}
for unit, pair in pairs(units_of(hold)) do
  quantities[unit] = tonumber(pair[1])
end
-- A unit that is not named only needs that there is some left.
local wanted, held_by = counted(list, amount, quantities, 1), counted(list, amount, quantities, 0)
for number, ask in ipairs(list) do
  local limit = limits[number] and whole(limits[number], LIMITS) or tonumber(ask[4])
  local exposed = whole(settled[number], SETTLED) + whole(held[number], HELD)
  if limit and ask[6] ~= '0' and exposed + wanted[number] > limit then
    return { 'refused', number, limits[number] or '', settled[number] or '0', held[number] or '0' }
  end
end
local refusal = refuses(budgets, held, settled, held_by)
if refusal then
  return refusal
end
call('HSET', HOLDS, id, written(hold))
call('ZADD', OPEN, hold.ends, id)
add(HELD, names, held_by)
return { 'done', written(hold) }
