-- Counts in windows. A state is when it means nothing any more, and the count; of a sliding window also that of the window
-- before. The moment tells which window it is: a state of another one counts for nothing.
local function windows()
  local function read_counts(ask, numbers)
    local text = call('GET', ask.key)
    if not text then
      return { ends = 0, count = 0, previous = 0 }
    end
    local _, _, ends, count, previous = find(text, '^(%d+) (%d+) ?(%d*)$')
    if not ends or (numbers == 3) ~= (previous ~= '') then
      foreign(ask.key)
    end
    return { ends = tonumber(ends), count = tonumber(count), previous = tonumber(previous) or 0 }
  end

  local fixed = {}

  function fixed.read(ask)
    return read_counts(ask, 2)
  end

  function fixed.save(state)
    return { ends = state.ends, count = state.count, previous = state.previous }
  end

  function fixed.restore(state, saved)
    state.ends, state.count, state.previous = saved.ends, saved.count, saved.previous
  end

  function fixed.bounds(ask)
    local start = now - fmod(now, ask.third)
    return start, start + ask.third
  end

  function fixed.fit(state, ask)
    local _, ends = ask.kind.bounds(ask)
    if state.ends ~= ends then
      state.ends, state.count = ends, 0
    end
  end

  function fixed.wait(state, ask)
    if ask.cost == 0 or state.count + ask.cost <= ask.limit then
      return 0
    end
    return ask.cost > ask.limit and huge or (state.ends - now + LATER) * 1e-6
  end

  function fixed.take(state, ask)
    state.count, state.changed = state.count + ask.cost, true
  end

  function fixed.force(state, ask)
    state.count, state.changed = max(state.count, min(state.count + ask.cost, ask.limit)), true
  end

  function fixed.look(state, ask)
    ask.remaining = max(ask.limit - state.count, 0)
    ask.reset = (state.ends - now) * 1e-6
  end

  function fixed.write(state)
    call('SET', state.key, format('%.0f %.0f', state.ends, state.count), 'PX', milliseconds(state.ends - now))
  end

  function fixed.settle(state, ask)
    local start, ends = ask.kind.bounds(ask)
    if state.ends == ends and start <= ask.at and ask.at < ends then
      state.count, state.changed = added(state.count, ask.cost), true
    end
  end

  local calendar = setmetatable({}, { __index = fixed })

  function calendar.bounds(ask)
    local bounds = ask.bounds
    for index = 1, #bounds - 1 do
      if bounds[index] <= now and now < bounds[index + 1] then
        return bounds[index], bounds[index + 1]
      end
    end
    error({ again = true })
  end

  local sliding = { save = fixed.save, restore = fixed.restore, take = fixed.take }

  function sliding.read(ask)
    return read_counts(ask, 3)
  end

  function sliding.fit(state, ask)
    local ends = now - fmod(now, ask.third) + 2 * ask.third
    if state.ends == ends - ask.third then
      state.count, state.previous = 0, state.count
    elseif state.ends ~= ends then
      state.count, state.previous = 0, 0
    end
    state.ends, state.length, state.left = ends, ask.third, ends - ask.third - now
  end

  -- In this order of doubles, which is that of every other store of ours.
  local function estimate(state)
    return state.count + ceil(state.previous * (state.left / state.length))
  end

  -- Until it fits: later in this window, where the one before weighs less and less, or in the next one.
  function sliding.wait(state, ask)
    if ask.cost == 0 or estimate(state) + ask.cost <= ask.limit then
      return 0
    elseif ask.cost > ask.limit then
      return huge
    end
    local room, wait = ask.limit - ask.cost - state.count, state.left
    if room > 0 and state.previous > 0 then
      wait = wait - min(floor(room / state.previous * state.length), wait)
    elseif state.count > 0 then
      wait = wait + state.length - min(floor((ask.limit - ask.cost) / state.count * state.length), state.length)
    end
    return (wait + LATER) * 1e-6
  end

  function sliding.force(state, ask)
    state.count, state.changed = state.count + min(ask.cost, max(ask.limit - estimate(state), 0)), true
  end

  function sliding.look(state, ask)
    ask.remaining, ask.reset = max(ask.limit - estimate(state), 0), 0
    if state.count > 0 then
      ask.reset = (state.left + state.length) * 1e-6
    elseif state.previous > 0 then
      ask.reset = state.left * 1e-6
    end
  end

  function sliding.write(state)
    local text = format('%.0f %.0f %.0f', state.ends, state.count, state.previous)
    call('SET', state.key, text, 'PX', milliseconds(state.ends - now))
  end

  -- What the window before has counted still counts, too; a count that was never begun knows nothing.
  function sliding.settle(state, ask)
    local known = state.ends
    sliding.fit(state, ask)
    local start = state.ends - 2 * state.length
    if known == state.ends and start <= ask.at and ask.at < start + state.length then
      state.count, state.changed = added(state.count, ask.cost), true
    elseif start - state.length <= ask.at and ask.at < start and known >= state.ends - state.length then
      state.previous, state.changed = added(state.previous, ask.cost), true
    end
  end

  return fixed, calendar, sliding
end
