-- wrk: create a key, revoke it, and so on, each connection pausing $PAUSE ms between requests.
local turn, headers, run, pause, created = 0, nil, nil, 0, {}

function init()
  headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("ROOT") }
  run, pause = os.getenv("RUN"), tonumber(os.getenv("PAUSE"))
end

function delay() return pause end

function request()
  local id = table.remove(created)
  if id then return wrk.format("POST", "/v1/api_keys/" .. id .. "/revoke", headers, "{}") end
  turn = turn + 1
  local body = '{"name":"production","subject":"user_' .. run .. "_" .. turn .. '"}'
  return wrk.format("POST", "/v1/api_keys", headers, body)
end

function response(status, _, body)
  if status == 201 then created[#created + 1] = body:match('"id":"(ak_%x+)"') end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("@@ %f %d %d %d\n", summary.requests / summary.duration * 1e6, summary.requests,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status, latency:percentile(99)))
end
