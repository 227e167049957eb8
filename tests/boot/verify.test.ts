import { verify } from "node:crypto";
import { appendFile, copyFile, readFile, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { build } from "../../src/lifecycle/build.ts";
import { run } from "../../src/host/run.ts";
import { ed25519PublicKey } from "../../src/seal/dsse.ts";
import type { Manifest } from "../../src/seal/manifest.ts";
import { readSections } from "../../src/seal/uki.ts";
import { verdict, verifyOutput, type VerifyCheck } from "../../src/seal/verify.ts";
import { jsonLines, kubedos } from "../cli/kubedos.ts";
import { flip, partitionOffset, replaceUki } from "./image.ts";
import { badHashes, copyOutput, flippedWhile, found } from "./outputs.ts";
import { buildLab, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// What `verify` says of a build's real output, whole and damaged in each of its files and structures.
let scratch: Scratch;
let lab: BuiltLab;
/** A writable copy of the output. */
let out: string;
let key: string;
let manifest: Manifest;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "verified");
  const { project } = lab;
  const inputs = { ...project.build, spec: { ...project.build.spec, targets: ["raw" as const, "qcow2" as const] } };
  await build(inputs, project.paths, project.store, scratch.context);
  out = join(scratch.directory, "out");
  await copyOutput(project.paths.out, out);
  key = join(scratch.directory, "trusted.pub");
  await copyFile(join(out, "foundry.pub"), key);
  manifest = JSON.parse(await readFile(join(out, "manifest.json"), "utf8")) as Manifest;
});
afterAll(() => scratch?.remove());

async function check(options: Partial<Parameters<typeof verifyOutput>[0]> = {}): Promise<VerifyCheck[]> {
  const { signal } = scratch.context;
  const defaults = { path: out, key, anyKey: false, withoutAuthenticode: true, signal };
  return (await verifyOutput({ ...defaults, ...options })).checks;
}

function withFlipped(file: string, offset: number, body: () => Promise<void>): Promise<void> {
  return flippedWhile(join(out, file), offset, body);
}

describe("whole", () => {
  test("everything is checked, Secure Boot signature included, and good", async () => {
    const checks = await check({ withoutAuthenticode: false });
    expect(checks.filter(({ status }) => status !== "ok")).toEqual([]);
    expect(verdict(checks)).toBe("ok");
    expect(checks.map(({ file, check: name }) => `${file} ${name}`)).toEqual(
      expect.arrayContaining([
        "foundry.pub key",
        "manifest.json signature",
        "provenance.intoto.jsonl provenance",
        "lab.raw root",
        "lab.raw boot partition",
        "lab.qcow2 disk",
        "lab.raw Secure Boot",
      ]),
    );
  });

  test("one artifact: the disk in it is checked as deeply, the other is not looked at", async () => {
    const checks = await check({ path: join(out, "lab.qcow2") });
    expect(verdict(checks)).toBe("ok");
    expect(checks.find(({ check: name }) => name === "root")?.file).toBe("lab.qcow2");
    expect(checks.some(({ file }) => file === "lab.raw")).toBe(false);
  });

  test("signify, openssl and node read keys, signature and provenance", async () => {
    const [pem, line] = await Promise.all(
      ["foundry.pem", "provenance.intoto.jsonl"].map((name) => readFile(join(out, name), "utf8")),
    );
    const { stdout } = await run("openssl", ["pkey", "-pubin", "-in", join(out, "foundry.pem"), "-noout", "-text"]);
    expect(stdout).toContain("ED25519 Public-Key");
    const envelope = JSON.parse(line!) as { payloadType: string; payload: string; signatures: { sig: string }[] };
    const payload = Buffer.from(envelope.payload, "base64");
    const signed = Buffer.concat([Buffer.from(`DSSEv1 28 application/vnd.in-toto+json ${payload.length} `), payload]);
    expect(verify(null, signed, pem!, Buffer.from(envelope.signatures[0]!.sig, "base64"))).toBe(true);
    const statement = JSON.parse(payload.toString()) as {
      subject: { name: string }[];
      predicate: { buildDefinition: { resolvedDependencies: unknown[] } };
    };
    expect(statement.subject.map(({ name }) => name)).toEqual(expect.arrayContaining(["lab.raw", "lab.qcow2"]));
    const { platform, foundry } = lab.project.lock;
    expect(statement.predicate.buildDefinition.resolvedDependencies).toHaveLength(platform.length + foundry.length + 1);
    expect(ed25519PublicKey(lab.project.vault.signing.publicKey).export({ format: "pem", type: "spki" })).toBe(pem);
  });

  test("published again: the same bytes, signatures and provenance included", async () => {
    const { project } = lab;
    const again = { ...project.paths, out: join(scratch.directory, "again") };
    const inputs = { ...project.build, spec: { ...project.build.spec, targets: ["raw" as const, "qcow2" as const] } };
    await build(inputs, again, project.store, scratch.context);
    for (const name of await readdir(out)) {
      if (/raw|qcow2/.test(name)) continue; // by hash in the manifest
      expect((await readFile(join(again.out, name))).equals(await readFile(join(out, name))), name).toBe(true);
    }
    expect((await readdir(again.out)).toSorted()).toEqual((await readdir(out)).toSorted());
  });
});

describe("one byte changed", () => {
  test("in every small file at once: each is named, and no other", async () => {
    const flipAll = async () => {
      for (const { file, sizeBytes } of manifest.documents) await flip(join(out, file), Math.floor(sizeBytes / 2));
    };
    await flipAll();
    try {
      const checks = await check({ path: join(out, "lab.raw") });
      expect(badHashes(checks)).toEqual(manifest.documents.map(({ file }) => file));
      expect(verdict(checks)).toBe("failed");
    } finally {
      await flipAll();
    }
  });

  test("anywhere in the provenance, signed or not, or in the signature for cosign", async () => {
    const line = await readFile(join(out, "provenance.intoto.jsonl"), "utf8");
    const places = [
      2,
      line.indexOf('"payload":"') + 400,
      line.indexOf("keyid") + 10,
      line.length - 20,
      line.length - 1,
    ];
    for (const offset of places) {
      await withFlipped("provenance.intoto.jsonl", offset, async () => {
        expect(found(await check({ path: join(out, "lab.raw") }))).toEqual(["provenance.intoto.jsonl: envelope"]);
      });
    }
    await withFlipped("manifest.json.cosign", 20, async () => {
      const checks = await check({ path: join(out, "lab.raw") });
      expect(found(checks)).toEqual(["manifest.json.cosign: manifest.json.cosign"]);
    });
  });

  test("in the manifest or its signature: the signature fails", async () => {
    const text = await readFile(join(out, "manifest.json"), "utf8");
    await withFlipped("manifest.json", text.indexOf('"cluster": "') + 12, async () => {
      expect(found(await check())).toContain("manifest.json: manifest.json");
    });
    await withFlipped("manifest.json.sig", 80, async () => {
      expect(found(await check())).toEqual([
        expect.stringContaining("manifest.json: manifest.json"),
        expect.stringContaining("manifest.json.cosign"),
      ]);
    });
  });

  const mebibyte = 2 ** 20;
  const sections = async () => readSections(await readFile(lab.uki.signed));
  const esp = () => partitionOffset(join(out, "lab.raw"), "kubedos-esp");
  const root = () => partitionOffset(join(out, "lab.raw"), "kubedos-root");
  const tree = () => partitionOffset(join(out, "lab.raw"), "kubedos-hash");
  const disk = () => stat(join(out, "lab.raw"));
  /** Where the boot image begins on the disk. */
  const uki = async () => {
    const image = await readFile(join(out, "lab.raw"));
    return image.indexOf((await readFile(lab.uki.signed)).subarray(0, 4096));
  };
  /** Place, byte to change, and what must be named: structure and offset on the disk. */
  const places: [what: string, place: () => Promise<[offset: number, structure: string, at: number]>][] = [
    ["the boot code of the MBR", async () => [3, "protective MBR", 3]],
    ["the primary table's header", async () => [512 + 60, "partition table (primary)", 512 + 60]],
    ["an entry of the primary table", async () => [1024 + 130, "partition table (primary)", 1024 + 130]],
    ["unused space before the first partition", async () => [40_000, "unused space", 40_000]],
    ["the FAT of the boot partition", async () => [(await esp()) + 20_000, "boot partition, file system", await esp()]],
    ["the stub of the boot image", async () => [(await uki()) + 1500, "boot image, stub", await uki()]],
    ...[".linux", ".cmdline", ".initrd"].map((name): (typeof places)[number] => [
      `the boot image's ${name}`,
      async () => {
        const { offset } = (await sections()).find((section) => section.name === name)!;
        const at = (await uki()) + offset;
        return [at + 9, `boot image, ${name}`, at];
      },
    ]),
    [
      "the cluster layer",
      async () => {
        const { offset, sizeBytes } = (await sections()).find((section) => section.name === ".initrd")!;
        const at = (await uki()) + offset + sizeBytes - manifest.boot.layer.sizeBytes;
        return [at + 400, "boot image, cluster layer", at];
      },
    ],
    [
      "the boot image's signature",
      async () => {
        const at = (await uki()) + manifest.boot.unsigned.sizeBytes;
        return [at + 100, "boot image, signature", at];
      },
    ],
    ["the first byte of the root", async () => [await root(), "root", await root()]],
    [
      "a byte in the midst of the root",
      async () => [(await root()) + 50 * mebibyte + 77, "root", (await root()) + 50 * mebibyte],
    ],
    [
      "the last byte of the root",
      async () => {
        const end = (await root()) + manifest.platform.root.sizeBytes;
        return [end - 1, "root", end - 4096];
      },
    ],
    ["the hash tree's top", async () => [(await tree()) + 5, "hash tree, level 2", (await tree()) + 5]],
    ["the hash tree's middle", async () => [(await tree()) + 4096 + 40, "hash tree, level 1", (await tree()) + 4136]],
    [
      "the hash tree's last leaf block",
      async () => {
        const end = (await tree()) + manifest.platform.verity.sizeBytes;
        return [end - 4000, "hash tree, level 0", end - 4000];
      },
    ],
    [
      "unused space after the hash tree",
      async () => {
        const at = (await tree()) + manifest.platform.verity.sizeBytes + 7;
        return [at, "unused space", at];
      },
    ],
    [
      "the backup table",
      async () => {
        const at = (await disk()).size - 512 * 10;
        return [at, "partition table (backup)", at];
      },
    ],
    [
      "the last byte of the disk",
      async () => {
        const at = (await disk()).size - 1;
        return [at, "partition table (backup)", at];
      },
    ],
  ];
  test.each(places)("%s", async (_what, place) => {
    const [offset, structure, at] = await place();
    await withFlipped("lab.raw", offset, async () => {
      const checks = await check({ path: join(out, "lab.raw") });
      expect(badHashes(checks)).toEqual(["lab.raw"]);
      expect(found(checks)).toContain(`lab.raw: ${structure}@${at}`);
      // The same byte is not found twice, and nothing else is accused.
      expect(found(checks).filter((one) => one.includes("@"))).toHaveLength(1);
    });
  });

  test("the qcow2's content: the first differing byte of the disk; its header: said", async () => {
    await withFlipped("lab.qcow2", 100 * mebibyte + 5, async () => {
      const checks = await check();
      expect(badHashes(checks)).toEqual(["lab.qcow2"]);
      expect(found(checks)).toEqual([expect.stringMatching(/^lab\.qcow2: disk@\d+$/)]);
    });
    await withFlipped("lab.qcow2", 0, async () => {
      expect(found(await check())).toEqual(["lab.qcow2: disk"]);
    });
  });

  test("raw and qcow2 both damaged: all of it is found in one go", async () => {
    const [first, second] = [(await root()) + 8192, (await tree()) + 5];
    await withFlipped("lab.raw", first, () =>
      withFlipped("lab.raw", second, () =>
        withFlipped("foundry.pem", 60, async () => {
          const checks = await check();
          expect(badHashes(checks)).toEqual(["lab.raw", "foundry.pem"]);
          expect(found(checks)).toEqual(
            expect.arrayContaining([`lab.raw: root@${first}`, `lab.raw: hash tree, level 2@${second}`]),
          );
        }),
      ),
    );
  });
});

describe("files", () => {
  test("missing, cut, added: each is named", async () => {
    const copy = join(scratch.directory, "files");
    await copyOutput(out, copy);
    await rm(join(copy, "foundry.pem"));
    await truncate(join(copy, "lab.qcow2"), 1_000_000);
    await appendFile(join(copy, "secureboot-pk.pem"), "\n");
    await writeFile(join(copy, "lab.vmdk"), "of another build");
    const checks = await check({ path: copy });
    expect(badHashes(checks)).toEqual(["lab.qcow2", "foundry.pem", "secureboot-pk.pem"]);
    const cut = checks.find(({ file, check: name }) => file === "lab.qcow2" && name === "hash");
    expect(cut?.findings).toMatchObject([{ offsetBytes: 1_000_000 }]);
    expect(checks.find(({ file }) => file === "lab.vmdk")).toMatchObject({ check: "listed", status: "not-checked" });
  });
});

describe("keys and signatures", () => {
  test("another foundry's output: neither signature nor cluster layer is of the trusted key", async () => {
    const foreign = await buildLab(scratch, "foreign", lab);
    const path = foreign.project.paths.out;
    const checks = await check({ path });
    expect(found(checks)).toEqual([
      "manifest.json: manifest.json.sig",
      "provenance.intoto.jsonl: envelope",
      "lab.raw: cluster layer, foundry.pub",
    ]);
    // Its own key beside it says nothing about whose it is.
    const own = await check({ path, key: undefined });
    expect(verdict(own)).toBe("not-checked");
    expect(own.filter(({ status }) => status === "not-checked").map(({ check: name }) => name)).toEqual(["key"]);
    expect(verdict(await check({ path, key: undefined, anyKey: true }))).toBe("ok");
  });

  test("a boot image without or with another signature is refused by Secure Boot's check", async () => {
    const copy = join(scratch.directory, "unsigned");
    await copyOutput(out, copy);
    await replaceUki(lab, join(copy, "lab.raw"), lab.uki.unsigned);
    const checks = await check({ path: join(copy, "lab.raw"), withoutAuthenticode: false });
    expect(checks.find(({ check: name }) => name === "Secure Boot")).toMatchObject({
      status: "failed",
      findings: [{ structure: "boot image, signature" }],
    });
  });

  test("the key as PEM, as signify's file and as the spec's line; anything else is a usage error", async () => {
    const line = (await readFile(key, "utf8")).split("\n")[1]!;
    for (const given of [join(out, "foundry.pem"), key, line]) {
      const checks = await check({ path: join(out, "lab.qcow2"), key: given });
      expect(checks[0], given).toMatchObject({ check: "key", status: "ok" });
    }
    for (const given of [join(out, "secureboot-db.pem"), join(out, "manifest.json"), "/nowhere"]) {
      await expect(check({ key: given }), given).rejects.toMatchObject({ code: "usage" });
    }
  });
});

test("the command: exit statuses and what it prints", async () => {
  const good = await kubedos(["verify", out, "--key", key], { env: scratch.env });
  expect(good.status, good.stderr).toBe(0);
  expect(good.stdout).toMatch(/all good: \d+ checks\n$/);
  const unsure = await kubedos(["verify", out, "--json"], { env: scratch.env });
  expect(unsure.status).toBe(3);
  expect(jsonLines(unsure.stdout).at(-1)).toMatchObject({ ok: false, verdict: "not-checked" });
  await withFlipped("lab.raw", 40_000, async () => {
    const bad = await kubedos(["verify", out, "--any-key"], { env: scratch.env });
    expect(bad.status).toBe(1);
    expect(bad.stdout).toContain("unused space, byte 40000: is not empty");
  });
  // Without a foundry root in the cache and without the host's own tool, the signature is not checked, and said so.
  const noTools = { ...scratch.env, KUBEDOS_CACHE: join(scratch.directory, "empty-cache") };
  const without = await kubedos(["verify", out, "--key", key], { env: noTools });
  const hostHasTool = await run("sh", ["-c", "command -v sbverify"]).then(
    () => true,
    () => false,
  );
  expect(without.status).toBe(hostHasTool ? 0 : 3);
  expect(without.stdout.includes("NOT CHECKED")).toBe(!hostHasTool);
  expect((await kubedos(["verify", join(scratch.directory, "nowhere")])).status).toBe(2);
});
