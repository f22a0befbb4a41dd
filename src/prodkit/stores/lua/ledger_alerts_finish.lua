-- ARGV: now or nothing, a sequence, the seconds in which it is to be taken again or nothing.
if ARGV[3] == '' then
  call('ZREM', DUE, ARGV[2])
else
  call('ZADD', DUE, 'XX', later(moment(ARGV[1]), ARGV[3]), ARGV[2])
end
