-- KEYS: lease. ARGV: owner. Ends the lease where it is the owner's.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
