-- ARGV: now or nothing, seconds for which nobody else is given them, the most to return.
-- Returns as ledger_alerts.lua. Of more than 1000 that are due, those that are due longest are looked at.
local now, most = moment(ARGV[1]), tonumber(ARGV[3])
local due = call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, math.max(most, 1000))
table.sort(due, function(one, other)
  return tonumber(one) < tonumber(other)
end)
local result, changes = {}, {}
for number = 1, math.min(most, #due) do
  local name = due[number]
  local attempts, rest = match(call('HGET', ALERTS, name) or foreign(ALERTS), '^(%d+)( .*)$')
  local text = digits((tonumber(attempts) or foreign(ALERTS)) + 1) .. rest
  local size = #result
  result[size + 1], result[size + 2], result[size + 3] = name, text, '1'
  changes[number] = { name, text }
end
local again = later(now, ARGV[2])
for _, change in ipairs(changes) do
  call('HSET', ALERTS, change[1], change[2])
  call('ZADD', DUE, again, change[1])
end
return result
