-- Asks Keyreeve whether a request is allowed. Written by: keyreeve gateways snippet haproxy
--
-- It uses a socket of its own and not core.httpclient: in HAProxy 2.6 that retries for seconds if there is no answer,
-- and no option prevents it.

-- Headers that may carry a key. If the check policy names others, list those.
local key_headers = { "authorization", "x-api-key" }
-- A root key with keys:verify, if the check policy demands a credential of the gateway.
local gateway_credential = nil
-- Maximum time to wait for Keyreeve, in seconds.
local wait_seconds = 2
local lines_max, body_bytes_max = 64, 65536

local identity = {
    "x-keyreeve-key-id", "x-keyreeve-tenant", "x-keyreeve-subject", "x-keyreeve-owner-type", "x-keyreeve-scopes",
    "x-keyreeve-environment", "x-keyreeve-meta",
}
local passed_on = { "content-type", "www-authenticate", "retry-after", "ratelimit", "ratelimit-policy", "cache-control", "x-request-id" }

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status })
    for name, value in pairs(headers) do
        reply:add_header(name, value)
    end
    reply:set_body(body)
    txn:done(reply)
end

local function question(txn, address, path)
    local lines = {
        "GET " .. path .. " HTTP/1.1", "Host: " .. address, "Connection: close", "X-Forwarded-For: " .. txn.sf:src(),
    }
    local sent = txn.http:req_get_headers()
    for _, name in ipairs(key_headers) do
        local values = sent[name]
        -- All values are sent: Keyreeve decides whether two are too many.
        local place = 0
        while values ~= nil and values[place] ~= nil do
            table.insert(lines, name .. ": " .. values[place])
            place = place + 1
        end
    end
    if gateway_credential ~= nil then
        table.insert(lines, "X-Keyreeve-Gateway: " .. gateway_credential)
    end
    return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- Returns the status, the headers and the body of an answer; nil if it is incomplete.
local function read(socket)
    local first = socket:receive("*l")
    local status = first and tonumber(first:match("^HTTP/1%.1 (%d%d%d)"))
    local headers = {}
    for _ = 1, lines_max do
        local line = status and socket:receive("*l")
        if line == nil or line == false then
            return nil
        end
        line = line:gsub("\r$", "")
        if line == "" then
            local bytes = tonumber(headers["content-length"] or "0")
            if bytes > body_bytes_max then
                return nil
            end
            local body = bytes > 0 and socket:receive(bytes) or ""
            return status, headers, body
        end
        local name, value = line:match("^([^:]+):%s*(.-)%s*$")
        if name ~= nil then
            headers[name:lower()] = value
        end
    end
    return nil
end

local function ask(txn, address, path)
    local socket = core.tcp()
    socket:settimeout(wait_seconds)
    local status, headers, body
    if socket:connect(address) and socket:send(question(txn, address, path)) then
        status, headers, body = read(socket)
    end
    socket:close()
    return status, headers, body
end

core.register_action("keyreeve", { "http-req" }, function(txn, address, path)
    local status, headers, body = ask(txn, address, path)
    if status == 200 then
        for _, name in ipairs(identity) do
            txn.http:req_set_header(name, headers[name] or "")
        end
        txn:set_var("txn.keyreeve_allowed", "yes")
    elseif status ~= nil and status >= 400 then
        local kept = {}
        for _, name in ipairs(passed_on) do
            kept[name] = headers[name]
        end
        refuse(txn, status, kept, body or "")
    end
    -- In any other case the rule after this one denies the request.
end, 2)
