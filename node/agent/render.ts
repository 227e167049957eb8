import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { renderNode, type RenderedFile } from "../../shared/render/render.ts";
import { renderSalt } from "../../shared/salt.ts";
import type { Identity } from "./identity.ts";
import type { NodePaths } from "./paths.ts";
import { renderAutomation } from "./automation.ts";
import { renderServices } from "./services.ts";

/** The underlay's interface inside a container, as systemd-nspawn names it. */
const containerInterface = "host0";

/** Everything the node's configuration consists of. Pure. */
export function renderAll(identity: Identity, userspaceWireguard: boolean): RenderedFile[] {
  const { layer, node, container } = identity;
  return [
    ...renderNode(layer, node.name, {
      userspaceWireguard,
      underlayInterface: container ? containerInterface : undefined,
    }),
    ...renderServices(layer, node),
    ...renderAutomation(layer, node),
    ...renderSalt(layer, node),
  ];
}

/**
 * Writes the files, each whole or not at all, and removes networks and planes of an earlier rendering that are not
 * in this one.
 *
 * @param options.keepNetworks these files are not a whole rendering: nothing is removed
 */
export function writeRendered(
  paths: NodePaths,
  files: readonly RenderedFile[],
  options: { keepNetworks?: boolean } = {},
): void {
  for (const file of files) {
    const path = paths.at(file.path);
    const fresh = join(dirname(path), `.kubedos-${process.pid}.new`);
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    writeFileSync(fresh, file.content, { mode: file.mode });
    renameSync(fresh, path);
  }
  if (options.keepNetworks === true) return;
  const wanted = new Set(files.map((file) => paths.at(file.path)));
  for (const name of readdirSync(paths.networkd)) {
    const path = join(paths.networkd, name);
    if (/^\d+-kubedos-/.test(name) && !wanted.has(path)) rmSync(path);
  }
}
