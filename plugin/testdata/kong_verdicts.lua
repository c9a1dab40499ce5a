-- Asks the schema code of Kong about configurations of this plugin, without
-- a running Kong.
--
--   luajit kong_verdicts.lua SOURCES DIRECTORY
--
-- SOURCES is a checkout of Kong (3.9.3 is what the record was made with),
-- DIRECTORY holds schema.json (what -dump prints as Schema) and cases.json, a
-- list of {name, config, runtime}. Prints a list of {name, config, accepted,
-- errors, runtime}. What OpenResty would bring is replaced by stand-ins that
-- the schema code does not notice. Needs cjson and penlight.

local sources, directory = arg[1], arg[2]
package.path = sources .. "/?.lua;" .. sources .. "/?/init.lua;"
  .. "/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua;" .. package.path

local cjson = require "cjson"
local null = cjson.null
cjson.array_mt = cjson.array_mt or {}

local function safely(f)
  return function(v)
    local ok, result = pcall(f, v)
    if ok then
      return result
    end
    return nil, result
  end
end

local function nothing() end

local safe = { null = null, array_mt = cjson.array_mt, encode = safely(cjson.encode), decode = safely(cjson.decode) }
safe.new = function() return safe end
for _, name in ipairs { "decode_array_with_array_mt", "encode_sparse_array", "decode_max_depth", "encode_number_precision" } do
  safe[name] = nothing
end

local hex = "%x%x%x%x"
local uuid_pattern = "^" .. hex .. hex .. "%-" .. hex .. "%-" .. hex .. "%-" .. hex .. "%-" .. hex .. hex .. hex .. "$"
local function find(text, pattern)
  if pattern:find("0-9a-f", 1, true) then -- the only expression that matters here is that of UUIDs
    return text:lower():match(uuid_pattern) and 1 or nil
  end
end

_G.ngx = {
  null = null,
  now = os.time, time = os.time, update_time = nothing, log = nothing,
  ERR = 1, WARN = 2, NOTICE = 3, INFO = 4, DEBUG = 5,
  re = { match = nothing, find = find, gsub = function(text) return text end, gmatch = function() return nothing end },
  config = { subsystem = "http", prefix = function() return "/tmp" end },
  worker = { id = function() return 0 end, exiting = function() return false end },
  timer = { at = nothing }, get_phase = function() return "init" end,
  socket = { tcp = nothing }, ctx = {}, shared = {}, req = {}, var = {},
}
_G.kong = {
  log = { warn = nothing, notice = nothing, debug = nothing },
  configuration = { role = "traditional" },
  vault = { get = nothing },
}

local stand_ins = {
  ["cjson.safe"] = safe,
  ["table.new"] = function() return {} end,
  ["table.clone"] = function(t)
    local copy = {}
    for k, v in pairs(t) do copy[k] = v end
    return copy
  end,
  ["table.clear"] = function(t) for k in pairs(t) do t[k] = nil end end,
  ["table.nkeys"] = function(t)
    local n = 0
    for _ in pairs(t) do n = n + 1 end
    return n
  end,
  ["table.isarray"] = function(t)
    local n = 0
    for _ in pairs(t) do n = n + 1 end
    return n == #t
  end,
  ["table.isempty"] = function(t) return next(t) == nil end,
  ["ngx.base64"] = { encode_base64url = tostring, decode_base64url = tostring },
  ["resty.core.utils"] = { str_replace_char = function(text, a, b) return (text:gsub(a, b)) end },
  ["kong.pdk.vault"] = {
    is_reference = function(v)
      return type(v) == "string" and #v > 10 and v:sub(1, 9) == "{vault://" and v:sub(-1) == "}"
    end,
  },
  ["kong.tools.yield"] = { yield = nothing },
  ["kong.tools.rand"] = { random_string = function() return "random" end },
  ["kong.tools.uuid"] = { uuid = function() return "00000000-0000-0000-0000-000000000000" end },
  ["kong.deprecation"] = nothing,
  ["kong.db.schema.json"] = { validate_schema = function() return true end, validate = function() return true end },
  ["kong.constants"] = { SCHEMA_NAMESPACES = { any = "any" } },
}
for name, module in pairs(stand_ins) do
  package.loaded[name] = module
end

local Entity = require "kong.db.schema.entity"
local MetaSchema = require "kong.db.schema.metaschema"

local function read(name)
  local file = assert(io.open(directory .. "/" .. name))
  local text = file:read("*a")
  file:close()
  return cjson.decode(text)
end

local schema = read("schema.json")
local ok, err = MetaSchema.MetaSubSchema:validate(schema)
if not ok then
  error("Kong does not accept the schema: " .. cjson.encode(err))
end

assert(Entity.new {
  name = "consumers", primary_key = { "id" },
  fields = { { id = { type = "string", uuid = true, auto = true } } },
})
local protocols = { "grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp", "ws", "wss" }
local plugins = assert(Entity.new {
  name = "plugins", primary_key = { "id" }, subschema_key = "name",
  fields = {
    { id = { type = "string", uuid = true, auto = true } },
    { name = { type = "string", required = true } },
    { consumer = { type = "foreign", reference = "consumers", default = null } },
    { protocols = { type = "set", required = true, elements = { type = "string", one_of = protocols }, default = { "http" } } },
    { config = { type = "record", abstract = true } },
  },
})
assert(plugins:new_subschema("openid-connect", schema))

local out = {}
for i, case in ipairs(read("cases.json")) do
  local copy = cjson.decode(cjson.encode(case.config))
  local input = { name = "openid-connect", config = copy }
  local entity = assert(plugins:process_auto_fields(input, "insert"))
  local valid, errors = plugins:validate_insert(entity, input)
  local verdict = { name = case.name, config = case.config, accepted = valid and true or false, errors = errors }
  if valid and case.runtime then
    local stored = cjson.decode(cjson.encode(entity))
    verdict.runtime = plugins:process_auto_fields(stored, "select", false).config
  end
  out[i] = verdict
end
print(cjson.encode(out))
