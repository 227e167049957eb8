import { KubedosError } from "../../shared/error.ts";
import { writeUstar } from "../fabric/ustar.ts";
import { readSmallFile } from "../host/private-file.ts";
import type { SeedSource } from "../lifecycle/project.ts";
import { mediumToken, nodeSeed } from "../lifecycle/up-project.ts";
import { ageSeal } from "../vault/age.ts";

const headerBytes = 4096;

/**
 * The seeds of all nodes for installations: a header of 4096 bytes (`KUBEDOS-SEEDS 1 SIZE`), then an age file,
 * sealed by a passphrase, of a tar with NODE.seed files. Made anew it has other bytes: age chooses a fresh key.
 *
 * @param roomBytes what the medium has room for
 * @throws KubedosError when there are more
 */
export async function sealedSeeds(source: SeedSource, passphrase: string, roomBytes = Infinity): Promise<Buffer> {
  const { nodes } = source.spec;
  const members: { name: string; content: Uint8Array }[] = [];
  for (const { name } of nodes)
    members.push({ name: `${name}.seed`, content: (await nodeSeed(source, name, mediumToken)).disk });
  const sealed = await ageSeal(writeUstar(members), passphrase);
  if (headerBytes + sealed.length > roomBytes) {
    throw new KubedosError("failed", `the seeds of ${nodes.length} nodes need ${sealed.length} bytes`, {
      hint: `the medium has room for ${roomBytes - headerBytes}: split the spec's nodes over several media`,
    });
  }
  const header = Buffer.alloc(headerBytes);
  header.write(`KUBEDOS-SEEDS 1 ${sealed.length}\n`, "latin1");
  return Buffer.concat([header, sealed]);
}

/** The passphrase that seals seeds, from a file. */
export async function readPassphrase(file: string): Promise<string> {
  const bytes = await readSmallFile(file, "passphrase file", "check --seeds");
  const passphrase = bytes.toString("utf8").replace(/\r?\n$/, "");
  if (passphrase.length >= 8) return passphrase;
  throw new KubedosError("usage", `the passphrase in ${file} is shorter than 8 characters`, {
    hint: "whoever has the sealed seeds can guess as often as they like: use five random words or more",
  });
}
