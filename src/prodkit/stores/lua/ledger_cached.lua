-- ARGV: now or nothing, id, what was saved, attributes, then as JSON its id and its units.
-- Returns {'done', sequence, entry} or {'known', sequence, entry}.
local known = call('HGET', CACHED, ARGV[2])
if known then
  return answer('known', known)
end
local sequence = enter(moment(ARGV[1]), {
  hold = ARGV[5], kind = 'cached', nano = 0, estimated = '0', units = ARGV[6], asks = '[]', attributes = ARGV[4], saved = ARGV[3],
})
call('HSET', CACHED, ARGV[2], sequence)
return answer('done', sequence)
