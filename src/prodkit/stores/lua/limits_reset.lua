-- Forgets what is kept under KEYS, whatever it is.
return redis.call('UNLINK', unpack(KEYS))
