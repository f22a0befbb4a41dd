-- ARGV: now or nothing, id, amount, whether it is estimated, units, attributes.
-- Returns {'done', hold}, {'conflict', hold}, {'unknown'}, {'overdrawn', budget} or {'overfull', budget}.
local hold, amount = read(ARGV[2]), tonumber(ARGV[3])
if not hold then
  return { 'unknown' }
end
if hold.state == 'settled' and hold.charged == amount then
  return { 'done', written(hold) }
end
if hold.state ~= 'dispatched' and hold.state ~= 'presumed' then
  return { 'conflict', written(hold) }
end
local entry = { kind = 'settled', nano = amount, estimated = ARGV[4], units = ARGV[5] }
if hold.state == 'presumed' then
  entry.kind, entry.nano = 'adjusted', amount - hold.charged
  local learnt = cjson.decode(ARGV[5])
  for unit, pair in pairs(units_of(hold)) do
    learnt[unit] = (learnt[unit] or 0) - tonumber(pair[1])
  end
  for unit, quantity in pairs(learnt) do
    learnt[unit] = quantity ~= 0 and quantity or nil
  end
  entry.units = quantities_text(learnt)
end
hold.charged, hold.attributes = amount, merged(hold.attributes, ARGV[6])
return finish(hold, moment(ARGV[1]), 'settled', entry)
