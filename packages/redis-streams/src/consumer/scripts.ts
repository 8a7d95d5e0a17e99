/**
 * The steps of a consumer as Lua. XACK, XCLAIM and XAUTOCLAIM check no owner, so whoever lost a message could
 * acknowledge it, or take it back, under the feet of its new owner: every step after a read looks at the
 * owner and the delivery count first, and does so in the same atomic step. Needs Redis 7.0 (`#!lua` flags).
 *
 * A token is (entry id, consumer, delivery count). A read gives count 1, every later delivery raises it, so a
 * token that no longer matches the group's list of pending entries is void for ever.
 *
 * `allow-oom` stands everywhere: at `maxmemory` a consumer must still be able to finish what it has.
 */
import { compile, type Script } from "../scripts.ts";

/** The consumer that holds what was given back: idle for long enough for anybody to claim it at once. */
export const returnedTo = "~returned";

/** The row {id, consumer, idle, count} of one pending entry, or nil. */
const pending = `
local call = redis.call
local stream, group = KEYS[1], ARGV[1]
local function pending(id) return call('XPENDING', stream, group, id, id, 1)[1] end
`;

/**
 * Handled entries are deleted only where that was asked for (`flag` is 1) and the stream has one group: another
 * group may not have read them yet.
 */
const deletion = `
local function deletes(flag) return flag == '1' and #call('XINFO', 'GROUPS', stream) == 1 end
`;

/**
 * Moves an entry to the dead letters. Lua's unpack ends near 8000 values, so very many fields are packed into
 * one. XLEN comes first: dead letters of another type must fail before anything was written.
 */
const bury = `
call('XLEN', KEYS[2])
local function bury(id, count, reason, text, fields)
  if #fields > 6000 then fields = {'_packed', cmsgpack.pack(fields)} end
  call('XADD', KEYS[2], '*', '_id', id, '_group', group, '_consumer', ARGV[2], '_count', count,
    '_reason', reason, '_error', text, unpack(fields))
  call('XACK', stream, group, id)
end
`;

const texts = {
  /**
   * What is acknowledged is mostly among the oldest that this consumer has: one look at those is cheaper than
   * one for each, which is taken for the rest. Tokens come in runs of one delivery count, mostly 1.
   *
   * KEYS stream; ARGV group consumer delete, then count n id1 .. idn, .. -> 1 if all were acknowledged,
   * else for each 1 acknowledged, 0 lost, 2 not pending
   */
  ack: `#!lua flags=allow-oom
${pending}${deletion}
local counts = {}
if #ARGV > 9 then
  for _, row in ipairs(call('XPENDING', stream, group, '-', '+', #ARGV, ARGV[2])) do
    counts[row[1]] = row[4]
  end
end
local out, acked = {}, {}
local all = true
local i = 4
while i < #ARGV do
  local count = tonumber(ARGV[i])
  local last = i + 1 + ARGV[i + 1]
  for j = i + 2, last do
    local id = ARGV[j]
    local own = counts[id]
    if not own then
      local row = pending(id)
      own = row and (row[2] == ARGV[2] and row[4] or 0)
    end
    if own == count then
      acked[#acked + 1] = id
      out[#out + 1] = 1
    else
      all = false
      out[#out + 1] = own and 0 or 2
    end
  end
  i = last + 1
end
if #acked > 0 then
  call('XACK', stream, group, unpack(acked))
  if deletes(ARGV[3]) then call('XDEL', stream, unpack(acked)) end
end
return all and 1 or out`,

  /** KEYS stream; ARGV group consumer, then id count .. -> for each 1 ours, 0 lost, 2 acknowledged, 3 trimmed. */
  refresh: `#!lua flags=allow-oom
${pending}
local out = {}
for i = 3, #ARGV, 2 do
  local id = ARGV[i]
  local row = pending(id)
  if not row then
    out[#out + 1] = #call('XRANGE', stream, id, id) == 1 and 2 or 3
  elseif row[2] ~= ARGV[2] or row[4] ~= tonumber(ARGV[i + 1]) then
    out[#out + 1] = 0
  else
    out[#out + 1] = #call('XCLAIM', stream, group, ARGV[2], 0, id, 'JUSTID') == 1 and 1 or 3
  end
end
return out`,

  /** KEYS stream dead; ARGV group consumer id count reason error delete -> 1 done, 0 lost, 2 not pending. */
  dead: `#!lua flags=allow-oom
${pending}
local id = ARGV[3]
local row = pending(id)
if not row then return 2 end
if row[2] ~= ARGV[2] or row[4] ~= tonumber(ARGV[4]) then return 0 end
${deletion}${bury}
local entry = call('XRANGE', stream, id, id)[1]
bury(id, ARGV[4], ARGV[5], ARGV[6], entry and entry[2] or {})
if deletes(ARGV[7]) then call('XDEL', stream, id) end
return 1`,

  /**
   * Takes over what was idle for long, wherever it was pending. An entry that may have killed its consumers
   * (`riskyFrom` deliveries or more) is taken only while `riskyMax` allows, and put back uncounted otherwise:
   * waiting beside a killer must cost no delivery.
   *
   * KEYS stream dead; ARGV group consumer minIdleMs cursor count maxDeliveries delete riskyFrom riskyMax
   * -> {next cursor, {{id, count, fields} ..}, {{id, reason} ..}}
   */
  claim: `#!lua flags=allow-oom
${pending}${deletion}${bury}
local reply = call('XAUTOCLAIM', stream, group, ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local maxDeliveries, riskyFrom, riskyLeft = tonumber(ARGV[6]), tonumber(ARGV[8]), tonumber(ARGV[9])
local out, gone = {}, {}
for _, entry in ipairs(reply[2]) do
  local id = entry[1]
  local count = pending(id)[4]
  if count > maxDeliveries then
    bury(id, count - 1, 'deliveries', '', entry[2])
    gone[#gone + 1] = {id, 'deliveries'}
    if deletes(ARGV[7]) then call('XDEL', stream, id) end
  elseif count >= riskyFrom and riskyLeft == 0 then
    call('XCLAIM', stream, group, '${returnedTo}', 0, id, 'IDLE', ARGV[3], 'RETRYCOUNT', count - 1, 'JUSTID')
  else
    if count >= riskyFrom then riskyLeft = riskyLeft - 1 end
    out[#out + 1] = {id, count, entry[2]}
  end
end
for _, id in ipairs(reply[3]) do
  bury(id, 0, 'trimmed', '', {})
  gone[#gone + 1] = {id, 'trimmed'}
end
return {reply[1], out, gone}`,

  /**
   * Hands out anew what is pending under this consumer's name and not in its hands: after a restart under the
   * same name, and after a connection that may have swallowed an answer. A history read (XREADGROUP with an
   * id) would raise the count without telling it.
   *
   * KEYS stream dead; ARGV group consumer limit maxDeliveries delete riskyFrom riskyMax, then ids in hand ..
   * -> {{{id, count, fields} ..}, {{id, reason} ..}}
   */
  replay: `#!lua flags=allow-oom
${pending}${deletion}${bury}
local limit, maxDeliveries = tonumber(ARGV[3]), tonumber(ARGV[4])
local riskyFrom, riskyLeft = tonumber(ARGV[6]), tonumber(ARGV[7])
local inHand = {}
for i = 8, #ARGV do inHand[ARGV[i]] = true end
local out, gone = {}, {}
for _, row in ipairs(call('XPENDING', stream, group, '-', '+', #ARGV + limit, ARGV[2])) do
  local id, count = row[1], row[4] + 1
  local risky = count >= riskyFrom and count <= maxDeliveries
  if #out < limit and not inHand[id] and not (risky and riskyLeft == 0) then
    if risky then riskyLeft = riskyLeft - 1 end
    local entry = call('XCLAIM', stream, group, ARGV[2], 0, id)[1]
    if not entry then
      bury(id, count - 1, 'trimmed', '', {})
      gone[#gone + 1] = {id, 'trimmed'}
    elseif count > maxDeliveries then
      bury(id, count - 1, 'deliveries', '', entry[2])
      gone[#gone + 1] = {id, 'deliveries'}
      if deletes(ARGV[5]) then call('XDEL', stream, id) end
    else
      out[#out + 1] = {id, count, entry[2]}
    end
  end
end
return {out, gone}`,

  /** KEYS stream; ARGV group consumer id count -> the new count, 0 lost, -1 acknowledged, -2 trimmed. */
  retry: `#!lua flags=allow-oom
${pending}
local id = ARGV[3]
local row = pending(id)
if not row then return #call('XRANGE', stream, id, id) == 1 and -1 or -2 end
if row[2] ~= ARGV[2] or row[4] ~= tonumber(ARGV[4]) then return 0 end
local taken = call('XCLAIM', stream, group, ARGV[2], 0, id, 'RETRYCOUNT', row[4] + 1, 'JUSTID')
return #taken == 0 and -2 or row[4] + 1`,

  /**
   * Gives back what is in hand, each with the idle time that lets others claim it when it is due; a delivery
   * that is not to count is taken off. The consumer's name goes with its last entry, never before.
   *
   * KEYS stream; ARGV group consumer, then id count idleMs counts(0|1) .. -> 1 if the consumer was removed
   */
  leave: `#!lua flags=allow-oom
${pending}
for i = 3, #ARGV, 4 do
  local id = ARGV[i]
  local row = pending(id)
  if row and row[2] == ARGV[2] and row[4] == tonumber(ARGV[i + 1]) then
    local count = ARGV[i + 3] == '1' and row[4] or row[4] - 1
    call('XCLAIM', stream, group, '${returnedTo}', 0, id, 'IDLE', ARGV[i + 2], 'RETRYCOUNT', count, 'JUSTID')
  end
end
if #call('XPENDING', stream, group, '-', '+', 1, ARGV[2]) > 0 then return 0 end
call('XGROUP', 'DELCONSUMER', stream, group, ARGV[2])
return 1`,

  /** KEYS stream; ARGV group idleMs -> names removed: nothing pending and silent for that long. */
  sweep: `#!lua flags=allow-oom
local call = redis.call
local out = {}
for _, row in ipairs(call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #row, 2 do consumer[row[i]] = row[i + 1] end
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
    call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    out[#out + 1] = consumer.name
  end
end
return out`,

  /** KEYS stream -> how many entries were removed: those that every group was given and has acknowledged. */
  trim: `#!lua flags=allow-oom
local call = redis.call
if call('EXISTS', KEYS[1]) == 0 then return 0 end
local function sortable(id)
  local time, number = string.match(id, '(%d+)-(%d+)')
  return string.rep('0', 20 - #time) .. time .. string.rep('0', 20 - #number) .. number
end
local low
for _, row in ipairs(call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
  local id = group['last-delivered-id']
  if group.pending > 0 then
    local first = call('XPENDING', KEYS[1], group.name)[2]
    if sortable(first) < sortable(id) then id = first end
  end
  if not low or sortable(id) < sortable(low) then low = id end
end
return low and call('XTRIM', KEYS[1], 'MINID', low) or 0`,

  /** KEYS stream sent; ARGV keepMs, then field value .. -> {id, 1 if it was sent before}. */
  produce: `#!lua
local call = redis.call
local before = call('GET', KEYS[2])
if before then return {before, 1} end
local id = call('XADD', KEYS[1], '*', unpack(ARGV, 2))
call('SET', KEYS[2], id, 'PX', ARGV[1])
return {id, 0}`,
};

export type QueueScripts = Readonly<Record<keyof typeof texts, Script>>;

/** All scripts; `rewrite` is for tests that break one on purpose. */
export function compileQueueScripts(
  rewrite: (text: string, name: keyof typeof texts) => string = (text) => text,
): QueueScripts {
  const compiled = (name: keyof typeof texts): Script => compile(rewrite(texts[name], name));
  return {
    ack: compiled("ack"),
    refresh: compiled("refresh"),
    dead: compiled("dead"),
    claim: compiled("claim"),
    replay: compiled("replay"),
    retry: compiled("retry"),
    leave: compiled("leave"),
    sweep: compiled("sweep"),
    trim: compiled("trim"),
    produce: compiled("produce"),
  };
}
