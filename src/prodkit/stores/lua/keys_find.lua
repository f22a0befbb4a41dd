-- KEYS: records. ARGV: id. Returns the text of the record, or nil.
return redis.call('HGET', KEYS[1], ARGV[1])
