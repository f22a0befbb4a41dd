-- ARGV: cursor.
-- Returns the next cursor, and names of accounts in which something was settled.
local found = call('HSCAN', SETTLED, ARGV[1], 'COUNT', 500)
local names = {}
for number = 1, #found[2], 2 do
  names[#names + 1] = found[2][number]
end
return { found[1], names }
