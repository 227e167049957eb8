import { expect, test } from "vitest";
import { handshakeWatch, type WatchedPeer } from "./peers.ts";

function peer(name: string): WatchedPeer {
  return { plane: "wg1", name, publicKey: `key-${name}`, endpoint: "10.100.0.11:51821", keepaliveSeconds: 25 };
}
const minuteMs = 60_000;

test("a peer whose handshakes stand still is named after four minutes, and again after four more", () => {
  const watch = handshakeWatch([peer("a"), peer("b")]);
  const named: [number, string][] = [];
  for (let minute = 0; minute <= 9; minute++) {
    // b shakes hands every other minute.
    const rows = [
      ["wg1", "key-a", "1800000000"],
      ["wg1", "key-b", String(1_700_000_000 + Math.floor(minute / 2))],
    ];
    for (const { name } of watch(rows, minute * minuteMs)) named.push([minute, name]);
  }
  expect(named).toEqual([
    [4, "a"],
    [8, "a"],
  ]);
});

test("a clock that is set back is no silence, nor is a peer that has never answered", () => {
  const watch = handshakeWatch([peer("a"), peer("never")]);
  const times = ["1800000000", "1799992800", "1799992920", "1799993040", "1799993160", "1799993280"];
  for (const [at, time] of times.entries()) {
    const rows = [
      ["wg1", "key-a", time],
      ["wg1", "key-never", "0"],
    ];
    expect(watch(rows, at * 2 * minuteMs)).toEqual([]);
  }
});
