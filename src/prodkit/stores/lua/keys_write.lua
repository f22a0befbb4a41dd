-- Every verb that writes one record: put, revoke, deprecate, redigest, touch.
-- KEYS: records (hash of id to text), ids and tenants (sorted sets, all of score 0), changes (stream).
-- ARGV: verb, id, tag of the change, then what the verb takes. Times are texts that are compared as numbers and kept as they
-- are: a number of Lua's that became text again would lose digits. A text is a JSON object of strings only; what stands in
-- it that nobody here knows, of a newer release, is kept.
-- Returns 1 if it was done, else 0. Text that is none of ours raises an error before anything is written.
local records, ids, tenants, changes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local verb, id, tag = ARGV[1], ARGV[2], ARGV[3]

local function read(name)
  local text = redis.call('HGET', records, name)
  return text and cjson.decode(text) or nil
end

local function number(text)
  if text == nil or text == cjson.null then
    return nil
  end
  return tonumber(text) or error('a time that is no number')
end

local function earlier(one, other)
  local first, second = number(one), number(other)
  if first and second then
    return second < first and other or one
  end
  return first and one or other
end

local function later(one, other)
  local first, second = number(one), number(other)
  if first and second then
    return second > first and other or one
  end
  return first and one or other
end

-- Before the write it tells of: a memory that is full refuses this one, and a change that was none harms nobody.
local function note()
  local newest = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
  local count = newest and tonumber(string.match(newest[1], '^%d+')) or 0
  redis.call('XADD', changes, 'MAXLEN', 1001, string.format('%.0f-%s', count + 1, tag), 'id', id)
end

local function save(record)
  redis.call('HSET', records, id, cjson.encode(record))
end

local function place(tenant)
  return #tenant .. ':' .. tenant .. ':' .. id
end

local known = read(id)

if verb == 'put' then
  local new = cjson.decode(ARGV[4])
  local record = known or {}
  local tenant = record.tenant
  new.revoked_at = earlier(record.revoked_at, new.revoked_at)
  new.last_used_at = later(record.last_used_at, new.last_used_at)
  for name, value in pairs(new) do
    record[name] = value ~= cjson.null and value or nil
  end
  -- These two raise an error where the indexes are not ours, before anything is written.
  redis.call('ZCARD', ids)
  redis.call('ZCARD', tenants)
  note()
  if tenant and tenant ~= record.tenant then
    redis.call('ZREM', tenants, place(tenant))
  end
  if record.tenant then
    redis.call('ZADD', tenants, 0, place(record.tenant))
  end
  redis.call('ZADD', ids, 0, id)
  save(record)
  return 1
end

if not known then
  return 0
end

if verb == 'revoke' then
  known.revoked_at = earlier(known.revoked_at, ARGV[4])
elseif verb == 'touch' then
  known.last_used_at = later(known.last_used_at, ARGV[4])
  save(known)
  return 1
elseif verb == 'redigest' then
  if known.digest ~= ARGV[4] then
    return 0
  end
  known.digest, known.pepper_id = ARGV[5], ARGV[6]
elseif verb == 'deprecate' then
  if known.revoked_at then
    return 0
  end
  if known.replaced_by then
    -- By a key that was revoked before anybody used it: the answer with it was lost.
    local lost = read(known.replaced_by)
    if not lost or not lost.revoked_at or lost.last_used_at then
      return 0
    end
  end
  known.replaced_by = ARGV[4]
  known.deprecated_at = known.deprecated_at or ARGV[5]
  known.expires_at = earlier(known.expires_at, ARGV[6])
end
note()
save(known)
return 1
