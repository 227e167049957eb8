import { expect, test } from "vitest";
import { exampleLayer } from "../../shared/render/testing.ts";
import { announcement, currentHolder } from "./vip.ts";

const edges = exampleLayer({ nodes: 3, roles: ["edge", "edge"] }).nodes.slice(1);
const now = 1_000_000;

test("the one that is heard holds the address", () => {
  expect(currentHolder(new Map([["edge-2", now - 400]]), edges, now)?.name).toBe("edge-2");
});

test("of two that say so the one with the lowest index is believed, in whatever order they are listed", () => {
  const heard = new Map([
    ["edge-2", now],
    ["edge-1", now - 500],
  ]);
  expect(currentHolder(heard, edges, now)?.name).toBe("edge-1");
  expect(currentHolder(heard, edges.toReversed(), now)?.name).toBe("edge-1");
});

test("one that has gone silent gives way", () => {
  const heard = new Map([
    ["edge-1", now - 2_000],
    ["edge-2", now],
  ]);
  expect(currentHolder(heard, edges, now)?.name).toBe("edge-2");
  expect(currentHolder(new Map([["edge-1", now - 2_000]]), edges, now)).toBeUndefined();
});

test("an announcement names the address", () => {
  expect(announcement({ vip: "10.103.0.200" })).toBe("kubedos-vip 1 10.103.0.200\n");
});
