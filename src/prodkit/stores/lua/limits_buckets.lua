-- Buckets: a text of nanoseconds since 1970, the moment at which all is there again.
local bucket = {}

function bucket.read(ask)
  local text = call('GET', ask.key)
  if not text then
    return { us = 0, ns = 0, behind_us = 0, changed = false, key = ask.key }
  end
  local us, ns = tonumber(sub(text, 1, -4)), tonumber(sub(text, -3))
  if not (us and ns and us >= 0 and us < MOST and ns >= 0) then
    foreign(ask.key)
  end
  return { us = us, ns = ns, behind_us = 0, changed = false, key = ask.key }
end

-- What is missing, in units of the rate; what no bucket can have, after a change of rate or of the clock, is cut.
local function backlog(state, ask)
  local behind = state.us - now
  if ask.in_us then
    behind = state.ns > 0 and behind + 1 or behind
  else
    behind = behind * 1000 + state.ns
  end
  return min(max(behind, 0), 2 * ask.capacity)
end

local function fill(state, ask, behind)
  if ask.in_us then
    state.us, state.ns = now + behind, 0
  else
    local rest = fmod(behind, 1000)
    state.us, state.ns = now + (behind - rest) / 1000, rest
  end
  state.behind_us, state.changed = state.us - now + 1, true
end

function bucket.wait(state, ask)
  local excess = backlog(state, ask) + ask.cost * ask.third - ask.capacity
  if ask.cost == 0 or excess <= 0 then
    return 0
  end
  return ask.cost > ask.limit and huge or (floor(excess / (ask.in_us and 1 or 1000)) + LATER) * 1e-6
end

function bucket.take(state, ask)
  fill(state, ask, backlog(state, ask) + ask.cost * ask.third)
end

function bucket.save(state)
  return { us = state.us, ns = state.ns }
end

function bucket.restore(state, saved)
  state.us, state.ns = saved.us, saved.ns
end

function bucket.look(state, ask)
  local behind = backlog(state, ask)
  ask.remaining = max(floor((ask.capacity - behind) / ask.third), 0)
  ask.reset = behind * (ask.in_us and 1e-6 or 1e-9)
end

-- A moment further ahead than any bucket's has to be cut in the store too, also when nothing is taken: cut anew at each
-- look, the bucket would stay empty for as long as the clock jumped.
function bucket.fit(state, ask)
  if state.us - now > 2 * ask.capacity / (ask.in_us and 1 or 1000) then
    fill(state, ask, 2 * ask.capacity)
  end
end

function bucket.force(state, ask)
  local behind = backlog(state, ask)
  fill(state, ask, max(behind, min(behind + ask.cost * ask.third, ask.capacity)))
end

function bucket.write(state)
  call('SET', state.key, format('%.0f%03.0f', state.us, state.ns), 'PX', milliseconds(state.behind_us))
end

-- What is given back counts for as long as a bucket needs to refill: all that was taken before that is there again.
function bucket.settle(state, ask)
  local behind = backlog(state, ask)
  if ask.cost > 0 or (now - ask.at) * (ask.in_us and 1 or 1000) < ask.capacity then
    behind = min(max(behind + ask.cost * ask.third, 0), 2 * ask.capacity)
  end
  if state.us > 0 or behind > 0 then
    fill(state, ask, behind)
  end
end
