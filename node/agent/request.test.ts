import fc from "fast-check";
import { expect, test } from "vitest";
import { lineSplitter, maxLineBytes } from "./lines.ts";
import { parseRequest } from "./request.ts";

const target = fc.record({
  protocol: fc.constantFrom("tcp" as const, "udp" as const),
  address: fc.ipV4(),
  port: fc.integer({ min: 1, max: 65_535 }),
});
const id = fc.string({ minLength: 1, maxLength: 200 });
const request = fc.oneof(
  fc.record({ id, command: fc.constantFrom("facts" as const, "listening" as const, "poweroff" as const) }),
  fc.record({ id, command: fc.constant("fabric" as const), count: fc.integer({ min: 1, max: 100 }) }),
  fc.record({
    id,
    command: fc.constant("scan" as const),
    targets: fc.array(target, { maxLength: 20 }),
    timeoutMs: fc.integer({ min: 1, max: 60_000 }),
  }),
  fc.record({
    id,
    command: fc.constant("isolate" as const),
    plane: fc.stringMatching(/^[a-z][a-z0-9-]{0,14}$/),
    seconds: fc.integer({ min: 1, max: 900 }),
  }),
  fc.record({
    id,
    command: fc.constant("outage" as const),
    target,
    durationMs: fc.integer({ min: 1, max: 60_000 }),
    everyMs: fc.integer({ min: 10, max: 10_000 }),
  }),
);

test("every well-formed request comes out as it went in", () => {
  fc.assert(
    fc.property(request, (value) => {
      expect(parseRequest(JSON.stringify(value))).toEqual({ ok: true, request: value });
    }),
  );
});

test("no line makes the parser throw, and what is refused says why", () => {
  const almost = fc.record(
    {
      id: fc.anything(),
      command: fc.anything(),
      count: fc.anything(),
      targets: fc.anything(),
      timeoutMs: fc.anything(),
    },
    { requiredKeys: [] },
  );
  const line = fc.oneof(
    fc.string(),
    fc.json(),
    almost.map((value) => String(safeJson(value))),
  );
  fc.assert(
    fc.property(line, (text) => {
      const parsed = parseRequest(text);
      expect(parsed.ok ? parsed.request.id : parsed.error).not.toBe("");
    }),
  );
});

test.each([
  ["[1]", "", /not an object/],
  [`{"command":"facts"}`, "", /id must be/],
  [`{"id":"a","command":"rm"}`, "a", /unknown command/],
  [`{"id":"a","command":"isolate","plane":"wg1\\n","seconds":9}`, "a", /plane must be a name/],
  [`{"id":"a","command":"isolate","plane":"wg1","seconds":86400}`, "a", /seconds must be/],
  [`{"id":"a","command":"outage","target":{"protocol":"tcp"},"durationMs":1,"everyMs":10}`, "a", /target must have/],
  [`{"id":"a","command":"fabric","count":0}`, "a", /count/],
  [
    `{"id":"a","command":"scan","timeoutMs":1,"targets":[{"protocol":"tcp","address":"example.org","port":1}]}`,
    "a",
    /targets\[0\]/,
  ],
  [
    `{"id":"a","command":"scan","timeoutMs":1,"targets":[{"protocol":"tcp","address":"1.2.3.4","port":70000}]}`,
    "a",
    /targets\[0\]/,
  ],
  [`{"id":"a","command":"scan","timeoutMs":1e9,"targets":[]}`, "a", /timeoutMs/],
])("%s is refused", (line, wantedId, error) => {
  expect(parseRequest(line)).toEqual({ ok: false, id: wantedId, error: expect.stringMatching(error) as string });
});

test("lines come out whole, however the stream is cut", () => {
  const text = fc.array(fc.string({ unit: "grapheme" }).map((line) => line.replaceAll(/[\r\n]/g, " ").trim()));
  fc.assert(
    fc.property(text, fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (lines, cuts) => {
      const seen: string[] = [];
      const push = lineSplitter(
        (line) => seen.push(line),
        () => expect.unreachable(),
      );
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      const buffer = Buffer.alloc(8); // used again for every chunk, as the port's reader does
      for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
        const size = bytes.copy(buffer, 0, at, at + cuts[turn % cuts.length]!);
        push(buffer.subarray(0, size));
        at += size;
      }
      expect(seen).toEqual(lines.filter((line) => line !== ""));
    }),
  );
});

test("a line without an end is left out, and the next one is read", () => {
  const seen: string[] = [];
  let tooLong = 0;
  const push = lineSplitter(
    (line) => seen.push(line),
    () => (tooLong += 1),
  );
  for (let sent = 0; sent <= maxLineBytes * 2; sent += 65_536) push(Buffer.alloc(65_536, "x"));
  push(Buffer.from("y\nnext\n"));
  expect({ seen, tooLong }).toEqual({ seen: ["next"], tooLong: 1 });
});

function safeJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}
