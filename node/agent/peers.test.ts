import { expect, test } from "vitest";
import { exampleLayer } from "../../shared/render/testing.ts";
import { silenceWatch, stepWatch, watchedPeers, type WatchedPeer } from "./peers.ts";

function peer(name: string): WatchedPeer {
  const publicKey = `key-${name}`;
  return { plane: "wg1", name, address: "10.101.0.2", publicKey, endpoint: "10.100.0.11:51821", keepaliveSeconds: 25 };
}

/** What is said of `a`, for each 10 s of what has been received from it. */
function said(received: readonly number[]): string {
  const watch = silenceWatch([peer("a")]);
  return received
    .map((bytes, at) => {
      const { quiet, dead } = watch([["wg1", "key-a", String(bytes), "0"]], at * 10_000);
      return dead.length > 0 ? "D" : quiet.length > 0 ? "q" : ".";
    })
    .join("");
}

test("a peer that sends keepalives is not silent, nor one that was never heard", () => {
  expect(said([148, 148, 180, 180, 180, 212, 212, 244])).toBe("........");
  expect(said(Array<number>(30).fill(0))).toBe(".".repeat(30));
});

test("a peer is quiet when a keepalive is late, and dead after two minutes, until it is heard", () => {
  const silent = Array<number>(15).fill(180);
  expect(said([148, ...silent, 400, 432])).toBe("....qqqqqqqqqDqq..");
});

test("a peer that was made anew counts from zero: that is no sign of life", () => {
  expect(said([148, ...Array<number>(12).fill(148), ...Array<number>(12).fill(0), 92])).toBe(
    "...qqqqqqqqqDqqqqqqqqqqqD.",
  );
});

test("only peers that keep up a connection are watched, at their address of each plane", () => {
  const mesh = exampleLayer();
  expect(watchedPeers(mesh, mesh.nodes[0]!), "no keepalives").toEqual([]);
  const spokes = exampleLayer({ topology: "hub" });
  const seen = watchedPeers(spokes, spokes.nodes[1]!).map(({ plane, name, address }) => [plane, name, address]);
  expect(seen).toEqual([
    ["wg1", "hub-1", "10.101.0.1"],
    ["wg2", "hub-1", "10.102.0.1"],
    ["wg3", "hub-1", "10.103.0.1"],
  ]);
});

test("a clock that is set back is told from one that is ahead, slow or left alone", () => {
  const setBack = stepWatch();
  const hours = 3600_000;
  const seen = [
    [10 * hours, 0], // first look
    [10 * hours + 10_000, 10_000],
    [10 * hours + 19_200, 20_000], // slowed down by chrony
    [12 * hours, 30_000], // set ahead
    [12 * hours + 10_000, 40_000],
    [10 * hours, 50_000], // set back
    [10 * hours + 10_000, 60_000],
  ] as const;
  expect(seen.map(([wallMs, elapsedMs]) => setBack(wallMs, elapsedMs))).toEqual([
    false,
    false,
    false,
    false,
    false,
    true,
    false,
  ]);
});
