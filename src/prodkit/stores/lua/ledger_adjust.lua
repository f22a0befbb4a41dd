-- ARGV: now or nothing, id, amount, asks, attributes, then as JSON its reason and its id.
-- Returns {'done', sequence, entry}, {'known', sequence, entry}, {'overdrawn', budget} or {'overfull', budget}.
local function answer(word, sequence)
  local found = call('XRANGE', ENTRIES, sequence .. '-0', sequence .. '-0')[1] or foreign(ENTRIES)
  return { word, sequence, found[2][2] }
end

local id, nano = ARGV[2], tonumber(ARGV[3])
local known = call('HGET', MANUAL, id)
if known then
  return answer('known', known)
end
local names, budgets = accounts_of(ARGV[4])
local refusal = refuses(budgets, fields(HELD, names), fields(SETTLED, names), 0, nano)
if refusal then
  return refusal
end
local sequence = enter(moment(ARGV[1]), {
  hold = ARGV[7], kind = 'manual', nano = nano, estimated = '0', units = '{}', asks = ARGV[4], attributes = ARGV[5], reason = ARGV[6],
})
call('HSET', MANUAL, id, sequence)
add(SETTLED, names, nano)
return answer('done', sequence)
