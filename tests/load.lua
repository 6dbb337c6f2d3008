-- For wrk: a pause of PAUSE milliseconds before each request, and how many answers were good (2xx) and bad, second by second.
local pause = tonumber(os.getenv("PAUSE"))
local threads = {}
good, bad, statuses = {}, {}, {}

function setup(thread)
  table.insert(threads, thread)
end

-- Half as long to half as long again, or all connections would come at once.
function delay()
  return pause * (0.5 + math.random())
end

function response(status)
  local count, second = (status >= 200 and status < 300) and good or bad, tostring(os.time())
  count[second] = (count[second] or 0) + 1
  statuses[tostring(status)] = (statuses[tostring(status)] or 0) + 1
end

local function show(name, counts)
  for key, count in pairs(counts) do
    print("counted", name, key, count)
  end
end

function done(summary)
  for _, thread in ipairs(threads) do
    for _, name in ipairs({"good", "bad", "statuses"}) do
      show(name, thread:get(name))
    end
  end
  local errors = summary.errors
  show("errors", {connect = errors.connect, read = errors.read, write = errors.write, timeout = errors.timeout})
end
