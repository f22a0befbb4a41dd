-- For wrk: how many answers had which status, and which workers admitted something.
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   admitted, refused, others, workers = 0, 0, 0, ""
end

function response(status, headers, body)
   if status == 200 then
      admitted = admitted + 1
      local worker = "," .. (headers["x-worker"] or headers["X-Worker"]) .. ","
      if not workers:find(worker, 1, true) then workers = workers .. worker end
   elseif status == 429 then
      refused = refused + 1
   else
      others = others + 1
   end
end

function done(summary, latency, requests)
   for _, thread in ipairs(threads) do
      io.write(string.format("COUNTED %d %d %d %s\n",
         thread:get("admitted"), thread:get("refused"), thread:get("others"), thread:get("workers")))
   end
end
