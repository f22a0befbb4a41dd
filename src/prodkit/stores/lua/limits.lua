-- The entries: parsed, decided, answered. The other files of this name stand before this one.
-- Functions cost time to make, with each call anew: what no entry needs is not made.
local kinds = setmetatable({ g = bucket }, {
  __index = function(known, code)
    if code == 'm' then
      known.m = moving_windows()
    elseif code == 'p' then
      known.p = permits()
    else
      known.f, known.c, known.s = windows()
    end
    return rawget(known, code)
  end,
})
local body, position, next_key = ARGV[1], 1, 1

local function parse(settles)
  local code, flags, cost, limit, third
  code, flags, cost, limit, third, position = unpack_at('<c1Bddd', body, position)
  -- Made in one go: a table that grows is made anew again and again.
  local ask = {
    code = code,
    kind = kinds[code],
    key = KEYS[next_key],
    cost = cost,
    limit = limit,
    third = third,
    capacity = limit * third,
    in_us = flags >= 8,
    looks = flags % 8 >= 4,
    counts_denied = flags % 4 >= 2,
    is_binding = flags % 2 == 1,
    allowed = false,
    queued = 0,
    remaining = 0,
    reset = 0,
    retry = 0,
  }
  next_key = next_key + 1
  if code == 'c' then
    local bounds = {}
    bounds[1], bounds[2], bounds[3], bounds[4], bounds[5], position = unpack_at('<ddddd', body, position)
    ask.bounds = bounds
  elseif code == 'p' then
    ask.most_queued, ask.queue_us, ask.id, position = unpack_at('<ddBc0', body, position)
    ask.queue_key, next_key = KEYS[next_key], next_key + 1
  end
  if settles then
    ask.at, position = unpack_at('<d', body, position)
  end
  return ask
end

local function read(ask, states)
  local state = states[ask.key]
  if not state then
    state = ask.kind.read(ask)
    state.key, state.kind, states[ask.key] = ask.key, ask.kind, state
    state.saved = ask.kind.save(state)
  end
  ask.state = state
  return state
end

-- Permits get in line where nothing else is in the way, and each of them has a turn.
local function line_up(asks, looks)
  local may_queue = not looks
  for _, ask in ipairs(asks) do
    if ask.is_binding and not ask.allowed then
      may_queue = may_queue and ask.code == 'p' and ask.kind.has_turn(ask)
    end
  end
  for _, ask in ipairs(asks) do
    if ask.code == 'p' and not ask.allowed then
      if may_queue and ask.is_binding and ask.kind.has_turn(ask) then
        ask.kind.enqueue(ask)
      end
      local rank = call('ZRANK', ask.queue_key, ask.id)
      ask.queued = rank and rank + 1 or 0
    end
  end
end

-- What could not be had by all is had by none; but who counts what is denied takes what is left.
local function refuse(asks)
  for _, ask in ipairs(asks) do
    ask.kind.restore(ask.state, ask.state.saved)
    ask.state.changed = false
  end
  for _, ask in ipairs(asks) do
    ask.kind.fit(ask.state, ask)
    if ask.counts_denied and ask.cost > 0 then
      ask.kind.force(ask.state, ask)
    end
  end
  for _, ask in ipairs(asks) do
    local state, kind = ask.state, ask.kind
    local saved, changed = kind.save(state), state.changed
    kind.fit(state, ask)
    kind.look(state, ask)
    if ask.counts_denied and not ask.allowed then
      ask.retry = kind.wait(state, ask)
    end
    kind.restore(state, saved)
    state.changed = changed
  end
  line_up(asks, false)
end

local function decide(asks)
  local states, refused = {}, false
  for _, ask in ipairs(asks) do
    local state, kind = read(ask, states), ask.kind
    kind.fit(state, ask)
    ask.retry = kind.wait(state, ask)
    ask.allowed = ask.retry == 0
    if not ask.allowed then
      refused = refused or ask.is_binding
    elseif ask.cost > 0 and not ask.looks then
      kind.take(state, ask)
    end
    kind.look(state, ask)
  end
  if asks[1].looks then
    return line_up(asks, true)
  elseif refused then
    refuse(asks)
  end
  for _, state in pairs(states) do
    if state.changed then
      state.kind.write(state)
    end
  end
end

-- The same for an ask that is alone, as most are: there is nothing to go back to.
local function decide_one(ask)
  local kind = ask.kind
  local state = kind.read(ask)
  state.key = ask.key
  kind.fit(state, ask)
  ask.retry = kind.wait(state, ask)
  ask.allowed = ask.retry == 0
  if ask.allowed and ask.cost > 0 and not ask.looks then
    kind.take(state, ask)
  elseif not ask.allowed and ask.counts_denied and ask.is_binding and not ask.looks then
    kind.force(state, ask)
    ask.retry = kind.wait(state, ask)
  end
  kind.look(state, ask)
  if ask.code == 'p' and not ask.allowed then
    line_up({ ask }, ask.looks or not ask.is_binding)
  end
  if state.changed and not ask.looks then
    kind.write(state)
  end
end

local function settle(ask)
  if ask.code == 'p' then
    return ask.kind.settle(ask)
  end
  local state = read(ask, {})
  ask.kind.settle(state, ask)
  if state.changed then
    state.kind.write(state)
  end
end

local answers, failed, number = { pack('<d', now) }, { '' }, 0
while position <= #body do
  local count, asks, ok, trouble = nil, {}, nil, nil
  count, position = unpack_at('<H', body, position)
  if count == 0 then
    ok, trouble = pcall(settle, parse(true))
  else
    for index = 1, count do
      asks[index] = parse(false)
    end
    if count == 1 then
      ok, trouble = pcall(decide_one, asks[1])
    else
      ok, trouble = pcall(decide, asks)
    end
  end
  if not ok then
    failed[#failed + 1] = number
    failed[#failed + 1] = type(trouble) == 'table' and (trouble.err or 'AGAIN') or trouble
  end
  for _, ask in ipairs(asks) do
    local allowed = ok and ask.allowed and 1 or 0
    answers[#answers + 1] = pack('<Bi8ddH', allowed, ask.remaining, ask.reset, ask.retry, min(ask.queued, 65535))
  end
  number = number + 1
end
failed[1] = table.concat(answers)
return #failed > 1 and failed or failed[1]
