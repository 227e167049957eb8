import { saltCredentials } from "../../shared/salt.ts";
import type { Spec, SpecNode } from "../spec/types.ts";
import { publicKeyOf } from "../vault/keyring.ts";

/** Public keys of Salt for the cluster layer. */
export interface SaltKeys {
  /** PEM of the key that all masters have. */
  master: string;
  /** PEM by node name. */
  minions: Readonly<Record<string, string>>;
}

type PrivateKeys = Readonly<Record<string, string>>;

/** Names of the keys in the keyring that a spec needs; none without the feature. */
export function saltKeyNames(spec: Spec): string[] {
  if (!spec.platform.features.includes("salt")) return [];
  return [masterName(spec), ...(nodesJoin(spec) ? [] : spec.nodes.map(minionName))];
}

/** The public halves; undefined without the feature. */
export function saltPublicKeys(spec: Spec, keys: PrivateKeys): SaltKeys | undefined {
  if (!spec.platform.features.includes("salt")) return undefined;
  const known = nodesJoin(spec) ? [] : spec.nodes;
  const minions = known.map((node) => [node.name, publicKeyOf(keys[minionName(node)]!)]);
  return { master: publicKeyOf(keys[masterName(spec)]!), minions: Object.fromEntries(minions) as SaltKeys["minions"] };
}

/** Whether nodes make their Salt keys themselves (shared/enroll.ts). */
export function nodesJoin({ platform }: Spec): boolean {
  return platform.features.includes("salt") && platform.salt.enrollment === "join";
}

/** What a node's seed holds of them: its minion's key unless it makes that itself, and on a hub the masters'. */
export function saltSecrets(spec: Spec, keys: PrivateKeys, nodeName: string): Record<string, string> {
  const node = spec.nodes.find((candidate) => candidate.name === nodeName);
  if (node === undefined || !spec.platform.features.includes("salt")) return {};
  return {
    ...(!nodesJoin(spec) && { [saltCredentials.minion]: keys[minionName(node)]! }),
    ...(node.roles.includes("hub") && { [saltCredentials.master]: keys[masterName(spec)]! }),
  };
}

function masterName(spec: Spec): string {
  return `salt-master/${spec.trust.generation}`;
}

function minionName(node: Pick<SpecNode, "name" | "generation">): string {
  return `salt-minion/${node.name}/${node.generation}`;
}
