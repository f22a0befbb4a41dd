-- What the verbs of the ledger share that write entries, between ledger.lua and their own text.

-- JSON of unit to whole number: what cjson writes of numbers loses their last digits.
local function quantities_text(quantities)
  local parts = {}
  for unit, quantity in pairs(quantities) do
    parts[#parts + 1] = cjson.encode(unit) .. ':' .. digits(quantity)
  end
  return '{' .. table.concat(parts, ',') .. '}'
end

-- ---------------------------------------------------------------------------------------------- alerts

-- A whole number as two parts, of 1e9 and of the rest, each of which a double holds exactly.
local function halves(text)
  return tonumber('0' .. text:sub(1, -10)), tonumber(text:sub(-9))
end

local function times(high, low, factor)
  local carried = floor(low * factor / 1e9)
  return high * factor + carried, low * factor - carried * 1e9
end

local function plus(text, number)
  local high, low = halves(text)
  local more_high, more_low = halves(digits(number))
  low = low + more_low
  high = high + more_high + floor(low / 1e9)
  low = low % 1e9
  return high, low, high > 0 and format('%.0f%09.0f', high, low) or digits(low)
end

-- The alerts that are due once `settled_by` is added to `settled`, each with the name it is known by. Writes nothing.
local function reached(list, names, settled, settled_by)
  local found, seen = {}, {}
  for number, ask in ipairs(list) do
    local limit = ask[7] and ask[7] ~= '' and settled_by[number] > 0 and (call('HGET', LIMITS, ask[1]) or ask[4])
    if limit and limit ~= '' and whole(limit, LIMITS) > 0 then
      local high, low, total = plus(settled[number] or '0', settled_by[number])
      local limit_high, limit_low = halves(limit)
      high, low = times(high, low, 100)
      for percent in ask[7]:gmatch('%d+') do
        local part_high, part_low = times(limit_high, limit_low, tonumber(percent))
        local name = format('%s:%s:%s:%s', ask[2], percent, limit, ask[1])
        if (high > part_high or high == part_high and low >= part_low) and not seen[name] then
          seen[name] = true
          if call('HEXISTS', ALERTED, name) == 0 then
            found[#found + 1] = { name = name, ask = ask, text = format('%s %s %s', percent, limit, total) }
          end
        end
      end
    end
  end
  if #found > 0 then
    -- Where they are going to stand is looked at before anything is written.
    whole(call('HGET', INDEX, 'alerts'), INDEX)
    call('HEXISTS', ALERTS, '1')
    call('ZCARD', DUE)
  end
  return found
end

local function tell(found, now, entry)
  for _, alert in ipairs(found) do
    local sequence, ask = digits(call('HINCRBY', INDEX, 'alerts', 1)), alert.ask
    local window = cjson.encode({ ask[1], ask[2], ask[3], ask[5], ask[6] })
    call('HSET', ALERTS, sequence, table.concat({ '0 ' .. alert.text .. ' ' .. now, window, entry.hold, entry.attributes }, '\n'))
    call('HSET', ALERTED, alert.name, sequence)
    call('ZADD', DUE, now, sequence)
  end
end

-- ---------------------------------------------------------------------------------------------- entries

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
  local text = table.concat({ line, entry.hold, entry.units, entry.asks, entry.attributes, entry.reason or '""', entry.saved }, '\n')
  call('XADD', ENTRIES, digits(sequence) .. '-0', 'entry', text)
  call('HSET', INDEX, 'last', digits(sequence), block, earliest .. ' ' .. latest)
  return digits(sequence)
end

-- The sequence and the text of an entry that was written before.
local function answer(word, sequence)
  local found = call('XRANGE', ENTRIES, sequence .. '-0', sequence .. '-0')[1] or foreign(ENTRIES)
  return { word, sequence, found[2][2] }
end

-- Ends an open hold, or one that was presumed and holds nothing: `entry` is what it is charged with, or nothing.
local function finish(hold, now, state, entry)
  local names, budgets, list = accounts_of(hold.asks)
  local held_by, settled_by
  if hold.open then
    held_by = rests(hold, list)
    for number, amount in ipairs(held_by) do
      held_by[number] = -amount
    end
  end
  if entry then
    settled_by = counted(list, entry.nano, hold.units ~= '' and cjson.decode(entry.units) or {}, 0)
  end
  local settled = fields(SETTLED, names)
  local refusal = refuses(budgets, fields(HELD, names), settled, held_by, settled_by)
  if refusal then
    return refusal
  end
  if entry then
    local found = reached(list, names, settled, settled_by)
    entry.hold, entry.asks, entry.attributes = cjson.encode(hold.id), hold.asks, hold.attributes
    entry.saved = hold.units ~= '' and '0' or nil
    local sequence = enter(now, entry)
    if entry.kind == 'adjusted' and entry.estimated == '0' then
      hold.exact = sequence
    end
    tell(found, now, entry)
  end
  hold.state, hold.ends, hold.open = state, now, false
  call('HSET', HOLDS, hold.id, written(hold))
  call('ZREM', OPEN, hold.id)
  add(HELD, names, held_by)
  add(SETTLED, names, settled_by)
  return { 'done', written(hold) }
end

local function release(hold, now)
  if hold.state == 'released' then
    return { 'done', written(hold) }
  elseif hold.state ~= 'held' then
    return { 'conflict', written(hold) }
  end
  return finish(hold, now, 'released')
end

local function presume(hold, now)
  if hold.state == 'presumed' or hold.state == 'settled' then
    return { 'done', written(hold) }
  elseif hold.state ~= 'dispatched' then
    return { 'conflict', written(hold) }
  end
  hold.charged = hold.amount
  local quantities = {}
  for unit, pair in pairs(units_of(hold)) do
    quantities[unit] = tonumber(pair[1])
  end
  return finish(hold, now, 'presumed', { kind = 'presumed', nano = hold.amount, estimated = '1', units = quantities_text(quantities) })
end
