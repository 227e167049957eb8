import { expect, test } from "vitest";
import { KubedosError } from "../../shared/error.ts";
import { diffLocks, formatLockDiff, isSameLock } from "./diff.ts";
import { formatLock, parseLock } from "./file.ts";
import { buildObjects, lockedObjects } from "./objects.ts";
import type { Lock } from "./types.ts";

const sha256 = (digit: string) => digit.repeat(64);

function fullLock(): Lock {
  return {
    format: 1,
    epoch: 0,
    architecture: "amd64",
    suites: [
      { archive: "debian", suite: "trixie", components: ["main"], releaseSha256: sha256("0"), date: 0 },
      { archive: "kubernetes", suite: "/", components: [], releaseSha256: sha256("0"), date: 0 },
    ],
    requested: {
      platform: [],
      foundry: [],
      machines: ["swtpm"],
      shim: ["shim-signed"],
      python: [{ prefix: "/opt/a", requirements: ["Salt_X>=3"], without: ["zmq"] }],
    },
    platform: [],
    foundry: [],
    machines: [
      {
        name: "swtpm",
        version: "0.7.1-1.5",
        architecture: "amd64",
        sizeBytes: 8,
        sha256: sha256("8"),
        archive: "debian",
        suite: "trixie",
        path: "pool/main/s/swtpm/swtpm_0.7.1-1.5_amd64.deb",
      },
    ],
    shim: [
      {
        name: "shim-signed",
        version: "1.47+15.8-1",
        architecture: "amd64",
        sizeBytes: 9,
        sha256: sha256("9"),
        archive: "debian",
        suite: "trixie",
        path: "pool/main/s/shim-signed/shim-signed_1.47+15.8-1_amd64.deb",
      },
    ],
    wheels: [
      {
        prefix: "/opt/a",
        name: "salt-x",
        version: "3.1",
        filename: "salt_x-3.1.tar.gz",
        kind: "sdist",
        sizeBytes: 5,
        sha256: sha256("1"),
      },
      {
        prefix: "/opt/a",
        name: "setuptools",
        version: "80",
        filename: "setuptools-80-py3-none-any.whl",
        kind: "wheel",
        sizeBytes: 6,
        sha256: sha256("2"),
        buildOf: "salt-x",
      },
    ],
    blobs: [{ name: "kubelet", sizeBytes: 7, sha256: sha256("3"), path: "/usr/local/bin/kubelet", mode: 0o755 }],
    images: [
      {
        reference: "registry.k8s.io/pause:3.10",
        manifest: { mediaType: "application/vnd.oci.image.manifest.v1+json", sizeBytes: 1, sha256: sha256("4") },
        config: { mediaType: "application/vnd.oci.image.config.v1+json", sizeBytes: 2, sha256: sha256("5") },
        layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", sizeBytes: 3, sha256: sha256("6") }],
      },
    ],
    thirdParty: [{ name: "kubernetes", fingerprints: ["A".repeat(40)] }],
    securityData: { sha256: sha256("7"), sizeBytes: 9, date: 1_767_225_600 },
  };
}

test("every section is written and read again, and all its contents are listed", () => {
  const text = formatLock(fullLock());
  expect(parseLock(text, "lab.lock")).toEqual(fullLock());
  expect(formatLock(parseLock(text, "lab.lock"))).toBe(text);
  expect(lockedObjects(fullLock()).map(({ sha256: hash }) => hash[0])).toEqual([
    "8",
    "9",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
  ]);
  // No build needs what only capsules hold.
  expect(buildObjects(fullLock()).map(({ sha256: hash }) => hash[0])).toEqual(["9", "1", "2", "3", "4", "5", "6", "7"]);
});

test.each<[string, (text: string) => string, string]>([
  [
    "a path that leaves the image",
    (text) => text.replace("/usr/local/bin/kubelet", "/usr/../../etc/x"),
    "blobs[0].path: must not contain . or ..",
  ],
  [
    "a file name with a directory",
    (text) => text.replace("salt_x-3.1.tar.gz", "../salt_x-3.1.tar.gz"),
    "wheels[0].filename: must be the name",
  ],
  [
    "a prefix that is not absolute",
    (text) => text.replaceAll("/opt/a", "opt/a"),
    "requested.python[0].prefix: must be a plain absolute path",
  ],
  ["a bad hash", (text) => text.replace(sha256("6"), "6"), "images[0].layers[0].sha256: must be 64"],
  ["a setuid mode", (text) => text.replace('"mode":493', '"mode":2541'), "blobs[0].mode:"],
  ["an unknown field", (text) => text.replace('"kind":"sdist"', '"kind":"sdist","url":"http://x"'), "Unrecognized key"],
  ["an unknown section", (text) => text.replace('"wheels":', '"rolls":'), "Unrecognized key"],
  [
    "a removed distribution",
    (text) => text.replace(/\n.*"name":"salt-x".*,/, ""),
    "wheels: salt-x is asked for in /opt/a and not listed",
  ],
  [
    "a source without its suite",
    (text) => text.replace(/,\n.*"archive":"kubernetes".*/, ""),
    "thirdParty: no suite of kubernetes",
  ],
  [
    "a newer format",
    (text) => text.replace('"format": 1', '"format": 2'),
    "has lock format 2; this kubedos reads up to 1",
  ],
])("edited by hand: %s", (_what, edit, says) => {
  const text = edit(formatLock(fullLock()));
  expect(text).not.toBe(formatLock(fullLock()));
  const error = (() => {
    try {
      parseLock(text, "lab.lock");
    } catch (thrown) {
      return thrown as KubedosError;
    }
    return undefined;
  })();
  expect(error).toBeInstanceOf(KubedosError);
  expect(error!.code).toBe("spec");
  expect(error!.message).toContain(says);
});

test("differences of every section are lines", () => {
  const from = fullLock();
  const to: Lock = { ...from, blobs: [{ ...from.blobs![0]!, sha256: sha256("8") }], securityData: undefined };
  const diff = diffLocks(from, to);
  expect(isSameLock(diff)).toBe(false);
  expect(isSameLock(diffLocks(from, fullLock()))).toBe(true);
  expect(formatLockDiff(diff)).toBe(`other inputs: 1 added, 2 removed
  + kubelet as /usr/local/bin/kubelet 755 sha256:888888888888
  - kubelet as /usr/local/bin/kubelet 755 sha256:333333333333
  - security data of 2026-01-01T00:00:00Z sha256:777777777777
`);
});

test("packages and parts of Debian's installer: written, read back, fetched; a lock without them stays as it is", () => {
  const [machine] = fullLock().machines!;
  const part = { ...machine!, name: "anna", sha256: sha256("9"), path: "pool/main/a/anna/anna_1.99_amd64.udeb" };
  const loader = { ...machine!, name: "grub-pc", sha256: sha256("a"), path: "pool/main/g/grub2/grub-pc_2_amd64.deb" };
  const { requested, ...rest } = fullLock();
  const lock: Lock = {
    ...rest,
    requested: { ...requested, netinst: ["grub-pc"], installer: ["anna"] },
    netinst: [loader],
    installer: [part],
  };
  expect(parseLock(formatLock(lock), "lab.lock")).toEqual(lock);
  expect(buildObjects(lock).map(({ name }) => name)).toEqual(expect.arrayContaining(["grub-pc", "anna"]));
  expect(formatLock(fullLock())).not.toMatch(/netinst|installer/);
  expect(formatLockDiff(diffLocks(fullLock(), lock))).toMatch(/installer: 1 added, 0 removed, 0 changed\n {2}\+ anna/);
});
