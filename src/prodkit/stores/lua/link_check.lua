-- Whether this server can be written. Returns how many keys it took away again: 1.
redis.call('SET', KEYS[1], '1', 'PX', 1000)
return redis.call('DEL', KEYS[1])
