-- Permits: two sorted sets, of places by the end of their lease, and of the queue by arrival.
local function permits()
  local permit = {}

  function permit.read(ask)
    call('ZREMRANGEBYSCORE', ask.key, '-inf', format('%.0f', now))
    call('ZREMRANGEBYSCORE', ask.queue_key, '-inf', format('%.0f', now - ask.queue_us))
    local held, waiting = call('ZCARD', ask.key), call('ZCARD', ask.queue_key)
    return { held = held, held_before = held, waiting = waiting, taken = {}, passed = {} }
  end

  function permit.fit() end

  function permit.save()
    return 0
  end

  -- Places are only ever taken in one go, so what is gone back to is the beginning.
  function permit.restore(state)
    state.held, state.taken, state.passed = state.held_before, {}, {}
  end

  -- How many go first: those in front, or everybody; but not those who have got a place in this very call.
  local function in_front(state, ask)
    local rank = call('ZRANK', ask.queue_key, ask.id) or state.waiting
    local count = rank
    for _, other in ipairs(state.passed) do
      count = other < rank and count - 1 or count
    end
    return count
  end

  function permit.wait(state, ask)
    if state.taken[ask.id] or call('ZSCORE', ask.key, ask.id) or ask.limit - state.held > in_front(state, ask) then
      return 0
    end
    local first = tonumber(call('ZRANGE', ask.key, 0, 0, 'WITHSCORES')[2])
    return first and min(1, (first - now + LATER) * 1e-6) or 1
  end

  function permit.take(state, ask)
    if not state.taken[ask.id] and not call('ZSCORE', ask.key, ask.id) then
      state.held = state.held + 1
      state.passed[#state.passed + 1] = call('ZRANK', ask.queue_key, ask.id) or nil
    end
    state.taken[ask.id], state.changed = ask, true
  end

  function permit.look(state, ask)
    ask.remaining, ask.reset = max(ask.limit - state.held, 0), 0
  end

  -- A key lives as long as the last of what is in it.
  local function keep(key, us)
    if call('PTTL', key) < us / 1000 then
      call('PEXPIRE', key, milliseconds(us))
    end
  end

  function permit.write(state)
    for id, ask in pairs(state.taken) do
      call('ZADD', ask.key, format('%.0f', now + ask.third), id)
      call('ZREM', ask.queue_key, id)
      keep(ask.key, ask.third)
    end
  end

  function permit.has_turn(ask)
    return call('ZRANK', ask.queue_key, ask.id) or call('ZCARD', ask.queue_key) < ask.most_queued
  end

  -- In the order of coming, also of those who came in the same microsecond.
  function permit.enqueue(ask)
    if not call('ZRANK', ask.queue_key, ask.id) then
      local last = tonumber(call('ZRANGE', ask.queue_key, -1, -1, 'WITHSCORES')[2]) or 0
      local at = max(now, last + 1)
      call('ZADD', ask.queue_key, format('%.0f', at), ask.id)
      keep(ask.queue_key, at + ask.queue_us - now)
    end
  end

  function permit.settle(ask)
    if ask.cost < 0 then
      call('ZREM', ask.key, ask.id)
      call('ZREM', ask.queue_key, ask.id)
    end
  end

  return permit
end
