-- ARGV: now or nothing, seconds of the lease, ids.
local ends = later(moment(ARGV[1]), ARGV[2])
for number = 3, #ARGV do
  call('ZADD', OPEN, 'XX', ends, ARGV[number])
end
