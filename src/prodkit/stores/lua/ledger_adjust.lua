-- ARGV: now or nothing, id, amount, asks, attributes, then as JSON its reason, its id and its units, and a last line or nothing.
-- Returns {'done', sequence, entry}, {'known', sequence, entry}, {'overdrawn', budget} or {'overfull', budget}.
local id, nano = ARGV[2], tonumber(ARGV[3])
local known = call('HGET', MANUAL, id)
if known then
  return answer('known', known)
end
local names, budgets, list = accounts_of(ARGV[4])
local settled, settled_by = fields(SETTLED, names), counted(list, nano, cjson.decode(ARGV[8]), 0)
local refusal = refuses(budgets, fields(HELD, names), settled, nil, settled_by)
if refusal then
  return refusal
end
local now, found = moment(ARGV[1]), reached(list, names, settled, settled_by)
local entry = {
  hold = ARGV[7], kind = 'manual', nano = nano, estimated = '0', units = ARGV[8], asks = ARGV[4], attributes = ARGV[5],
  reason = ARGV[6], saved = ARGV[9] ~= '' and ARGV[9] or nil,
}
local sequence = enter(now, entry)
tell(found, now, entry)
call('HSET', MANUAL, id, sequence)
add(SETTLED, names, settled_by)
return answer('done', sequence)
