-- ARGV: now or nothing, the most to close.
-- Returns {'done', id, hold, id, hold, ...}, those whose lease ended first in front, or {'overdrawn', budget} if the first one
-- cannot be closed; one further back ends the list.
local now, answer = moment(ARGV[1]), { 'done' }
for _, id in ipairs(call('ZRANGEBYSCORE', OPEN, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local hold = read(id)
  if not (hold and hold.open) then
    foreign(OPEN)
  end
  local closed = (hold.state == 'dispatched' and presume or release)(hold, now)
  if closed[1] ~= 'done' then
    return #answer > 1 and answer or closed
  end
  answer[#answer + 1], answer[#answer + 2] = id, closed[2]
end
return answer
