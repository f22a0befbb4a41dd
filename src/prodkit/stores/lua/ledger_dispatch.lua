-- ARGV: id.
-- Returns {'done', hold}, {'conflict', hold}, or {'unknown'}.
local hold = read(ARGV[1])
if not hold then
  return { 'unknown' }
end
if hold.envelope == '1' or hold.state == 'released' then
  return { 'conflict', written(hold) }
end
if hold.state == 'held' then
  hold.state = 'dispatched'
  call('HSET', HOLDS, hold.id, written(hold))
end
return { 'done', written(hold) }
