-- ARGV: of each account its name and its budget.
-- Returns of each the limit that was set or '', settled, held.
local answer = {}
for number = 1, #ARGV, 2 do
  local name, budget = ARGV[number], ARGV[number + 1]
  answer[#answer + 1] = call('HGET', LIMITS, budget) or ''
  answer[#answer + 1] = call('HGET', SETTLED, name) or '0'
  answer[#answer + 1] = call('HGET', HELD, name) or '0'
end
return answer
