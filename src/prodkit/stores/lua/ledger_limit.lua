-- ARGV: budget, its limit or nothing.
if ARGV[2] == '' then
  call('HDEL', LIMITS, ARGV[1])
else
  call('HSET', LIMITS, ARGV[1], ARGV[2])
end
