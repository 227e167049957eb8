import { KubedosError } from "../../shared/error.ts";
import { seedCredentials, seedHeaderBytes, seedMagic, wireguardCredential } from "../../shared/seed.ts";
import type { Spec } from "../spec/types.ts";
import type { NodeSeed } from "../substrates/types.ts";
import { deriveAutomation, deriveMachineId, deriveSsh, deriveWireguard } from "../vault/derive.ts";
import { sshPrivateKey } from "../vault/openssh.ts";
import { signifySign, signifyVerify } from "../vault/signify.ts";
import type { Vault } from "../vault/types.ts";
import { assertFoundry, clusterId, drivesNodes, nodeOwner } from "./keys.ts";
import { readUstar, writeUstar } from "./ustar.ts";

const alignment = 4096;
const credentialFolder = "credentials/";

/** A seed whose signature and cluster have been checked. */
export interface OpenedSeed {
  node: string;
  generation: number;
  credentials: Record<string, Uint8Array>;
}

/**
 * One node's seed (shared/seed.ts). Pure and deterministic, signature included.
 *
 * @param more credentials beside the node's derived keys, e.g. `nodeCertificates`
 * @throws KubedosError when the spec has no such node or the vault is another foundry's
 */
export function buildSeed(
  spec: Spec,
  vault: Vault,
  nodeName: string,
  more: Readonly<Record<string, string>> = {},
): NodeSeed {
  assertFoundry(spec, vault);
  const node = spec.nodes.find((candidate) => candidate.name === nodeName);
  if (node === undefined) throw new KubedosError("usage", `the spec has no node ${JSON.stringify(nodeName)}`);
  const owner = nodeOwner(spec, node);
  const secret = vault.foundrySecret;

  const values: Record<string, string> = {
    ...more,
    [seedCredentials.hostname]: node.name,
    [seedCredentials.machineId]: deriveMachineId(secret, owner),
    [seedCredentials.node]: node.name,
    [seedCredentials.sshHostKey]: sshPrivateKey(deriveSsh(secret, owner), `${node.name}.${spec.metadata.name}`),
  };
  if (drivesNodes(spec, node)) {
    const comment = `automation@${node.name}.${spec.metadata.name}`;
    values[seedCredentials.automationKey] = sshPrivateKey(deriveAutomation(secret, owner), comment);
  }
  for (const plane of spec.planes) {
    values[wireguardCredential(plane.name)] = deriveWireguard(secret, owner, plane.name).privateKey;
  }
  const names = Object.keys(values).toSorted();
  const credentials = Object.fromEntries(names.map((name) => [name, Buffer.from(values[name]!)]));

  const id = clusterId(vault, spec.metadata.name);
  const manifest = Buffer.from(`cluster=${id}\nnode=${node.name}\ngeneration=${node.generation}\n`);
  const members = names.map((name) => ({ name: `${credentialFolder}${name}`, content: credentials[name]! }));
  const payload = writeUstar([{ name: "manifest", content: manifest }, ...members]);
  return { disk: seedDisk(payload, signifySign(vault.signing, payload)), credentials };
}

/**
 * Checks a seed as the initrd does and takes it apart.
 *
 * @param foundryPublicKey text of `foundry.pub`
 * @param expected nodes of the cluster layer with their generations; absent: any node of the cluster
 * @throws KubedosError when it is missing, cut off, altered, signed by another foundry, or of another cluster, of an
 *   unknown node or another key generation
 */
export function openSeed(
  disk: Uint8Array,
  foundryPublicKey: string,
  expectedClusterId: string,
  expected?: readonly { name: string; generation: number }[],
): OpenedSeed {
  const { payload, signature } = readSeedDisk(disk);
  const verdict = verify(foundryPublicKey, payload, signature);
  if (verdict === "foreign") throw refused("it is signed by another foundry");
  if (verdict === "invalid") throw refused("it was altered: its signature does not match");

  const members = readUstar(payload);
  const manifest = readManifest(members.find((member) => member.name === "manifest")?.content);
  if (manifest.cluster !== expectedClusterId) throw refused("it belongs to another cluster");
  if (expected !== undefined) {
    const node = expected.find((candidate) => candidate.name === manifest.node);
    if (node === undefined) throw refused(`its node ${manifest.node} is not in the cluster layer`);
    if (node.generation !== manifest.generation) {
      throw refused(`its key generation is ${manifest.generation}, the cluster layer's is ${node.generation}`);
    }
  }
  const credentials: Record<string, Uint8Array> = {};
  for (const { name, content } of members) {
    if (name.startsWith(credentialFolder)) credentials[name.slice(credentialFolder.length)] = content;
  }
  return { node: manifest.node, generation: manifest.generation, credentials };
}

function seedDisk(payload: Buffer, signature: string): Buffer {
  const padded = Math.ceil(payload.length / alignment) * alignment;
  const disk = Buffer.alloc(seedHeaderBytes + padded);
  disk.write(`${seedMagic} ${payload.length}\n${signature}`, 0, "ascii");
  payload.copy(disk, seedHeaderBytes);
  return disk;
}

function readSeedDisk(disk: Uint8Array): { payload: Buffer; signature: string } {
  const bytes = Buffer.from(disk.buffer, disk.byteOffset, disk.length);
  const text = bytes.toString("latin1", 0, seedHeaderBytes).replace(/\0+$/, "");
  const version = /^KUBEDOS-SEED (\d+) /.exec(text)?.[1];
  if (version === undefined) throw refused("it is missing: the disk does not begin with a seed");
  const parts = /^KUBEDOS-SEED 1 ([1-9]\d{0,8})\n(.*\n.*\n)$/.exec(text);
  if (parts === null) {
    throw refused(version === "1" ? "its header was altered" : `it has the unknown format version ${version}`);
  }
  const payloadBytes = Number(parts[1]);
  if (seedHeaderBytes + payloadBytes > bytes.length) throw refused("it is cut off");
  return { payload: bytes.subarray(seedHeaderBytes, seedHeaderBytes + payloadBytes), signature: parts[2]! };
}

function verify(publicKey: string, payload: Buffer, signature: string): "valid" | "foreign" | "invalid" {
  try {
    return signifyVerify(publicKey, payload, signature);
  } catch (cause) {
    throw refused(`its signature cannot be read: ${(cause as Error).message}`);
  }
}

function readManifest(content: Uint8Array | undefined): { cluster: string; node: string; generation: number } {
  const text = Buffer.from(content ?? []).toString("utf8");
  const [, cluster, node, generation] = /^cluster=(\w+)\nnode=(\S+)\ngeneration=(\d+)\n$/.exec(text) ?? [];
  if (cluster === undefined || node === undefined) throw refused("its manifest is missing or malformed");
  return { cluster, node, generation: Number(generation) };
}

function refused(why: string): KubedosError {
  return new KubedosError("failed", `seed refused: ${why}`, {
    hint: "make the seed anew from the spec and vault that the machine's image was built from",
  });
}
