-- ARGV: the sequence after which to begin, the most to return.
-- Returns of each alert its sequence, itself, and whether somebody has still to hear of it.
local last = whole(call('HGET', INDEX, 'alerts'), INDEX)
local result = {}
for sequence = tonumber(ARGV[1]) + 1, math.min(last, tonumber(ARGV[1]) + tonumber(ARGV[2])) do
  local name, size = digits(sequence), #result
  result[size + 1], result[size + 2] = name, call('HGET', ALERTS, name) or foreign(ALERTS)
  result[size + 3] = call('ZSCORE', DUE, name) and '1' or '0'
end
return result
