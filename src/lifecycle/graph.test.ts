import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import { stageId } from "../assemble/engine.ts";
import { collectPlatform } from "../features/collect.ts";
import type { Lock, LockedPackage } from "../lock/types.ts";
import { flavoursOf } from "../spec/flavours.ts";
import type { Spec } from "../spec/types.ts";
import { openStore, type Store } from "../store/store.ts";
import { makeSecureBootKeys } from "../vault/secure-boot.ts";
import { keySigner } from "../repository/signer.ts";
import { archiveKey } from "../vault/archive-key.ts";
import { buildGraph, graphStages, type BuildInputs } from "./graph.ts";

let directory: string;
let store: Store;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-graph-"));
  store = await openStore(directory);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function locked(name: string, version = "1"): LockedPackage {
  const sha256 = Buffer.from(`${name} ${version}`.padEnd(32)).toString("hex").slice(0, 64);
  const path = `pool/main/${name}_${version}_amd64.deb`;
  return { name, version, architecture: "amd64", sizeBytes: 1, sha256, archive: "debian", suite: "trixie", path };
}

function lock(...platform: LockedPackage[]): Lock {
  return {
    format: 1,
    epoch: 1_700_000_000,
    architecture: "amd64",
    suites: [],
    requested: { platform: [], foundry: [] },
    platform: platform.length > 0 ? platform : [locked("bash"), locked("linux-image-6.12.1-cloud-amd64")],
    foundry: [locked("erofs-utils")],
  };
}

function fakeArchive(vault: Parameters<typeof archiveKey>[0]): BuildInputs["archive"] {
  return keySigner(archiveKey(vault));
}

function inputs(change: Partial<BuildInputs> = {}, platform: Partial<Spec["platform"]> = {}): BuildInputs {
  const spec = fakeSpec(platform);
  return {
    spec,
    lock: lock(),
    platform: collectPlatform(
      spec,
      Object.assign((path: string) => `text of ${path}`, { list: () => [] }),
    ),
    layer: [{ path: "cluster.json", mode: 0o644, content: "{}" }],
    init: "#!/bin/sh\n",
    seed: ":\n",
    installer: { "choose-disk": ":\n", install: ":\n", "preseed.cfg": "", start: ":\n" },
    writer: { init: "#!/bin/sh\n", scripts: [{ path: "seeds", content: ":\n" }] },
    secureBoot: { pk: "pk", kek: "kek", db: "db", sign: noKey },
    signing: { publicKey: new Uint8Array(32), sign: noKey },
    seedKey: new Uint8Array(32),
    archive: fakeArchive({
      foundrySecret: new Uint8Array(32),
      signing: { publicKey: new Uint8Array(32) },
    }),
    ...change,
  };
}

/** No stage of these tests runs. */
function noKey(): Promise<Buffer> {
  return Promise.reject(new Error("there is no key"));
}

/** Stages whose id a change of the inputs moves. */
function moved(change: Partial<BuildInputs>, platform: Partial<Spec["platform"]> = {}): string[] {
  const [before, after] = [inputs(), inputs(change, platform)].map(
    (one) => new Map(graphStages(buildGraph(one, store)).map((stage) => [stage.name, stageId(stage)])),
  );
  return [...after!].filter(([name, id]) => before!.get(name) !== id).map(([name]) => name);
}

const allStages = ["esp", "firmware", "initrd", "qcow2", "raw", "root", "sbom", "sign", "tree", "uki"];

test("the goals are the targets, the raw image and the firmware; each stage once", () => {
  const graph = buildGraph(inputs(), store);
  expect(graph.goals.map(({ name }) => name)).toEqual(["raw", "qcow2", "firmware", "sbom"]);
  const names = graphStages(graph).map(({ name }) => name);
  expect(names).toEqual([...new Set(names)]);
  expect(names.toSorted()).toEqual(allStages);
});

test.each(["darksite", "both"] as const)(
  "the mode %s adds the repository, which changes with the lock and its key",
  (mode) => {
    const made = (change: Partial<BuildInputs> = {}) =>
      buildGraph(inputs(change, { repository: { mode, profile: "base+updates" } }), store);
    const { darksite, goals } = made();
    expect(goals).toContain(darksite);
    const other = fakeArchive({ foundrySecret: new Uint8Array(32).fill(1), signing: inputs().signing });
    const ids = [{}, { lock: lock(locked("linux-image-6.12.1-cloud-amd64")) }, { archive: other }].map((change) =>
      stageId(made(change).darksite!),
    );
    expect(new Set(ids).size).toBe(3);
    expect(JSON.stringify([...graphStages(made())].map(({ options }) => options))).not.toContain("seed");
  },
);

test("a spec without USB storage: the initrd of a machine that could have it has no driver", () => {
  const modules = (usbStorage: boolean) => {
    const security = { usbStorage, lockModules: true };
    const change = { lock: lock(locked("linux-image-6.12.1-amd64")) };
    const graph = buildGraph(inputs(change, { security, kernel: "generic", kernels: ["generic"] }), store);
    const [initrd] = [...graphStages(graph)].filter(({ name }) => name === "initrd");
    const { MODULES } = initrd!.options as { MODULES: string };
    return MODULES.split(" ").filter((name) => /usb|uas/.test(name));
  };
  expect([modules(true), modules(false)]).toEqual([["usb_storage", "uas"], []]);
});

test("every stage's input is an object of the lock, a blob of the graph, or a stage's declared output", () => {
  const graph = buildGraph(inputs(), store);
  const known = new Set([...graph.blobs.keys(), ...inputs().lock.platform.map(({ sha256 }) => sha256)]);
  for (const stage of graphStages(graph)) {
    for (const input of Object.values(stage.inputs)) {
      expect("sha256" in input ? known.has(input.sha256) : input.stage.outputs.includes(input.output)).toBe(true);
    }
  }
});

describe("what a change makes again", () => {
  const boot = ["uki", "sign", "esp", "raw", "qcow2"];
  test("nothing: nothing", () => expect(moved({})).toEqual([]));
  test("a node more, in the cluster layer: the boot image only", () => {
    expect(moved({ layer: [{ path: "cluster.json", mode: 0o644, content: '{"nodes":4}' }] })).toEqual(boot);
  });
  test("a file of the platform: the root, not the packages", () => {
    const files = [{ path: "/etc/motd", mode: 0o644, content: "hello" }];
    expect(moved({}, { files })).toEqual(["root", ...boot, "sbom"]);
  });
  test("a file's mode alone", () => {
    const files = (mode: number) => [{ path: "/etc/motd", mode, content: "hello" }];
    const id = (mode: number) => stageId(buildGraph(inputs({}, { files: files(mode) }), store).root);
    expect(id(0o600)).not.toBe(id(0o644));
  });
  test("a package: everything that holds it", () => {
    const change = { lock: lock(locked("bash", "2"), locked("linux-image-6.12.1-cloud-amd64")) };
    expect(moved(change)).toEqual(["tree", "root", ...boot, "sbom"]);
  });
  test("the initrd's script: the initrd and what it goes into", () => {
    expect(moved({ init: "#!/bin/sh -e\n" }).toSorted()).toEqual(["initrd", ...boot].toSorted());
  });
  test("a build tool: all but the stages that run in this process alone", () => {
    const change = { lock: { ...lock(), foundry: [locked("erofs-utils", "2")] } };
    expect(moved(change).toSorted()).toEqual(allStages);
  });
  test("the Secure Boot certificate: signature and firmware", () => {
    const secureBoot = { pk: "pk", kek: "kek", db: "other", sign: noKey };
    expect(moved({ secureBoot }).toSorted()).toEqual(["esp", "firmware", "qcow2", "raw", "sign"]);
  });
  test("who signs, with the same certificate: nothing", () => {
    const sign = () => Promise.resolve(Buffer.alloc(256));
    expect(moved({ secureBoot: { pk: "pk", kek: "kek", db: "db", sign } })).toEqual([]);
  });
});

test.each<[string, LockedPackage[], string]>([
  ["no kernel", [locked("bash")], "none"],
  [
    "two kernels",
    [locked("linux-image-6.12.1-cloud-amd64"), locked("linux-image-6.12.2-amd64")],
    "linux-image-6.12.1-cloud-amd64, linux-image-6.12.2-amd64",
  ],
])("%s in the lock is an error", (_what, packages, found) => {
  const build = () => buildGraph(inputs({ lock: lock(...packages) }), store);
  expect(build).toThrow(`exactly one cloud kernel image, found: ${found}`);
});

describe("a target for real machines beside those for virtual ones", () => {
  const kernels = [locked("linux-image-6.12.1-cloud-amd64"), locked("linux-image-6.12.2-amd64")];
  function both() {
    const spec: Spec = { ...fakeSpec({ kernels: ["cloud", "generic"] }), targets: ["raw", "metal"] };
    return buildGraph(inputs({ spec, lock: lock(locked("bash"), ...kernels) }), store);
  }

  test("each image has its own kernel, and no other", () => {
    const stages = new Map(graphStages(both()).map((stage) => [stage.name, stage]));
    const options = (name: string) => JSON.stringify(stages.get(name)!.options);
    for (const [suffix, own, other] of [
      ["", kernels[0]!, kernels[1]!],
      ["-generic", kernels[1]!, kernels[0]!],
    ] as const) {
      expect(stages.get(`initrd${suffix}`)!.inputs["kernel"]).toEqual({ sha256: own.sha256 });
      for (const name of [`tree${suffix}`, `sbom${suffix}`]) {
        expect(options(name)).toContain(own.sha256);
        expect(options(name)).not.toContain(other.sha256);
      }
    }
    const made = new Map(both().targets.map(({ name, stage }) => [name, stage.name]));
    expect(made).toEqual(
      new Map([
        ["raw", "raw"],
        ["metal", "raw-generic"],
      ]),
    );
  });

  test("the lock is asked for both; for one where the platform is generic anyway", () => {
    const packages = (kernel: "cloud" | "generic") =>
      collectPlatform(
        fakeSpec({ kernel, kernels: flavoursOf({ platform: { kernel }, targets: ["raw", "metal"] }) }),
        Object.assign(() => "", { list: () => [] }),
      ).packages.filter((name) => name.startsWith("linux-image"));
    expect(packages("cloud")).toEqual(["linux-image-amd64", "linux-image-cloud-amd64"]);
    expect(packages("generic")).toEqual(["linux-image-amd64"]);
  });

  test("the other image is the same with and without it", () => {
    const alone = buildGraph(inputs({ lock: lock(locked("bash"), kernels[0]!) }), store);
    expect(stageId(both().raw)).toBe(stageId(alone.raw));
    expect(stageId(both().sbom)).toBe(stageId(alone.sbom));
  });

  test("targets without it are made from that lock as well", () => {
    const spec: Spec = { ...fakeSpec({ kernels: ["cloud", "generic"] }), targets: ["qcow2"] };
    const graph = buildGraph(inputs({ spec, lock: lock(locked("bash"), ...kernels) }), store);
    expect(graphStages(graph).map(({ name }) => name)).not.toContain("tree-generic");
    expect(stageId(graph.raw)).toBe(stageId(both().raw));
  });

  test("a lock that lacks one of the two is an error", () => {
    const spec: Spec = { ...fakeSpec({ kernels: ["cloud", "generic"] }), targets: ["raw", "metal"] };
    const build = () => buildGraph(inputs({ spec, lock: lock(kernels[0]!) }), store);
    expect(build).toThrow("exactly one cloud and one generic kernel image, found: linux-image-6.12.1-cloud-amd64");
  });
});

test("an installation medium has the kernel of real machines, for itself and in what it installs; no key is in it", () => {
  const kernels = [locked("linux-image-6.12.1-cloud-amd64"), locked("linux-image-6.12.2-amd64")];
  const spec: Spec = { ...fakeSpec({ kernels: ["cloud", "generic"] }), targets: ["raw", "iso"] };
  const graph = buildGraph(inputs({ spec, lock: lock(locked("bash"), ...kernels) }), store);
  const stages = new Map(graphStages(graph).map((stage) => [stage.name, stage]));
  const generic = { sha256: kernels[1]!.sha256 };
  expect(stages.get("initrd-generic")?.inputs["kernel"]).toEqual(generic);
  expect(stages.get("writer-initrd")?.inputs["kernel"]).toEqual(generic);
  expect(stages.get("compress")?.inputs["raw"]).toMatchObject({ stage: stages.get("raw-generic") });
  expect(JSON.stringify([...stages.values()])).not.toContain("secret key");
});

test.each([true, false])("install.repository: %s: the medium carries the repository, or does not", (repository) => {
  const spec: Spec = {
    ...fakeSpec({ kernel: "generic", kernels: ["generic"], repository: { mode: "both", profile: "base" } }),
    targets: ["iso"],
    install: { disk: {}, wipe: false, repository },
  };
  const graph = buildGraph(inputs({ spec, lock: lock(locked("linux-image-6.12.2-amd64")) }), store);
  const medium = graph.targets[0]!.stage;
  expect(medium.inputs["darksite"]).toEqual(repository ? { stage: graph.darksite, output: "image" } : undefined);
});

describe("trust.shim", () => {
  const helpers = locked("shim-helpers-amd64-signed");
  const shim = locked("shim-signed");
  const kernel = locked("linux-image-6.12.2-amd64");
  function withShim(inLock: LockedPackage[], db: string) {
    const spec: Spec = {
      ...fakeSpec({ kernel: "generic", kernels: ["generic"] }),
      targets: ["raw", "iso"],
      trust: { ...fakeSpec().trust, shim: true },
    };
    const secureBoot = { pk: "pk", kek: "kek", db, sign: noKey };
    return buildGraph(inputs({ spec, secureBoot, lock: { ...lock(kernel), shim: inLock } }), store);
  }

  test("disk and medium begin with the shim, firmware denies what the shim trusts by itself, signatures are published", async () => {
    const { db } = await makeSecureBootKeys("test");
    const graph = withShim([helpers, shim], db.certificate);
    const stages = new Map(graphStages(graph).map((stage) => [stage.name, stage]));
    for (const partition of ["esp", "writer-esp"]) {
      expect(stages.get(partition)!.inputs["shim"]).toMatchObject({ stage: { name: "shim-sign" }, output: "uki" });
    }
    expect(stages.get("firmware")!.inputs["denied"]).toMatchObject({ stage: { name: "shim" } });
    expect(stages.get("shim")!.inputs).toEqual({ shim: { sha256: shim.sha256 }, helpers: { sha256: helpers.sha256 } });
    expect(graph.signatures.map(({ file }) => file)).toEqual(["boot.efi.p7", "shim.efi.p7", "writer.efi.p7"]);
  });

  test("a lock without it is an error", () => {
    expect(() => withShim([helpers], "db")).toThrow("the lock has no shim-signed, which `trust.shim` needs");
  });
});

test("a kernel's meta package beside it is not a second kernel", () => {
  const packages = [locked("linux-image-cloud-amd64"), locked("linux-image-6.12.1-cloud-amd64")];
  expect(buildGraph(inputs({ lock: lock(...packages) }), store).initrd.inputs["kernel"]).toEqual({
    sha256: packages[1]!.sha256,
  });
});

test("no secret is in the graph: neither in what goes into the store nor in an id's ingredients", () => {
  const graph = buildGraph(inputs(), store);
  for (const bytes of graph.blobs.values()) expect(Buffer.from(bytes).includes("secret key")).toBe(false);
  expect(JSON.stringify(graphStages(graph))).not.toContain("secret key");
});
