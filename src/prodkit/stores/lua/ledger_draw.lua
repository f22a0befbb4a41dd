-- ARGV: now or nothing, id, amount, seconds of the lease, state, whether an envelope, attributes, the envelope it is drawn
-- from, and that again as JSON; then as JSON of each unit what was reserved of it.
-- Returns {'done', hold}, {'known', hold}, {'unknown'}, or {'refused', envelope}.
local id, amount = ARGV[2], tonumber(ARGV[3])
local known = read(id)
if known then
  return { 'known', written(known) }
end
local envelope = read(ARGV[8])
if not envelope then
  return { 'unknown' }
end
if envelope.envelope == '0' or envelope.state ~= 'held' or amount > envelope.amount - envelope.drawn then
  return { 'refused', written(envelope) }
end
-- Of each unit that the envelope has and the call names.
local held_units, units = units_of(envelope), {}
for unit, quantity in pairs(cjson.decode(ARGV[10])) do
  local pair = held_units[unit]
  if pair then
    local drawn = tonumber(pair[2] or 0) + quantity
    if drawn > tonumber(pair[1]) then
      return { 'refused', written(envelope) }
    end
    pair[2], units[unit] = digits(drawn), { digits(quantity) }
  end
end
-- The accounts stay as they are: what the envelope no longer holds, its call does.
envelope.drawn = envelope.drawn + amount
envelope.units = envelope.units ~= '' and cjson.encode(held_units) or ''
local hold = {
  id = id, state = ARGV[5], envelope = ARGV[6], amount = amount, drawn = 0, charged = 0, ends = later(moment(ARGV[1]), ARGV[4]),
  exact = '0', parent = ARGV[9], asks = envelope.asks, attributes = merged(envelope.attributes, ARGV[7]),
  units = envelope.units ~= '' and cjson.encode(units) or '',
}
call('HSET', HOLDS, envelope.id, written(envelope), id, written(hold))
call('ZADD', OPEN, hold.ends, id)
return { 'done', written(hold) }
