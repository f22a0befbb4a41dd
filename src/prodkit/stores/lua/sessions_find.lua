-- KEYS: records, seen, revoked. ARGV: id. Returns the text of the record, seen_at, and revoked_at or nil; the text is nil for none.
return {
  redis.call('HGET', KEYS[1], ARGV[1]),
  redis.call('HGET', KEYS[2], ARGV[1]),
  redis.call('HGET', KEYS[3], ARGV[1])
}
