import type { ClusterLayer, LayerNode } from "../../shared/cluster-layer.ts";
import { controlPlane, isHub, planeAddress } from "../../shared/render/peers.ts";
import type { RenderedFile } from "../../shared/render/render.ts";
import { archiveCertificate, repositoryPort } from "../../shared/repository.ts";

const directory = "/run/kubedos/apt";
const hubList = `${directory}/hubs.list`;
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** apt's sources of this node, and on a hub what makes it serve. Pure. sources.list(5), apt-transport-mirror(1). */
export function renderRepository(layer: ClusterLayer, node: LayerNode): RenderedFile[] {
  const { repository } = layer;
  if (repository === undefined) return [];
  const files: RenderedFile[] = [];
  const stanzas = repository.archives.map(({ uri, suites }) => stanza(uri, suites, debianKeyring));
  if (repository.mode !== "connected") {
    const control = controlPlane(layer);
    const hubs = layer.nodes.filter(isHub);
    // One source with all hubs: apt asks the next one where the first does not answer.
    const lines = hubs.map((hub) => `http://${planeAddress(control, hub)}:${repositoryPort}/\n`);
    files.push({ path: hubList, mode: 0o644, content: lines.join("") });
    stanzas.unshift(stanza(`mirror+file:${hubList}`, [repository.suite], `/run/kubedos/layer/${archiveCertificate}`));
    if (isHub(node)) {
      const content = `ADDRESS=${planeAddress(control, node)}\n`;
      files.push({ path: "/run/kubedos/repository.env", mode: 0o644, content });
    }
  }
  const head = `# Mode ${repository.mode}, rendered from the cluster layer.\n`;
  files.push({ path: `${directory}/kubedos.sources`, mode: 0o644, content: head + stanzas.join("\n") });
  return files;
}

function stanza(uri: string, suites: readonly string[], key: string): string {
  return [
    "Types: deb\n",
    `URIs: ${uri}\n`,
    `Suites: ${suites.join(" ")}\n`,
    "Components: main\n",
    "Architectures: amd64\n",
    `Signed-By: ${key}\n`,
  ].join("");
}
