import { expect, test } from "vitest";
import type { LayerRepository } from "../../shared/repository.ts";
import { exampleLayer } from "../../shared/render/testing.ts";
import { renderRepository } from "./repository.ts";

const archives = [{ uri: "http://deb.debian.org/debian", suites: ["trixie", "trixie-updates"] }];

function rendered(role: "hub" | "worker", repository?: LayerRepository): Record<string, string> {
  const layer = { ...exampleLayer({ nodes: 4 }), repository };
  const node = layer.nodes.find((one) => one.roles.includes(role))!;
  return Object.fromEntries(renderRepository(layer, node).map(({ path, content }) => [path, content]));
}

test("connected: Debian with Debian's keys, and nothing else", () => {
  expect(rendered("hub", { mode: "connected", suite: "trixie", archives })).toMatchInlineSnapshot(`
    {
      "/run/kubedos/apt/kubedos.sources": "# Mode connected, rendered from the cluster layer.
    Types: deb
    URIs: http://deb.debian.org/debian
    Suites: trixie trixie-updates
    Components: main
    Architectures: amd64
    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
    ",
    }
  `);
});

test("darksite: the hubs with the foundry's key, and nothing else; hubs serve on the control plane", () => {
  expect(rendered("hub", { mode: "darksite", suite: "trixie", archives: [] })).toMatchInlineSnapshot(`
    {
      "/run/kubedos/apt/hubs.list": "http://10.101.0.1:7480/
    ",
      "/run/kubedos/apt/kubedos.sources": "# Mode darksite, rendered from the cluster layer.
    Types: deb
    URIs: mirror+file:/run/kubedos/apt/hubs.list
    Suites: trixie
    Components: main
    Architectures: amd64
    Signed-By: /run/kubedos/layer/archive.asc
    ",
      "/run/kubedos/repository.env": "ADDRESS=10.101.0.1
    ",
    }
  `);
  expect(Object.keys(rendered("worker", { mode: "darksite", suite: "trixie", archives: [] }))).not.toContain(
    "/run/kubedos/repository.env",
  );
});

test("both: the hubs first, each archive with its own key", () => {
  const sources = rendered("worker", { mode: "both", suite: "trixie", archives })["/run/kubedos/apt/kubedos.sources"]!;
  expect(sources.match(/^(URIs|Signed-By): .*/gm)).toEqual([
    "URIs: mirror+file:/run/kubedos/apt/hubs.list",
    "Signed-By: /run/kubedos/layer/archive.asc",
    "URIs: http://deb.debian.org/debian",
    "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
  ]);
});

test("a platform without apt gets nothing", () => {
  expect(rendered("hub")).toEqual({});
});
