import { pkiCredential, pkiPurposes, operatorCommonName } from "../../shared/pki.ts";
import type { Spec } from "../spec/types.ts";
import { operatorOwner } from "../vault/derive.ts";
import { type Authorities, deriveAuthorities, issueLeaf, type Leaf } from "../vault/pki.ts";
import type { Vault } from "../vault/types.ts";
import { operatorAccess, nodeOwner } from "./keys.ts";
import { planeAddress } from "./addresses.ts";
import { KubedosError } from "../../shared/error.ts";

/** The cluster's authorities. They change with `trust.generation`. */
export function clusterAuthorities(spec: Spec, vault: Vault): Promise<Authorities> {
  return deriveAuthorities(vault, spec.metadata.name, spec.trust.generation);
}

/**
 * One node's certificates, as credentials for its seed. They name the node, its name on every plane and its addresses,
 * and this machine itself (localhost), because services talk to their own node that way.
 *
 * @param issuedAt an instant that is recorded somewhere: the same gives the same bytes
 * @throws KubedosError when the spec has no such node
 */
export async function nodeCertificates(
  spec: Spec,
  vault: Vault,
  authorities: Authorities,
  nodeName: string,
  issuedAt: Date,
): Promise<Record<string, string>> {
  const node = spec.nodes.find((candidate) => candidate.name === nodeName);
  if (node === undefined) throw new KubedosError("usage", `the spec has no node ${JSON.stringify(nodeName)}`);
  const cluster = spec.metadata.name;
  const names = {
    dns: [
      node.name,
      `${node.name}.${cluster}`,
      ...spec.planes.map((plane) => `${node.name}.${plane.name}.${cluster}`),
      "localhost",
    ],
    ip: [...spec.planes.map((plane) => planeAddress(plane, node.index)), "127.0.0.1"],
  };
  const owner = nodeOwner(spec, node);
  const days = spec.trust.certificateDays;
  const leaves = await Promise.all(
    pkiPurposes.map(async (purpose) => {
      const request = { purpose, owner, commonName: node.name, names, issuedAt, days };
      return [purpose, await issueLeaf(vault, authorities, request)] as const;
    }),
  );
  return Object.fromEntries(
    leaves.flatMap(([purpose, { certificate, key }]) => [
      [pkiCredential(purpose, "crt"), certificate],
      [pkiCredential(purpose, "key"), key],
    ]),
  );
}

/** An operator's client certificate for the agents. @throws KubedosError when the spec has no such operator */
export async function operatorCertificate(
  spec: Spec,
  vault: Vault,
  authorities: Authorities,
  name: string,
  issuedAt: Date,
): Promise<Leaf> {
  const { address } = operatorAccess(spec, vault, name);
  return issueLeaf(vault, authorities, {
    purpose: "agent",
    owner: { cluster: spec.metadata.name, name: operatorOwner(name), generation: spec.trust.generation },
    commonName: operatorCommonName(name),
    names: { dns: [], ip: [address] },
    issuedAt,
    days: spec.trust.certificateDays,
  });
}
