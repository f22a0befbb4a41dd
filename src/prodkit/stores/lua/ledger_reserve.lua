-- ARGV: now or nothing, id, amount, seconds of the lease, state, whether an envelope, asks, attributes; then of each ask its
-- limit or nothing.
-- Returns {'done', hold}, {'known', hold}, {'refused', number of the ask, limit set or '', settled, held}, or {'overfull', budget}.
local id, amount = ARGV[2], tonumber(ARGV[3])
local known = read(id)
if known then
  return { 'known', written(known) }
end
local names, budgets = accounts_of(ARGV[7])
local limits, settled, held = fields(LIMITS, budgets), fields(SETTLED, names), fields(HELD, names)
for number = 1, #names do
  local limit = limits[number] and whole(limits[number], LIMITS) or tonumber(ARGV[8 + number])
  if limit and whole(settled[number], SETTLED) + whole(held[number], HELD) + amount > limit then
    return { 'refused', number, limits[number] or '', settled[number] or '0', held[number] or '0' }
  end
end
local refusal = refuses(budgets, held, settled, amount, 0)
if refusal then
  return refusal
end
local hold = {
  id = id, state = ARGV[5], envelope = ARGV[6], amount = amount, drawn = 0, charged = 0, ends = later(moment(ARGV[1]), ARGV[4]),
  exact = '0', parent = '', asks = ARGV[7], attributes = ARGV[8],
}
call('HSET', HOLDS, id, written(hold))
call('ZADD', OPEN, hold.ends, id)
add(HELD, names, amount)
return { 'done', written(hold) }
