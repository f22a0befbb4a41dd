-- What every verb of the ledger shares; the text of the verb follows in the same script.
-- KEYS: holds (hash: id to text), open (sorted set: id by the end of its lease; there, and not in the text, stands what is
--   true of an open hold), held and settled (hashes: account to nano-USD), limits (hash: budget to nano-USD), entries
--   (stream: its ids are the sequences), index (hash: `last` is the last sequence; the number of each hundred of entries to
--   the earliest and the latest time in it), manual (hash: id of a manual entry to its sequence).
-- A hold is four lines: state, whether it is an envelope, amount, drawn, charged, end of the lease or moment it was closed,
--   sequence of the entry that made a presumed amount exact or 0; then its parent, its asks and its attributes, as JSON. Asks
--   are lists of strings: budget, begin, end or nothing, limit or nothing. An account is called `begin:budget`.
-- An entry is six lines, the one field of its place in the stream: kind, amount, moment, whether it is estimated; then its hold,
--   units, asks, attributes and reason, as JSON.
-- Amounts are whole nano-USD. What is added up over calls is added by Redis, in 64 bits; what is compared here is a double,
-- which is right because no limit, and no single amount, is above 2^53: a rounded sum is on the same side of both.
-- Everything is read and checked before anything is written, and the first command that writes is one that a full memory
-- refuses: so a script changes all of it or nothing.
local HOLDS, OPEN, HELD, SETTLED, LIMITS, ENTRIES, INDEX, MANUAL = unpack(KEYS)
local call, format, match, floor = redis.call, string.format, string.match, math.floor

local BLOCK = 100
local CHUNK = 1000
local MOST_IN_ACCOUNT = 9e18

local function foreign(key)
  error('what stands in ' .. key .. ' was not written here', 0)
end

local function whole(text, key)
  if not text then
    return 0
  end
  return match(text, '^%d+$') and tonumber(text) or foreign(key)
end

local function digits(number)
  return format('%.0f', number)
end

-- The present moment as text: as told, else the server's own.
local function moment(told)
  if told ~= '' then
    return told
  end
  local time = call('TIME')
  return format('%s.%06d', time[1], tonumber(time[2]))
end

local function later(now, seconds)
  return format('%.17g', tonumber(now) + tonumber(seconds))
end

local function fields(key, names)
  local found = {}
  for first = 1, #names, CHUNK do
    local some = call('HMGET', key, unpack(names, first, math.min(first + CHUNK - 1, #names)))
    for number = 1, #some do
      found[first + number - 1] = some[number]
    end
  end
  return found
end

local function accounts_of(asks)
  local names, budgets = {}, {}
  for number, ask in ipairs(cjson.decode(asks)) do
    names[number], budgets[number] = ask[2] .. ':' .. ask[1], ask[1]
  end
  return names, budgets
end

-- ---------------------------------------------------------------------------------------------- holds

local function parsed(id, text)
  local hold = { id = id }
  local amount, drawn, charged
  hold.state, hold.envelope, amount, drawn, charged, hold.ends, hold.exact, hold.parent, hold.asks, hold.attributes =
    match(text, '^(%l+) ([01]) (%d+) (%d+) (%d+) (%S+) (%d+)\n([^\n]*)\n([^\n]*)\n([^\n]*)$')
  if not hold.state then
    foreign(HOLDS)
  end
  hold.amount, hold.drawn, hold.charged = tonumber(amount), tonumber(drawn), tonumber(charged)
  hold.open = hold.state == 'held' or hold.state == 'dispatched'
  return hold
end

local function read(id)
  local text, ends = call('HGET', HOLDS, id), call('ZSCORE', OPEN, id)
  if not text then
    return nil
  end
  local hold = parsed(id, text)
  if hold.open and ends then
    hold.ends = ends
  end
  return hold
end

local function written(hold)
  return format('%s %s %.0f %.0f %.0f %s %s', hold.state, hold.envelope, hold.amount, hold.drawn, hold.charged, hold.ends,
    hold.exact) .. '\n' .. hold.parent .. '\n' .. hold.asks .. '\n' .. hold.attributes
end

-- JSON of both together, the new ones first in rank; an empty value takes one away.
local function merged(known, new)
  if new == '{}' then
    return known
  end
  local together = cjson.decode(known)
  for name, value in pairs(cjson.decode(new)) do
    together[name] = value ~= '' and value or nil
  end
  return cjson.encode(together)
end

-- ---------------------------------------------------------------------------------------------- accounts and entries

-- What the accounts cannot take and the budget of the first of them, or nothing; `held` and `settled` are as `fields` returns.
local function refuses(budgets, held, settled, held_nano, settled_nano)
  for number, budget in ipairs(budgets) do
    local holds = whole(held[number], HELD) + held_nano
    local spent = whole(settled[number], SETTLED) + settled_nano
    if holds < 0 or spent < 0 then
      return { 'overdrawn', budget }
    elseif holds > MOST_IN_ACCOUNT or spent > MOST_IN_ACCOUNT then
      return { 'overfull', budget }
    end
  end
end

local function add(key, names, nano)
  if nano == 0 then
    return
  end
  for _, name in ipairs(names) do
    if call('HINCRBY', key, name, digits(nano)) == 0 then
      call('HDEL', key, name)
    end
  end
end

local function split(text)
  local entry = {}
  entry.kind, entry.nano, entry.at, entry.hold, entry.asks, entry.attributes =
    match(text, '^(%l+) (%S+) (%S+) [01]\n([^\n]*)\n[^\n]*\n([^\n]*)\n([^\n]*)\n[^\n]*$')
  return entry.kind and entry or foreign(ENTRIES)
end

-- Writes the next entry: the first thing a verb may write. Returns its sequence.
local function enter(now, entry)
  local sequence = whole(call('HGET', INDEX, 'last'), INDEX) + 1
  local block = digits(floor(sequence / BLOCK))
  local span = call('HGET', INDEX, block)
  local earliest, latest = now, now
  if span then
    earliest, latest = match(span, '^(%S+) (%S+)$')
    local first, last, this = tonumber(earliest), tonumber(latest), tonumber(now)
    if not (first and last) then
      foreign(INDEX)
    end
    earliest, latest = this < first and now or earliest, this > last and now or latest
  end
  local line = format('%s %.0f %s %s', entry.kind, entry.nano, now, entry.estimated)
  local text = table.concat({ line, entry.hold, entry.units, entry.asks, entry.attributes, entry.reason or '""' }, '\n')
  call('XADD', ENTRIES, digits(sequence) .. '-0', 'entry', text)
  call('HSET', INDEX, 'last', digits(sequence), block, earliest .. ' ' .. latest)
  return digits(sequence)
end

-- Ends an open or a presumed hold: `entry` is what it is charged with, or nothing.
local function finish(hold, now, state, held_nano, entry)
  local names, budgets = accounts_of(hold.asks)
  local settled_nano = entry and entry.nano or 0
  local refusal = refuses(budgets, fields(HELD, names), fields(SETTLED, names), held_nano, settled_nano)
  if refusal then
    return refusal
  end
  if entry then
    entry.hold, entry.asks, entry.attributes = cjson.encode(hold.id), hold.asks, hold.attributes
    local sequence = enter(now, entry)
    if entry.kind == 'adjusted' and entry.estimated == '0' then
      hold.exact = sequence
    end
  end
  hold.state, hold.ends, hold.open = state, now, false
  call('HSET', HOLDS, hold.id, written(hold))
  call('ZREM', OPEN, hold.id)
  add(HELD, names, held_nano)
  add(SETTLED, names, settled_nano)
  return { 'done', written(hold) }
end

local function release(hold, now)
  if hold.state == 'released' then
    return { 'done', written(hold) }
  elseif hold.state ~= 'held' then
    return { 'conflict', written(hold) }
  end
  return finish(hold, now, 'released', hold.drawn - hold.amount)
end

local function presume(hold, now)
  if hold.state == 'presumed' or hold.state == 'settled' then
    return { 'done', written(hold) }
  elseif hold.state ~= 'dispatched' then
    return { 'conflict', written(hold) }
  end
  hold.charged = hold.amount
  return finish(hold, now, 'presumed', hold.drawn - hold.amount,
    { kind = 'presumed', nano = hold.amount, estimated = '1', units = '{}' })
end
