-- What every verb of the ledger shares; ledger_charge.lua where it needs that, and the text of the verb follow in the same script.
-- KEYS: holds (hash: id to text), open (sorted set: id by the end of its lease; there, and not in the text, stands what is
--   true of an open hold), held and settled (hashes: account to nano-USD), limits (hash: budget to nano-USD), entries
--   (stream: its ids are the sequences), index (hash: `last` is the last sequence; the number of each hundred of entries to
--   the earliest and the latest time in it; `alerts` is the last sequence of an alert), manual and cached (hashes: id of an
--   entry of that kind to its sequence), alerts (hash: sequence to text), alerted (hash: window, percent, limit and budget to
--   the sequence of their alert), due (sorted set: sequence of an alert that somebody has still to hear of, by when).
-- A hold is four lines: state, whether it is an envelope, amount, drawn, charged, end of the lease or moment it was closed,
--   sequence of the entry that made a presumed amount exact or 0; then its parent, its asks and its attributes, as JSON. Asks
--   are lists of strings: budget, begin, end or nothing, limit or nothing, and of those that are not plain also: unit or
--   nothing, whether it refuses, percents with commas between. An account is called `begin:budget`.
--   Where units are reserved or an ask is not plain, there is a fifth line: JSON of each unit to what was reserved of it and, once
--   something was, what was drawn, as strings.
-- An entry is six lines, the one field of its place in the stream: kind, amount, moment, whether it is estimated; then its hold,
--   units, asks, attributes and reason, as JSON. A seventh is what was saved, where it is a cached one or an ask is not plain.
-- Releases before those lines read no hold and no entry that has one: they fail rather than count a unit as money.
-- An alert is four lines: how often it was taken, percent, limit, what was settled, moment; then its window (a list of strings:
--   budget, begin, end or nothing, unit, whether it refuses), its hold and its attributes, as JSON.
-- Amounts are whole nano-USD. What is added up over calls is added by Redis, in 64 bits; what is compared here is a double,
-- which is right because no limit, and no single amount, is above 2^53: a rounded sum is on the same side of both.
-- Everything is read and checked before anything is written, and the first command that writes is one that a full memory
-- refuses: so a script changes all of it or nothing.
local HOLDS, OPEN, HELD, SETTLED, LIMITS, ENTRIES, INDEX, MANUAL, CACHED, ALERTS, ALERTED, DUE = unpack(KEYS)
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
  local names, budgets, list = {}, {}, cjson.decode(asks)
  for number, ask in ipairs(list) do
    names[number], budgets[number] = ask[2] .. ':' .. ask[1], ask[1]
  end
  return names, budgets, list
end

local function unit_of(ask)
  return ask[5] ~= '' and ask[5] or nil
end

-- What each ask counts: `nano`, or what `quantities` say of its unit, or `missing` where they say nothing.
local function counted(list, nano, quantities, missing)
  local amounts = {}
  for number, ask in ipairs(list) do
    if ask[5] and ask[5] ~= '' then
      amounts[number] = tonumber(quantities[ask[5]] or missing)
    else
      amounts[number] = nano
    end
  end
  return amounts
end

-- ---------------------------------------------------------------------------------------------- holds

local function parsed(id, text)
  local hold = { id = id }
  local amount, drawn, charged
  hold.state, hold.envelope, amount, drawn, charged, hold.ends, hold.exact, hold.parent, hold.asks, hold.attributes, hold.units =
    match(text, '^(%l+) ([01]) (%d+) (%d+) (%d+) (%S+) (%d+)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n?([^\n]*)$')
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
    .. (hold.units ~= '' and '\n' .. hold.units or '')
end

-- Of each unit what was reserved and, once something was, what was drawn, as strings.
local function units_of(hold)
  return hold.units ~= '' and cjson.decode(hold.units) or {}
end

-- What an open hold itself holds in each account of `list`: what was reserved, without what was drawn from it.
local function rests(hold, list)
  local quantities = {}
  for unit, pair in pairs(units_of(hold)) do
    quantities[unit] = tonumber(pair[1]) - tonumber(pair[2] or 0)
  end
  return counted(list, hold.amount - hold.drawn, quantities, 0)
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

-- ---------------------------------------------------------------------------------------------- accounts

-- What the accounts cannot take and the budget of the first of them, or nothing. `held` and `settled` are as `fields` returns;
-- `held_by` and `settled_by` are what is to be added to each.
local function refuses(budgets, held, settled, held_by, settled_by)
  for number, budget in ipairs(budgets) do
    local holds = whole(held[number], HELD) + (held_by and held_by[number] or 0)
    local spent = whole(settled[number], SETTLED) + (settled_by and settled_by[number] or 0)
    if holds < 0 or spent < 0 then
      return { 'overdrawn', budget }
    elseif holds > MOST_IN_ACCOUNT or spent > MOST_IN_ACCOUNT then
      return { 'overfull', budget }
    end
  end
end

local function add(key, names, amounts)
  for number, name in ipairs(amounts and names or {}) do
    if amounts[number] ~= 0 and call('HINCRBY', key, name, digits(amounts[number])) == 0 then
      call('HDEL', key, name)
    end
  end
end

local function split(text)
  local entry = {}
  entry.kind, entry.nano, entry.at, entry.hold, entry.units, entry.asks, entry.attributes =
    match(text, '^(%l+) (%S+) (%S+) [01]\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n[^\n]*\n?(%d*)$')
  return entry.kind and entry or foreign(ENTRIES)
end
