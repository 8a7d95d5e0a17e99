/**
 * The steps of the contract as Lua: each is one script, as only a script reads, decides and writes on Redis
 * in one atomic step and one round trip. Needs Redis 7.0 (`#!lua` flags, `XADD 0-*`, `PEXPIRETIME`).
 *
 * A record is a hash: `g` grant, `h` holder, `f` fence, `e` expiresAt in ms (0 = released), `s` sealed,
 * `q` payloadSeq, `r` retainMs (-1 = for ever), `p` payload. Its TTL is `purgeAt`, so Redis cleans up.
 *
 * Arguments are text: flags `0` or `1`, fences decimal, `retainMs` -1 for `null`, empty for "not given";
 * a `[payload]` is left out when there is none. A view in an answer is
 * `{grant, holder, fence, expiresAt, sealed, payloadSeq, retainMs, purgeAt, remainingMs, payload | nil}`.
 *
 * `allow-oom` stands wherever a refusal would hurt who holds already: at `maxmemory` all holders would lose
 * their leases together. No script says `no-writes`: with it a demoted master answers stale reads, without
 * it `READONLY`.
 */
import { createHash } from "node:crypto";

export interface Script {
  readonly text: string;
  readonly sha: string;
}

/**
 * Reading, showing and keeping a record. `now` is in whole ms; a ttl starts at the next whole ms, so that no
 * lease is shorter than asked. Fences are compared as text and raised by HINCRBY: Lua's numbers are exact
 * to 2^53 only, HINCRBY to 2^63 and then refuses. `keep` is the purge rule, called by every step that
 * writes: never before the end of a held lease, nor before the instant that the fence encodes.
 */
const lease = `
local call, key = redis.call, KEYS[1]
local time = call('TIME')
local nowUs = time[1] * 1000000 + time[2]
local now = math.floor(nowUs / 1000)
local function ceilMs(us) return math.ceil(us / 1000) end
local function integer(n) return string.format('%.0f', n) end
local function read(k)
  local v = call('HMGET', k, 'g', 'h', 'f', 'e', 's', 'q', 'r')
  return {
    grant = v[1], holder = v[2], fence = v[3], expiresAt = tonumber(v[4] or 0),
    sealed = v[5], payloadSeq = v[6], retainMs = v[7],
  }
end
local function view(k, r, withPayload)
  if not r.fence then return false end
  return {
    r.grant, r.holder, r.fence, integer(r.expiresAt), r.sealed, r.payloadSeq, r.retainMs,
    call('PEXPIRETIME', k), math.max(0, r.expiresAt - now), withPayload and call('HGET', k, 'p'),
  }
end
local function keep(k, fence, expiresAt, sealed, retainMs)
  if retainMs == '-1' or sealed == '1' and expiresAt > 0 then
    call('PERSIST', k)
  else
    call('PEXPIREAT', k, integer(math.max(ceilMs(nowUs), expiresAt, ceilMs(fence)) + retainMs))
  end
end
local function raise(fence)
  local clock = integer(nowUs)
  if fence and (#fence > #clock or #fence == #clock and fence >= clock) then
    call('HINCRBY', key, 'f', 1)
    return call('HGET', key, 'f')
  end
  return clock
end`;

/**
 * Wakes one waiting process, in turn, or all of them: waiters are KEYS[2], the key is ARGV[1]. A stream that
 * is gone (its process died) is told by NOMKSTREAM and loses its place. The streams stand in the slot of the
 * record, but which ones is known only here. The entries' ids are 0-1, 0-2, ... without holes, so a reader
 * sees when it was trimmed. `pcall`: while a slot moves, only the hint is lost, not the release.
 */
const wake = `
local streams = string.sub(key, 1, -3 - #ARGV[1]) .. 'r:'
for _ = 1, 1000 do
  local reader = call('ZRANGE', KEYS[2], 0, 0)[1]
  if not reader then break end
  local told = redis.pcall('XADD', streams .. reader, 'NOMKSTREAM', 'MAXLEN', '~', 1000, '0-*', all and 'a' or 'k', ARGV[1])
  if told and not all then
    call('ZADD', KEYS[2], 'XX', integer(nowUs), reader)
    break
  end
  call('ZREM', KEYS[2], reader)
end`;

const texts = {
  /**
   * KEYS record, index
   * ARGV key, grant, holder, ttlMs, sealed, retainMs, ifFence, from grant, from fence, withPayload, [payload]
   * -> {'granted', fence, payload | nil} or {'spent' | 'held' | 'sealed' | 'moved', view | nil}
   *
   * A new name goes into the index; two random members are then probed, so that names which Redis has
   * purged leave it without a sweep.
   */
  acquire: `#!lua
${lease}
local record = read(key)
local fence, held, mine = record.fence, record.expiresAt > now, record.grant == ARGV[2]
local expiresAt = ceilMs(nowUs) + ARGV[4]
if held and mine then
  expiresAt = math.max(record.expiresAt, expiresAt)
  call('HSET', key, 'e', integer(expiresAt))
  keep(key, fence, expiresAt, record.sealed, record.retainMs)
  return {'granted', fence, call('HGET', key, 'p')}
end
local refusal
if mine then refusal = 'spent'
elseif ARGV[8] ~= '' then refusal = (not held or record.grant ~= ARGV[8] or fence ~= ARGV[9]) and 'moved'
elseif held then refusal = 'held'
elseif record.sealed == '1' then refusal = 'sealed'
elseif ARGV[7] ~= '' and ARGV[7] ~= (fence or '0') then refusal = 'moved' end
if refusal then return {refusal, view(key, record, ARGV[10] == '1')} end
local raised = raise(fence)
call('HSET', key, 'g', ARGV[2], 'h', ARGV[3], 'f', raised, 'e', integer(expiresAt), 's', ARGV[5], 'q', '0', 'r', ARGV[6])
if ARGV[11] then call('HSET', key, 'p', ARGV[11]) end
keep(key, raised, expiresAt, ARGV[5], ARGV[6])
if not fence then
  call('ZADD', KEYS[2], 0, ARGV[1])
  local records = string.sub(key, 1, -1 - #ARGV[1])
  for _, name in ipairs(call('ZRANDMEMBER', KEYS[2], 2)) do
    if redis.pcall('EXISTS', records .. name) == 0 then call('ZREM', KEYS[2], name) end
  end
end
return {'granted', raised, call('HGET', key, 'p')}`,

  /**
   * KEYS records of one partition, 500 at the most
   * ARGV per record: grant, fence, ttlMs, payloadSeq or empty, payload
   * -> per record 1 renewed or 0 lost
   *
   * A heartbeat writes the expiry alone: the payload is neither rewritten nor replicated.
   */
  renew: `#!lua flags=allow-oom
${lease}
local renewed = {}
for i, k in ipairs(KEYS) do
  local at = i * 5 - 4
  local record = read(k)
  local mine = record.grant == ARGV[at] and record.fence == ARGV[at + 1]
  renewed[i] = mine and record.expiresAt > now and 1 or 0
  if renewed[i] == 1 then
    local expiresAt = math.max(record.expiresAt, ceilMs(nowUs) + ARGV[at + 2])
    call('HSET', k, 'e', integer(expiresAt))
    keep(k, record.fence, expiresAt, record.sealed, record.retainMs)
    local payloadSeq = tonumber(ARGV[at + 3])
    if payloadSeq and payloadSeq > tonumber(record.payloadSeq) then
      call('HSET', k, 'q', ARGV[at + 3], 'p', ARGV[at + 4])
    end
  end
end
return renewed`,

  /**
   * KEYS record, waiters
   * ARGV key, grant, fence or empty, sealed, retainMs, [payload]
   * -> {'released'}, {'released', view} if it was released before, or {'lost'}
   *
   * Wakes in the same step: a process that dies after its release can't forget to.
   */
  release: `#!lua flags=allow-oom
${lease}
local record = read(key)
if record.grant ~= ARGV[2] or ARGV[3] ~= '' and record.fence ~= ARGV[3] then return {'lost'} end
if record.expiresAt == 0 then return {'released', view(key, record, true)} end
call('HSET', key, 'e', '0', 's', ARGV[4], 'r', ARGV[5])
if ARGV[6] then call('HSET', key, 'p', ARGV[6]) end
keep(key, record.fence, 0, ARGV[4], ARGV[5])
local all = ARGV[4] == '1'
${wake}
return {'released'}`,

  /**
   * KEYS record, waiters, index
   * ARGV key, grant, fence, released, sealed, retainMs, now, [payload]
   * -> {'overruled', fence} or {'moved', view | nil}
   */
  overrule: `#!lua flags=allow-oom
${lease}
local record = read(key)
local fence, expiresAt = record.fence, record.expiresAt
if record.grant == ARGV[2] then return {'overruled', fence} end
if ARGV[3] ~= (fence or '0') or fence and expiresAt == 0 and ARGV[4] == '0' then
  return {'moved', view(key, record, true)}
end
if expiresAt <= now or ARGV[5] == '1' or ARGV[7] == '1' then expiresAt = 0 end
local raised = raise(fence)
call('HSET', key, 'g', ARGV[2], 'f', raised, 'e', integer(expiresAt), 's', ARGV[5], 'r', ARGV[6])
if ARGV[8] then call('HSET', key, 'p', ARGV[8]) end
if not fence then
  call('HSET', key, 'h', '', 'q', '0')
  call('ZADD', KEYS[3], 0, ARGV[1])
end
keep(key, raised, expiresAt, ARGV[5], ARGV[6])
if expiresAt == 0 then
  local all = ARGV[5] == '1'
  ${wake}
end
return {'overruled', raised}`,

  /** KEYS record -> view | nil. One step, as state and remaining time must be of one instant. */
  inspect: `#!lua flags=allow-oom
${lease}
return view(key, read(key), true)`,

  /**
   * KEYS index
   * ARGV prefix of the records' keys, lower bound, upper bound, limit, state or empty, sealed or empty, how many names to look at
   * -> {where to go on or empty, {{key, view}, ...}}
   *
   * The bounds come from the client: ZRANGEBYLEX compares bytes, Lua's \`<\` follows the server's locale.
   */
  list: `#!lua flags=allow-oom
${lease}
local names, found = call('ZRANGEBYLEX', key, ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[7]), {}
for _, name in ipairs(names) do
  local record = read(ARGV[1] .. name)
  local state = record.expiresAt > now and 'held' or record.expiresAt == 0 and 'free' or 'lapsed'
  if record.fence and (ARGV[5] == '' or ARGV[5] == state) and (ARGV[6] == '' or ARGV[6] == record.sealed) then
    found[#found + 1] = {name, view(ARGV[1] .. name, record)}
    if #found >= tonumber(ARGV[4]) then return {name, found} end
  end
end
return {#names < tonumber(ARGV[7]) and '' or names[#names], found}`,

  /**
   * KEYS the reader's stream, waiters ...
   * ARGV reader, ms that the stream outlives the last call, ms that an untouched place in line does
   * -> 1 if the stream had to be made (it is new, or was lost), else 0
   */
  watch: `#!lua
${lease}
local made = call('EXISTS', key) == 0
if made then call('XADD', key, '0-1', 'o', '1') end
call('PEXPIRE', key, ARGV[2])
for i = 2, #KEYS do
  call('ZADD', KEYS[i], 'NX', integer(nowUs), ARGV[1])
  call('PEXPIRE', KEYS[i], ARGV[3])
end
return made and 1 or 0`,

  /**
   * KEYS record, waiters
   * ARGV key, reader -> nil
   *
   * Leaves the line. If the name is free the turn goes to the next: it may have been this reader's.
   */
  unwatch: `#!lua flags=allow-oom
${lease}
call('ZREM', KEYS[2], ARGV[2])
local record = read(key)
if record.sealed == '1' or record.expiresAt > now then return end
local all = false
${wake}`,

  /** KEYS the namespace's layout; ARGV layout, partitions -> {layout, partitions} as they stand. The first one writes. */
  layout: `#!lua flags=allow-oom
redis.call('HSETNX', KEYS[1], 'layout', ARGV[1])
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[2])
return redis.call('HMGET', KEYS[1], 'layout', 'partitions')`,
};

export type ScriptName = keyof typeof texts;
export type Scripts = Readonly<Record<ScriptName, Script>>;

export function compile(text: string): Script {
  return { text, sha: createHash("sha1").update(text).digest("hex") };
}

/** All scripts; `rewrite` is for tests that break one on purpose. */
export function compileScripts(
  rewrite: (text: string, name: ScriptName) => string = (text) => text,
): Scripts {
  return {
    acquire: compile(rewrite(texts.acquire, "acquire")),
    renew: compile(rewrite(texts.renew, "renew")),
    release: compile(rewrite(texts.release, "release")),
    overrule: compile(rewrite(texts.overrule, "overrule")),
    inspect: compile(rewrite(texts.inspect, "inspect")),
    list: compile(rewrite(texts.list, "list")),
    watch: compile(rewrite(texts.watch, "watch")),
    unwatch: compile(rewrite(texts.unwatch, "unwatch")),
    layout: compile(rewrite(texts.layout, "layout")),
  };
}
