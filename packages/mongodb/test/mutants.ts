/** Statements with one rule broken each, and the cases that should notice first. */
import type { Mutant } from "./rewriting.ts";

const held = '{"$gt":["$expiresAt","$$NOW"]}';
const zero = '{"$date":{"$numberLong":"0"}}';
const nextFence =
  '{"$max":[{"$add":[{"$ifNull":["$fence",{"$numberLong":"0"}]},{"$numberLong":"1"}]},{"$multiply":[{"$toLong":"$$NOW"},{"$numberLong":"1000"}]}]}';
/** `"model"` is the model-based test of this package, which can write into the store between two steps. */
type Killer = "model" | `${string}/${string}`;

export interface Planned extends Mutant {
  readonly killers: readonly Killer[];
}

const grant = String.raw`\{"\$eq":\["\$grantId",\{"\$literal":"[^"]*"\}\]\}`;
const fence = String.raw`\{"\$eq":\[\{"\$ifNull":\["\$fence",\{"\$numberLong":"0"\}\]\},\{"\$literal":\{"\$numberLong":"\d+"\}\}\]\}`;

export const mutants: readonly Planned[] = [
  {
    breaks: "an acquire does not look whether the name is held",
    operation: "acquire",
    find: `{"$or":[${held},`,
    replace: '{"$or":[false,',
    killers: ["granting/refused-changes-nothing"],
  },
  {
    breaks: "a sealed name is granted",
    operation: "acquire",
    find: '{"$eq":["$sealed",true]}',
    replace: "false",
    killers: ["sealing-and-payload/sealed-refuses"],
  },
  {
    breaks: "ifFence is ignored",
    operation: "acquire",
    find: new RegExp(String.raw`,\{"\$not":\[${fence}\]\}`, "g"),
    replace: "",
    killers: ["granting/if-fence"],
  },
  {
    breaks: "ifFence makes a document where there is none",
    operation: "acquire",
    find: '"upsert":false',
    replace: '"upsert":true',
    killers: ["model"],
  },
  {
    breaks: "a spent grant id is granted again",
    operation: "acquire",
    find: new RegExp(String.raw`"again",\{"\$cond":\[\{"\$or":\[${grant},`, "g"),
    replace: '"again",{"$$cond":[{"$$or":[false,',
    killers: ["model"],
  },
  {
    breaks: "a repeated acquire is a grant of its own",
    operation: "acquire",
    find: new RegExp(
      String.raw`"\$cond":\[\{"\$and":\[\{"\$gt":\["\$expiresAt","\$\$NOW"\]\},${grant}\]\},"again"`,
      "g",
    ),
    replace: '"$$cond":[false,"again"',
    killers: ["granting/granted-again-expiry"],
  },
  {
    breaks: "a repeated acquire shortens the lease",
    operation: "acquire",
    find: /\{"\$max":\["\$expiresAt",(\{"\$add":\["\$\$NOW",\{"\$literal":\{"\$numberLong":"\d+"\}\}\]\})\]\}/g,
    replace: "$1",
    killers: ["granting/granted-again-expiry", "model"],
  },
  {
    breaks: "a lapsed lease is handed over",
    operation: "acquire",
    find: `{"$not":[{"$and":[${held},`,
    replace: '{"$not":[{"$and":[true,',
    killers: ["model"],
  },
  {
    breaks: "a hand-over does not compare the grant",
    operation: "acquire",
    find: new RegExp(String.raw`(\{"\$not":\[\{"\$and":\[[^\]]*\]\},)${grant},`, "g"),
    replace: "$1",
    killers: ["granting/hand-over", "granting/hand-over-once", "model"],
  },
  {
    breaks: "a hand-over does not compare the fence",
    operation: "acquire",
    find: new RegExp(String.raw`(\{"\$not":\[\{"\$and":\[[^\]]*\]\},${grant}),${fence}`, "g"),
    replace: "$1",
    killers: ["granting/hand-over", "model"],
  },
  {
    breaks: "a grant keeps the fence of the one before",
    operation: "acquire",
    find: nextFence,
    replace: '{"$ifNull":["$fence",{"$multiply":[{"$toLong":"$$NOW"},{"$numberLong":"1000"}]}]}',
    killers: ["fences/rise-in-a-hurry"],
  },
  {
    breaks: "the fence only counts, without the clock",
    operation: "acquire",
    find: nextFence,
    replace: '{"$add":[{"$ifNull":["$fence",{"$numberLong":"0"}]},{"$numberLong":"1"}]}',
    killers: ["fences/from-the-clock"],
  },
  {
    breaks: "the fence is only the clock, and falls behind one that is ahead",
    operation: "any write",
    find: nextFence,
    replace: '{"$multiply":[{"$toLong":"$$NOW"},{"$numberLong":"1000"}]}',
    killers: ["fences/far-ahead"],
  },
  {
    breaks: "a grant keeps the payloadSeq of the one before",
    operation: "acquire",
    find: '{"$literal":{"$numberInt":"0"}}',
    replace: '{"$ifNull":["$payloadSeq",0]}',
    killers: ["granting/payload-kept-or-replaced"],
  },
  {
    breaks: "text from outside is read as an expression",
    operation: "acquire",
    find: /("holder":\{"\$cond":\[[^\]]*\]\},)\{"\$literal":("[^"]*")\}/g,
    replace: "$1$2",
    killers: ["model"],
  },
  {
    breaks: "a refusal drags the payload along unasked",
    operation: "acquire",
    find: /"payload":\{"\$cond":\[\{"\$and".*?"\$\$REMOVE"\]\}/g,
    replace: '"payload":1',
    killers: ["granting/refused-carries-record"],
  },
  {
    breaks: "a lapsed lease is renewed",
    operation: "renew",
    find: `{"$cond":[${held},"new","no"]}`,
    replace: '"new"',
    killers: ["renewing/lost-after-release", "renewing/lost-after-lapse"],
  },
  {
    breaks: "a renewal shortens the lease",
    operation: "renew",
    find: /\{"\$max":\["\$expiresAt",(\{"\$add":\["\$\$NOW",\{"\$literal":\{"\$numberLong":"\d+"\}\}\]\})\]\}/g,
    replace: "$1",
    killers: ["renewing/never-shortens"],
  },
  {
    breaks: "a renewal does not compare the grant",
    operation: "renew",
    find: /"grantId":\{"\$eq":"[^"]*"\},/g,
    replace: "",
    killers: ["renewing/grant-and-fence"],
  },
  {
    breaks: "a renewal does not compare the fence",
    operation: "renew",
    find: /,"fence":\{"\$eq":\{"\$numberLong":"\d+"\}\}/g,
    replace: "",
    killers: ["renewing/grant-and-fence"],
  },
  {
    breaks: "an older payload replaces a newer one",
    operation: "renew",
    find: /\{"\$lt":\["\$payloadSeq",\{"\$literal":\{"\$numberInt":"\d+"\}\}\]\}/g,
    replace: "true",
    killers: ["renewing/payload-late"],
  },
  {
    breaks: "a renewal does not move purgeAt",
    operation: "renew",
    find: '{"$eq":["$_verdict","no"]},"$purgeAt"',
    replace: 'true,"$purgeAt"',
    killers: ["sealing-and-payload/purge-at", "model"],
  },
  {
    breaks: "renewals of one lease carry one mark, and the second seems to change nothing",
    operation: "renew",
    find: /\{"\$literal":"[0-9a-f]{24}"\}/g,
    replace: '"mark"',
    killers: ["renewing/never-shortens", "model"],
  },
  {
    breaks: "a second release replaces what the first stored",
    operation: "release",
    find: `{"$cond":[{"$eq":["$expiresAt",${zero}]},"no","new"]}`,
    replace: '"new"',
    killers: ["releasing/first-stands"],
  },
  {
    breaks: "a release does not compare the grant",
    operation: "release",
    find: /,"grantId":\{"\$eq":"[^"]*"\}/g,
    replace: "",
    killers: ["releasing/grant-and-fence"],
  },
  {
    breaks: "a release does not compare the fence",
    operation: "release",
    find: /,"fence":\{"\$eq":\{"\$numberLong":"\d+"\}\}/g,
    replace: "",
    killers: ["releasing/grant-and-fence"],
  },
  {
    breaks: "a release only lets the lease lapse",
    operation: "release",
    find: `{"$cond":[{"$eq":["$_verdict","new"]},${zero},`,
    replace: '{"$cond":[{"$eq":["$_verdict","new"]},"$$NOW",',
    killers: ["releasing/frees-at-once"],
  },
  {
    breaks: "an overrule does not compare the fence",
    operation: "overrule",
    find: new RegExp(String.raw`\{"\$not":\[${fence}\]\}`, "g"),
    replace: "false",
    killers: ["overruling/moved-by-fence"],
  },
  {
    breaks: "an overrule does not look whether the name was released since",
    operation: "overrule",
    find: `,{"$eq":["$expiresAt",${zero}]}`,
    replace: "",
    killers: ["overruling/moved-by-release"],
  },
  {
    breaks: "an overrule leaves the old grant in the record",
    operation: "overrule",
    find: /("grantId":\{"\$cond":\[\{"\$eq":\["\$_verdict","new"\]\},)\{"\$literal":"[^"]*"\}/g,
    replace: '$1{"$$ifNull":["$$grantId",""]}',
    killers: ["overruling/raises-the-fence"],
  },
  {
    breaks: "an overrule does not raise the fence",
    operation: "overrule",
    find: nextFence,
    replace: '{"$ifNull":["$fence",{"$numberLong":"1"}]}',
    killers: ["overruling/raises-the-fence"],
  },
  {
    breaks: "a repeated overrule raises the fence again",
    operation: "overrule",
    find: new RegExp(String.raw`\{"\$or":\[${grant},`, "g"),
    replace: '{"$$or":[',
    killers: ["overruling/repeated", "model"],
  },
  {
    breaks: "an overrule frees a held name before its expiry",
    operation: "overrule",
    find: `{"$cond":[${held},"$expiresAt",${zero}]}`,
    replace: zero,
    killers: [
      "overruling/moved-by-fence",
      "overruling/late-claim-refused",
      "overruling/waits-for-the-old-expiry",
    ],
  },
  {
    breaks: "a sealed record that was not released is purged",
    operation: "any write",
    find: `{"$and":["$sealed",{"$ne":["$expiresAt",${zero}]}]}`,
    replace: "false",
    killers: ["sealing-and-payload/purge-at", "model"],
  },
  {
    breaks: "a record is purged before the instant of its fence",
    operation: "any write",
    find: ',{"$toDate":{"$toLong":{"$ceil":{"$divide":["$fence",{"$numberLong":"1000"}]}}}}',
    replace: "",
    killers: ["fences/far-ahead-kept", "model"],
  },
  {
    breaks: "a prefix also lists what sorts behind it",
    operation: "list",
    find: /\{"_id":\{"\$lte":"[^"]*"\}\}/g,
    replace: '{"_id":{"$$lte":"~"}}',
    killers: ["reading/prefix-literal", "reading/order-by-bytes"],
  },
  {
    breaks: "a page begins with the last key of the one before",
    operation: "list",
    find: '{"_id":{"$gt":',
    replace: '{"_id":{"$gte":',
    killers: ["reading/after-is-exclusive"],
  },
];
