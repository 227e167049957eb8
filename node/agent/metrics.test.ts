import { expect, test } from "vitest";
import { metricsText } from "./metrics.ts";

test("the text format: one head a metric, samples of one metric together, no label ends its quotes", () => {
  const labels = { plane: "wg1", peer: 'a"b' };
  expect(
    metricsText([
      { name: "kubedos_plane_peer_loss_ratio", labels, value: 0.2 },
      { name: "kubedos_plane_peer_received_bytes_total", labels, value: 12 },
      { name: "kubedos_plane_peer_loss_ratio", labels: { plane: "wg2" }, value: 0 },
      { name: "kubedos_vip_held", labels: {}, value: 1 },
    ]),
  ).toBe(
    [
      "# HELP kubedos_plane_peer_loss_ratio Part of pings to a peer that were not answered, 0 to 1",
      "# TYPE kubedos_plane_peer_loss_ratio gauge",
      'kubedos_plane_peer_loss_ratio{plane="wg1",peer="a_b"} 0.2',
      'kubedos_plane_peer_loss_ratio{plane="wg2"} 0',
      "# HELP kubedos_plane_peer_received_bytes_total Bytes received from a peer on a plane",
      "# TYPE kubedos_plane_peer_received_bytes_total counter",
      'kubedos_plane_peer_received_bytes_total{plane="wg1",peer="a_b"} 12',
      "# HELP kubedos_vip_held Whether this edge node holds the virtual address",
      "# TYPE kubedos_vip_held gauge",
      "kubedos_vip_held{} 1",
      "",
    ].join("\n"),
  );
});
