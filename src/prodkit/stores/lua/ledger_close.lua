-- ARGV: now or nothing, id, `release` or `presume`.
-- Returns {'done', hold}, {'conflict', hold}, {'unknown'}, {'overdrawn', budget} or {'overfull', budget}.
local hold = read(ARGV[2])
if not hold then
  return { 'unknown' }
end
return (ARGV[3] == 'release' and release or presume)(hold, moment(ARGV[1]))
