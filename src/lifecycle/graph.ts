import { createHash, X509Certificate } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { automationPaths } from "../../shared/convergence.ts";
import { ansibleFiles } from "../../shared/render/inventory.ts";
import { stageOrder, type Stage, type StageInput } from "../assemble/engine.ts";
import { locateFoundry } from "../assemble/foundry.ts";
import { pythonStage } from "../assemble/stages/python.ts";
import { playbooksStage } from "../assemble/stages/playbooks.ts";
import type { Tools } from "../assemble/tools.ts";
import type { Platform } from "../features/collect.ts";
import type { Lock } from "../lock/types.ts";
import { writeCpio } from "../seal/cpio.ts";
import type { FoundrySigner, Sign } from "../seal/signer.ts";
import { firmwareStage } from "../seal/stages/firmware.ts";
import type { ArchiveSigner } from "../repository/signer.ts";
import { darksiteStage, packagesStage, repositoryIdentity } from "../repository/stages.ts";
import { flavourOf, flavoursOf } from "../spec/flavours.ts";
import type { KernelFlavour, Spec, TargetName } from "../spec/types.ts";
import type { Store } from "../store/store.ts";
import { writerInitrdStage } from "../seal/stages/initrd.ts";
import { compressStage } from "../seal/stages/writer.ts";
import { shimStage, type Shim } from "../seal/stages/shim.ts";
import { addSignature } from "../seal/authenticode.ts";
import { imageFiles } from "../seal/manifest.ts";
import type { shimPackages } from "../assemble/foundry-packages.ts";
import { signStage } from "../seal/stages/sign.ts";
import { writerFiles, type MediumParts } from "../targets/iso.ts";
import { targets } from "../targets/registry.ts";
import { kernelPackage, sealedImage, type SealedImage } from "./images.ts";
import { netinstMedium, type PublishedObject } from "./netinst.ts";

/** Everything a build is made from; the same inputs give the same artifacts. */
export interface BuildInputs {
  spec: Spec;
  lock: Lock;
  platform: Platform;
  /** Files of the cluster layer by name (`cluster.json`, `nodes` …). */
  layer: { path: string; mode: number; content: string | Uint8Array }[];
  /** Texts of node/initrd/: the first program, and its part that reads the seed. */
  init: string;
  seed: string;
  /** Texts of node/writer/: the first program of an installation medium, and the parts that it reads. */
  writer: { init: string; scripts: { path: string; content: string }[] };
  /** Texts of node/netinst/ by name, for Debian's installer. */
  installer: Readonly<Record<"choose-disk" | "install" | "preseed.cfg" | "start", string>>;
  /** Secure Boot certificates (PEM), and how boot images get their signatures from the key of `db`. */
  secureBoot: { pk: string; kek: string; db: string; sign: Sign };
  /** Signs what is said about the artifacts; in no stage, and so in no artifact. */
  signing: FoundrySigner;
  /** ed25519 key that signs seeds (32 bytes): the one in the cluster layer. */
  seedKey: Uint8Array;
  /** Signatures may not be there yet: all that needs none is made first. */
  signedLater?: boolean;
  /** Signs the repository of the modes `darksite` and `both`. */
  archive: ArchiveSigner;
}

/** The build of one spec as stages: the sealed image with the platform's own kernel, and what is made from it. */
export interface BuildGraph extends SealedImage {
  /** Sealed images with another kernel, which some targets need. */
  others: SealedImage[];
  /** What firmware starts before the boot images; absent: it starts these. */
  shim?: Shim;
  /** Signatures of boot images (output `signature`), by the names of the files that they are published as. */
  signatures: { file: string; stage: Stage }[];
  /** What is published beside media: signatures and bills of materials of what only they hold. */
  documents: PublishedObject[];
  firmware: Stage;
  /** The repository that hubs serve; absent in the mode `connected`. */
  darksite?: Stage;
  targets: { name: TargetName; stage: Stage; extension: string }[];
  /** Inputs made here, to be put into the store before the stages run. */
  blobs: Map<string, Uint8Array>;
  goals: Stage[];
  /** The cluster layer's archive. */
  layer: { sha256: string; sizeBytes: number };
}

/** Lays the build out as stages. Pure: nothing is read, written or run. */
export function buildGraph(inputs: BuildInputs, store: Store): BuildGraph {
  const { spec, lock, platform } = inputs;
  const tools: Tools = { foundry: locateFoundry(lock, store), epoch: lock.epoch };
  const blobs = new Map<string, Uint8Array>();
  const blob = (content: string | Uint8Array): StageInput & { sha256: string } => {
    const bytes = typeof content === "string" ? Buffer.from(content) : content;
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    blobs.set(sha256, bytes);
    return { sha256 };
  };

  // 1. Platform: packages, features' files, units.
  const overlay = blob(overlayArchive(platform, lock.epoch));
  const units = blob(
    [...platform.enable.map((unit) => `enable ${unit}\n`), ...platform.mask.map((unit) => `mask ${unit}\n`)].join(""),
  );
  const python = lock.wheels === undefined ? undefined : pythonStage(tools, lock, store);
  const files = (lock.blobs ?? []).filter(({ path }) => path !== undefined);
  const layer = blob(archive("kubedos/layer", inputs.layer, lock.epoch));
  const layerContent = { sha256: layer.sha256, sizeBytes: blobs.get(layer.sha256)!.length };
  // 2. One sealed image a kernel: root, and boot image with kernel, initrd, cluster layer and signature.
  const certificate = blob(inputs.secureBoot.db);
  const { sign } = inputs.secureBoot;
  const shim = spec.trust.shim ? shimOf(inputs, tools, { certificate, blob }) : undefined;
  const signatures: BuildGraph["signatures"] = [];
  const image = (flavour: KernelFlavour) =>
    sealedImage(
      {
        tools,
        lock,
        store,
        suite: spec.platform.suite,
        kernels: spec.platform.kernels,
        overlay,
        units,
        files: platform.files,
        extras: { python, blobs: files, store },
        init: blob(inputs.init),
        usbStorage: spec.platform.security.usbStorage,
        seed: blob(inputs.seed),
        layer,
        certificate,
        sign,
        shim,
      },
      flavour,
    );
  const [own, ...others] = flavoursOf(spec).map(image) as [SealedImage, ...SealedImage[]];
  const firmware = firmwareStage(
    tools,
    {
      pk: blob(inputs.secureBoot.pk),
      kek: blob(inputs.secureBoot.kek),
      db: certificate,
    },
    spec.trust.secureBoot,
    shim,
  );
  const playbooks = hasPlaybooks(inputs)
    ? playbooksStage(tools, own.tree, {
        content: blob(archive("kubedos/layer", inputs.layer.filter(isPlaybook), lock.epoch)),
        platform: blob(rolesArchive(platform, lock.epoch)),
        inventory: blob(ansibleFiles(JSON.parse(textOf(inputs.layer, "cluster.json")) as ClusterLayer)[0]!.content),
      })
    : undefined;
  // 3. The packages themselves, for a cluster that has no other source.
  const darksite = darksiteOf(inputs, tools, store);
  // 4. Targets.
  const parts = new Map<SealedImage, MediumParts>();
  const medium = (sealed: SealedImage): MediumParts => {
    const known = parts.get(sealed);
    if (known !== undefined) return known;
    const kernel = kernelPackage(lock, sealed.kernel, spec.platform.kernels);
    const writer = writerFiles(spec, inputs.layer, inputs.writer.scripts).map((file) => ({ ...file, mode: 0o644 }));
    const made = {
      compressed: compressStage(tools, sealed.raw),
      initrd: writerInitrdStage(tools, kernel, blob(inputs.writer.init)),
      files: blob(archive("kubedos/writer", writer, lock.epoch)),
      sign(bootImage, name) {
        const stage = signStage(bootImage, certificate, lock.epoch, sign, `${name}-sign`);
        signatures.push({ file: `${name}.efi.p7`, stage });
        return stage;
      },
      shim,
      name: spec.metadata.name,
      nodes: spec.nodes.length,
      darksite: spec.install.repository ? darksite : undefined,
    } satisfies MediumParts;
    parts.set(sealed, made);
    return made;
  };
  const documents: PublishedObject[] = [];
  const netinst = (sealed: SealedImage) => {
    const made = netinstMedium({ ...inputs, tools, store, sealed, overlay, units, layer, python, files, blob });
    documents.push(...made.documents);
    return made.parts;
  };
  const wanted = spec.targets.map((name) => {
    const sealed = [own, ...others].find((one) => one.kernel === flavourOf(name, spec))!;
    const { root, uki, esp, raw } = sealed;
    const stage = targets[name].stage({
      spec,
      root,
      uki,
      esp,
      tools,
      raw,
      firmware,
      medium: () => medium(sealed),
      netinst: () => netinst(sealed),
    });
    return { name, stage, extension: targets[name].extension };
  });
  const extra = darksite === undefined ? [] : [darksite];
  const boms = [own, ...others].map(({ sbom }) => sbom);
  const goals = [...new Set([own.raw, ...wanted.map(({ stage }) => stage), firmware, ...boms, ...extra])];
  if (playbooks !== undefined) goals.push(playbooks);
  const images = [own, ...others].map((one) => ({
    file: imageFiles(one === own ? undefined : one.kernel).bootSignature,
    stage: one.sign,
  }));
  signatures.unshift(...images, ...(shim === undefined ? [] : [{ file: "shim.efi.p7", stage: shim.sign }]));
  goals.push(...new Set(documents.map(({ stage }) => stage)));
  return {
    ...own,
    others,
    shim,
    signatures,
    documents,
    firmware,
    darksite,
    targets: wanted,
    blobs,
    goals,
    layer: layerContent,
  };
}

/** Debian's shim with the foundry's signature beside Microsoft's. */
function shimOf(
  { lock, secureBoot }: BuildInputs,
  tools: Tools,
  { certificate, blob }: { certificate: { sha256: string }; blob(content: Uint8Array): { sha256: string } },
): Shim {
  const packageOf = (name: (typeof shimPackages)[number]) => {
    const found = lock.shim?.find((one) => one.name === name);
    if (found !== undefined) return { sha256: found.sha256 };
    throw new KubedosError("spec", `the lock has no ${name}, which \`trust.shim\` needs`, {
      hint: "run `kubedos lock --update`",
    });
  };
  const files = shimStage(tools, {
    shim: packageOf("shim-signed"),
    helpers: packageOf("shim-helpers-amd64-signed"),
  });
  const sign = signStage(files, certificate, lock.epoch, secureBoot.sign, "shim-sign", addSignature);
  return { files, sign, certificate: blob(new X509Certificate(secureBoot.db).raw) };
}

function darksiteOf({ spec, lock, archive }: BuildInputs, tools: Tools, store: Store): Stage | undefined {
  if (spec.platform.repository.mode === "connected") return undefined;
  const index = packagesStage(tools, lock.platform, store);
  return darksiteStage(index, lock, repositoryIdentity(spec, lock, archive), store);
}

/** Every stage of a graph, inputs before users. */
export function graphStages(graph: BuildGraph): Stage[] {
  return stageOrder(graph.goals);
}

function overlayArchive(platform: Platform, epoch: number): Uint8Array {
  const entries = platform.files.map((file) => ({
    path: file.path.slice(1),
    mode: file.mode,
    content: typeof file.content === "string" ? Buffer.from(file.content) : file.content,
  }));
  return writeCpio(entries, epoch, { directories: false });
}

function archive(directory: string, files: BuildInputs["layer"], epoch: number): Uint8Array {
  const entries = files.map((file) => ({
    path: `${directory}/${file.path}`,
    mode: file.mode,
    content: typeof file.content === "string" ? Buffer.from(file.content) : file.content,
  }));
  return writeCpio(entries, epoch, { directories: true });
}

function isPlaybook({ path }: { path: string }): boolean {
  return path.startsWith("ansible/");
}

function hasPlaybooks({ layer, spec }: BuildInputs): boolean {
  return spec.platform.features.includes("ansible") && layer.some(({ path }) => path === "ansible/site.yml");
}

function textOf(files: BuildInputs["layer"], path: string): string {
  return Buffer.from(files.find((file) => file.path === path)!.content).toString();
}

/** The platform's own roles, which the user's playbooks may use. */
function rolesArchive(platform: Platform, epoch: number): Uint8Array {
  const prefix = `${automationPaths.platform}/roles/`;
  const files = platform.files.filter(({ path }) => path.startsWith(prefix));
  const entries = files.map(({ path, mode, content }) => ({
    path: path.slice(1),
    mode,
    content: Buffer.from(content),
  }));
  return writeCpio(entries, epoch, { directories: true });
}
