-- KEYS: lease. ARGV: owner, milliseconds of a lease. Returns whether the lease is the owner's.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
