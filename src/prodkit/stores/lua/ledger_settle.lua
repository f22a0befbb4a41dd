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
local given_back = hold.drawn - hold.amount
if hold.state == 'presumed' then
  entry.kind, entry.nano, given_back = 'adjusted', amount - hold.charged, 0
end
hold.charged, hold.attributes = amount, merged(hold.attributes, ARGV[6])
return finish(hold, moment(ARGV[1]), 'settled', given_back, entry)
