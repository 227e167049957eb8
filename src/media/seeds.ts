import { constants, publicEncrypt } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { writeUstar, type Member } from "../fabric/ustar.ts";
import { readSmallFile } from "../host/private-file.ts";
import type { SeedSource } from "../lifecycle/project.ts";
import { mediumToken, nodeSeed } from "../lifecycle/up-project.ts";
import { readTpmKey, type TpmKey } from "../spec/tpm-keys.ts";
import { ageSeal, ageSealToNew } from "../vault/age.ts";

const headerBytes = 4096;

/** A node's seed, and the key (PEM) of the TPM that it is sealed to; without one, a passphrase seals it. */
export interface OpenSeed {
  node: string;
  seed: Uint8Array;
  tpm?: string;
}

/**
 * The seeds of all nodes for installations, as `packSeeds` makes them.
 *
 * @param passphrase undefined: every node has a TPM
 * @param roomBytes what the medium has room for
 * @throws KubedosError when there are more; for a node with neither TPM nor passphrase
 */
export async function sealedSeeds(
  source: SeedSource,
  passphrase: string | undefined,
  roomBytes = Infinity,
): Promise<Buffer> {
  const { nodes } = source.spec;
  const seeds: OpenSeed[] = [];
  for (const { name: node, hardware } of nodes)
    seeds.push({ node, seed: (await nodeSeed(source, node, mediumToken)).disk, tpm: hardware?.tpm });
  const packed = await packSeeds(seeds, passphrase);
  if (packed.length <= roomBytes) return packed;
  throw new KubedosError("failed", `the seeds of ${nodes.length} nodes need ${packed.length - headerBytes} bytes`, {
    hint: `the medium has room for ${roomBytes - headerBytes}: split the spec's nodes over several media`,
  });
}

/**
 * Seeds as node/writer/seeds reads them. Made anew they have other bytes: keys are fresh. A header of 4096 bytes
 * (`KUBEDOS-SEEDS 1 SIZE [TPM-SIZE]`), then
 * - SIZE bytes: an age file, sealed by the passphrase, of a tar with NODE.seed files; none where each node has a TPM;
 * - TPM-SIZE bytes: a tar with, for each node whose TPM is known, NODE.age: its seed, encrypted to an age identity of
 *   its own; NODE.key: that identity, encrypted to the TPM's key (RSA-OAEP, SHA-256, no label; RFC 8017); NODE.tpm: the
 *   key's fingerprint.
 *
 * @throws KubedosError for a node with neither TPM nor passphrase
 */
export async function packSeeds(seeds: readonly OpenSeed[], passphrase: string | undefined): Promise<Buffer> {
  const forPassphrase = seeds.filter(({ tpm }) => tpm === undefined);
  let sealed: Uint8Array = Buffer.alloc(0);
  if (forPassphrase.length > 0) {
    if (passphrase === undefined) {
      const names = forPassphrase.map(({ node }) => node).join(", ");
      throw new KubedosError("usage", `nothing seals the seeds of ${names}: no passphrase, no TPM's key`, {
        hint: "give --seeds a file with a passphrase for them, or the keys of their TPMs to the spec: `hardware.tpm`",
      });
    }
    const files = forPassphrase.map(({ node, seed }) => ({ name: `${node}.seed`, content: seed }));
    sealed = await ageSeal(writeUstar(files), passphrase);
  }
  const forTpm: Member[] = [];
  for (const { node, seed, tpm } of seeds)
    if (tpm !== undefined) forTpm.push(...(await sealToTpm(node, seed, readTpmKey(tpm, `TPM of node \`${node}\``))));
  const archive = forTpm.length === 0 ? [] : [writeUstar(forTpm)];
  const header = Buffer.alloc(headerBytes);
  header.write(`KUBEDOS-SEEDS 1 ${[sealed, ...archive].map(({ length }) => length).join(" ")}\n`, "latin1");
  return Buffer.concat([header, sealed, ...archive]);
}

async function sealToTpm(node: string, seed: Uint8Array, key: TpmKey): Promise<Member[]> {
  const { identity, sealed } = await ageSealToNew(seed);
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const wrapped = publicEncrypt({ key: key.pem, padding, oaepHash: "sha256" }, Buffer.from(`${identity}\n`));
  return [
    { name: `${node}.tpm`, content: Buffer.from(`${key.fingerprint}\n`) },
    { name: `${node}.key`, content: wrapped },
    { name: `${node}.age`, content: sealed },
  ];
}

/** What a person is told of the seeds: `seeds of 3 nodes, 2 of them for their TPMs alone`. */
export function describeSeeds({ spec }: Pick<SeedSource, "spec">): string {
  const count = spec.nodes.filter(({ hardware }) => hardware?.tpm !== undefined).length;
  return `seeds of ${spec.nodes.length} nodes${count === 0 ? "" : `, ${count} of them for their TPMs alone`}`;
}

/**
 * The passphrase that seals seeds, from the file that `--seeds [file]` names; undefined where it names none, and all nodes
 * have TPMs.
 */
export async function readPassphrase(file: string | true): Promise<string | undefined> {
  if (file === true) return undefined;
  const bytes = await readSmallFile(file, "passphrase file", "check --seeds");
  const passphrase = bytes.toString("utf8").replace(/\r?\n$/, "");
  if (passphrase.length >= 8) return passphrase;
  throw new KubedosError("usage", `the passphrase in ${file} is shorter than 8 characters`, {
    hint: "whoever has the sealed seeds can guess as often as they like: use five random words or more",
  });
}
