-- Decides what many requests asked at once: entries one after the other, each all-or-nothing, none touched by another's error.
-- KEYS: of each ask the key of its state, in order; of a permit two, its places and its queue.
-- ARGV: the entries, packed; the present moment in microseconds, or nothing for the server's own.
--   An entry is a number of asks and the asks; with 0, one settlement. Ask and settlement alike: code, flags, cost, limit,
--   third (nanoseconds or microseconds of a unit; microseconds of a window or a lease), then five bounds of calendar windows,
--   or of a permit queue, microseconds in it, id; of a settlement last the moment it was decided.
-- Returns: the moment, then of each ask whether it is allowed, remaining, reset, retry, queued, packed. Where entries failed,
--   a list: that text, and for each of them its number and what was wrong; their asks count as refused.
-- Numbers are doubles, whole and below 2^53 unless they are seconds. A bucket's moment is nanoseconds since 1970, too large
-- for that, so it is read as microseconds and the three digits behind them.
local floor, ceil, fmod, max, min, huge = math.floor, math.ceil, math.fmod, math.max, math.min, math.huge
local call, format, find, sub = redis.call, string.format, string.find, string.sub
local pack, unpack_at = struct.pack, struct.unpack

local CHUNK = 100 -- how many entries of a list are read at once
-- Whoever waits exactly as long as told must be admitted, and a clock may resolve a quarter of a microsecond.
local LATER = 2
-- No count goes beyond this: a double holds every whole number up to here.
local MOST = 2 ^ 53

local now = tonumber(ARGV[2])
local spare_ms = 3600000 -- a moment from elsewhere does not move with the server's clock: keep long enough
if not now then
  local time = call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  spare_ms = 10
end

local function milliseconds(us)
  return format('%.0f', max(ceil(us / 1000), 0) + spare_ms)
end

local function added(count, amount)
  return min(max(count + amount, 0), MOST)
end

local function foreign(key)
  error('what is kept under ' .. key .. ' was not written here', 0)
end
