-- Moving windows: a list from old to new, one text for each moment: the microsecond, and behind it what it cost where that is
-- not 1. The last element is the sum, so that nothing has to be added up.
local function moving_windows()
  local moving = {}

  local function entry(at, cost)
    return cost == 1 and format('%.0f', at) or format('%.0f %.0f', at, cost)
  end

  local function parts(key, text)
    local _, _, at, cost = find(text or '', '^(%d+) ?(%d*)$')
    if not at then
      foreign(key)
    end
    return tonumber(at), cost == '' and 1 or tonumber(cost)
  end

  -- Visits entries from the oldest on, a few at a time, until `visit` returns true; returns how many were passed.
  local function pass(key, count, visit)
    local passed = 0
    while passed < count do
      local texts = call('LRANGE', key, passed, min(passed + CHUNK, count) - 1)
      for index = 1, #texts do
        if visit(parts(key, texts[index])) then
          return passed + index - 1
        end
      end
      passed = passed + #texts
    end
    return passed
  end

  local function nothing(ask)
    return { total = 0, newest = 0, added = 0, count = 0, length = ask.third }
  end

  -- What lies in the future, because the clock was set back, came now.
  local function bring_back(key, state)
    local moved = 0
    local kept = pass(key, state.count, function(at)
      return at >= now
    end)
    local index = 0
    pass(key, state.count, function(_, cost)
      moved, index = index >= kept and min(moved + cost, MOST) or moved, index + 1
    end)
    call('LSET', key, kept, entry(now, moved))
    call('LTRIM', key, 0, kept)
    call('RPUSH', key, format('%.0f', state.total))
    state.newest, state.count = now, kept + 1
  end

  function moving.read(ask)
    local key, state = ask.key, nothing(ask)
    state.count = call('LLEN', key) - 1
    if state.count < 1 then
      return nothing(ask)
    end
    local ends = call('LRANGE', key, -2, -1)
    state.newest, state.total = parts(key, ends[1]), tonumber(ends[2]) or foreign(key)
    local limit = now - ask.third
    if state.newest <= limit then
      call('DEL', key)
      return nothing(ask)
    end
    local gone = pass(key, state.count, function(at, cost)
      state.total = at <= limit and state.total - cost or state.total
      return at > limit
    end)
    if gone > 0 then
      call('LSET', key, -1, format('%.0f', state.total))
      call('LTRIM', key, gone, -1)
      state.count = state.count - gone
    end
    if state.newest > now then
      bring_back(key, state)
    end
    return state
  end

  function moving.fit(state, ask)
    state.length = max(state.length, ask.third)
  end

  function moving.save(state)
    return state.added
  end

  function moving.restore(state, saved)
    state.added = saved
  end

  function moving.wait(state, ask)
    local excess = state.total + state.added + ask.cost - ask.limit
    if ask.cost == 0 or excess <= 0 then
      return 0
    elseif ask.cost > ask.limit then
      return huge
    end
    local last = now -- where what this call takes itself is in the way
    if excess <= state.total then
      pass(ask.key, state.count, function(at, cost)
        excess, last = excess - cost, at
        return excess <= 0
      end)
    end
    return (max(last + ask.third - now, 0) + LATER) * 1e-6
  end

  function moving.take(state, ask)
    state.added, state.changed = state.added + ask.cost, true
  end

  function moving.force(state, ask)
    local left = max(ask.limit - state.total - state.added, 0)
    state.added = state.added + min(ask.cost, left)
    state.changed = state.added > 0
  end

  function moving.look(state, ask)
    local used = state.total + state.added
    ask.remaining, ask.reset = max(ask.limit - used, 0), 0
    if used > 0 then
      ask.reset = ((state.added > 0 and now or state.newest) + ask.third - now) * 1e-6
    end
  end

  function moving.write(state)
    local key, total = state.key, format('%.0f', state.total + state.added)
    if state.count == 0 then
      call('DEL', key)
      call('RPUSH', key, entry(now, state.added), total)
    elseif state.newest == now then
      local _, cost = parts(key, call('LINDEX', key, -2))
      call('LSET', key, -2, entry(now, cost + state.added))
      call('LSET', key, -1, total)
    else
      call('LSET', key, -1, entry(now, state.added))
      call('RPUSH', key, total)
    end
    call('PEXPIRE', key, milliseconds(state.length))
  end

  -- Finds the entry of a moment by halving: they are in order of time.
  local function find_entry(key, count, moment)
    local low, high = 0, count - 1
    while low <= high do
      local middle = floor((low + high) / 2)
      local at, cost = parts(key, call('LINDEX', key, middle))
      if at == moment then
        return middle, cost
      elseif at < moment then
        low = middle + 1
      else
        high = middle - 1
      end
    end
  end

  function moving.settle(state, ask)
    local index, cost = find_entry(ask.key, state.count, ask.at)
    if not index then
      return
    end
    local after = added(cost, ask.cost)
    if after > 0 then
      call('LSET', ask.key, index, entry(ask.at, after))
    elseif state.count == 1 then
      call('DEL', ask.key)
      return
    else
      call('LSET', ask.key, index, 'gone')
      call('LREM', ask.key, 1, 'gone')
    end
    call('LSET', ask.key, -1, format('%.0f', state.total - cost + after))
  end

  return moving
end
