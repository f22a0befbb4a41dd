-- For wrk: how many answers were admitted, refused, or something else.
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   admitted, refused, others = 0, 0, 0
end

function response(status, headers, body)
   if status == 200 then
      admitted = admitted + 1
   elseif status == 429 then
      refused = refused + 1
   else
      others = others + 1
   end
end

function done(summary, latency, requests)
   for _, thread in ipairs(threads) do
      io.write(string.format("COUNTED %d %d %d\n",
         thread:get("admitted"), thread:get("refused"), thread:get("others")))
   end
end
