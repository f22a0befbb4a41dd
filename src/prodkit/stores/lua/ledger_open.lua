-- ARGV: the most to return; id and end of the last one that was returned before, or nothing twice.
-- Returns id, hold, id, hold, ...; what was returned before may come again, where that one has been closed or extended.
local first = 0
if ARGV[2] ~= '' then
  local ends = call('ZSCORE', OPEN, ARGV[2])
  if ends and tonumber(ends) == tonumber(ARGV[3]) then
    first = call('ZRANK', OPEN, ARGV[2]) + 1
  else
    first = call('ZCOUNT', OPEN, '-inf', '(' .. ARGV[3])
  end
end
local answer = {}
for _, id in ipairs(call('ZRANGE', OPEN, first, first + tonumber(ARGV[1]) - 1)) do
  local hold = read(id) or foreign(OPEN)
  answer[#answer + 1], answer[#answer + 2] = id, written(hold)
end
return answer
