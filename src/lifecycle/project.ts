import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import { clusterAuthorities } from "../fabric/certificates.ts";
import { clusterLayer, layerFiles } from "../fabric/layer.ts";
import { saltKeyNames, saltPublicKeys } from "../fabric/salt.ts";
import { collectPlatform, type Platform } from "../features/collect.ts";
import type { RunContext } from "../host/context.ts";
import { cacheDirectory, specPaths, type SpecPaths } from "../host/paths.ts";
import { projectAssets, readProjectFile } from "../host/project.ts";
import { readLock, writeLock } from "../lock/file.ts";
import type { Lock } from "../lock/types.ts";
import type { PendingSignatures } from "../seal/pending.ts";
import { keySigner } from "../repository/signer.ts";
import { loadSpec } from "../spec/load.ts";
import type { Spec } from "../spec/types.ts";
import { openStore, type Store } from "../store/store.ts";
import { openKeyring } from "../vault/keyring.ts";
import { type Authorities, publicAuthorities } from "../vault/pki.ts";
import type { UnlockOptions, Vault } from "../vault/types.ts";
import { archiveKey } from "../vault/archive-key.ts";
import { chooseProtection } from "../vault/unlock.ts";
import { createVault, openVault, vaultExists } from "../vault/vault.ts";
import { readPlaybooks, readStates } from "./content.ts";
import type { BuildInputs } from "./graph.ts";
import { installerTexts, writerTexts } from "./writer-texts.ts";
import { lockMismatches, lockRequest, makeLock } from "./lock.ts";
import { chooseSigners } from "./signers.ts";

/** One spec with everything that belongs to it, opened. */
export interface Project {
  spec: Spec;
  paths: SpecPaths;
  platform: Platform;
  lock: Lock;
  vault: Vault;
  authorities: Authorities;
  /** Keys of the keyring that the spec needs, PEM by name. */
  keys: Readonly<Record<string, string>>;
  layer: ClusterLayer;
  store: Store;
  build: BuildInputs;
}

export interface ProjectOptions {
  vault: UnlockOptions;
  /** Make what is missing (vault, lock) instead of saying so. */
  create: boolean;
  /** Changes from the command line. */
  override?: (spec: Spec) => Spec;
  /** Instead of any key: signatures that somebody else makes. */
  pending?: PendingSignatures;
}

/** What seeds are made from. */
export type SeedSource = Pick<Project, "spec" | "paths" | "vault" | "authorities" | "keys">;

/** Opens spec and vault for seeds; a lock is not needed. */
export async function openSeedSource(
  specFile: string,
  options: Pick<ProjectOptions, "vault">,
  context: RunContext,
): Promise<SeedSource> {
  const paths = specPaths(specFile);
  const spec = await loadSpec(specFile);
  const vault = await unlockVault(spec, paths, { ...options, create: false }, context);
  const [authorities, keys] = [await clusterAuthorities(spec, vault), await openKeys(spec, paths, vault, context)];
  return { spec, paths, vault, authorities, keys };
}

/** Opens spec, vault, lock and store, and lays out what a build is made from. */
export async function openProject(specFile: string, options: ProjectOptions, context: RunContext): Promise<Project> {
  const paths = specPaths(specFile);
  const written = await loadSpec(specFile);
  const spec = options.override?.(written) ?? written;
  const platform = collectPlatform(spec, projectAssets());
  const vault = await unlockVault(spec, paths, options, context);
  const store = await openStore(cacheDirectory());
  const lock = await openLock(spec, paths, store, options.create, context);
  const authorities = await clusterAuthorities(spec, vault);
  const keys = await openKeys(spec, paths, vault, context);
  const layer = clusterLayer(spec, vault, {
    openings: platform.openings,
    pki: publicAuthorities(authorities),
    salt: saltPublicKeys(spec, keys),
  });
  const signers = chooseSigners(spec, vault, context.signal, options.pending);
  const content = [...(await readPlaybooks(specFile, spec, context)), ...(await readStates(specFile, spec, context))];
  const build: BuildInputs = {
    spec,
    lock,
    platform,
    layer: [...layerFiles(layer, vault), ...content],
    init: await readProjectFile("node/initrd/init"),
    seed: await readProjectFile("node/initrd/seed"),
    writer: await writerTexts(),
    installer: await installerTexts(),
    secureBoot: {
      pk: vault.secureBoot.pk.certificate,
      kek: vault.secureBoot.kek.certificate,
      db: signers.boot.certificate,
      sign: signers.boot.sign,
    },
    signing: signers.foundry,
    seedKey: vault.signing.publicKey,
    signedLater: options.pending !== undefined,
    archive: keySigner(archiveKey(vault)),
  };
  return { spec, paths, platform, lock, vault, authorities, keys, layer, store, build };
}

/** The vault of the spec; made where there is none, unless the spec belongs to a foundry whose vault is elsewhere. */
export async function unlockVault(
  spec: Spec,
  paths: SpecPaths,
  options: Pick<ProjectOptions, "vault" | "create">,
  context: RunContext,
): Promise<Vault> {
  if (options.create && spec.trust.foundryKey === undefined && !(await vaultExists(paths.vault))) {
    const protection = await chooseProtection(options.vault);
    const vault = await createVault(paths.vault, protection);
    const how =
      "passphrase" in protection ? "locked with the passphrase" : `locked for ${protection.recipients.join(", ")}`;
    context.emit({ type: "log", level: "info", message: `made the foundry's vault ${paths.vault}, ${how}` });
    return vault;
  }
  return openVault(paths.vault, { ...options.vault, signal: context.signal });
}

/** Keys that cannot be derived; made where they are not there yet. */
async function openKeys(
  spec: Spec,
  paths: SpecPaths,
  vault: Vault,
  context: RunContext,
): Promise<Readonly<Record<string, string>>> {
  const names = saltKeyNames(spec);
  if (names.length === 0) return {};
  const { privateKeys, made } = await openKeyring(paths.keyring, vault, names, context.signal);
  if (made.length > 0) {
    const message = `made ${made.length} Salt keys in ${paths.keyring}: back it up with the vault`;
    context.emit({ type: "log", level: "info", message });
  }
  return privateKeys;
}

async function openLock(
  spec: Spec,
  paths: SpecPaths,
  store: Store,
  create: boolean,
  context: RunContext,
): Promise<Lock> {
  const request = lockRequest(spec);
  const lock = await readLock(paths.lock);
  if (lock === undefined && create) {
    const made = await makeLock(request, store, context);
    await writeLock(paths.lock, made);
    context.emit({ type: "log", level: "info", message: `locked ${made.platform.length} packages in ${paths.lock}` });
    return made;
  }
  if (lock === undefined) {
    throw new KubedosError("spec", `there is no lock: ${paths.lock}`, { hint: "run `kubedos lock` first" });
  }
  const mismatches = lockMismatches(lock, request);
  if (mismatches.length === 0) return lock;
  throw new KubedosError("spec", `the lock is not of this spec: ${mismatches.join("; ")}`, {
    at: { file: paths.lock },
    hint: "run `kubedos lock --update`; a build never resolves anything",
  });
}
