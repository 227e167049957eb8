import { X509Certificate, createPrivateKey } from "node:crypto";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { KubedosError } from "../../shared/error.ts";
import { ageEncrypt } from "./age.ts";
import { encodeContent } from "./content.ts";
import { ensureIdentity, readIdentities } from "./identity.ts";
import type { Vault } from "./types.ts";
import { chooseProtection } from "./unlock.ts";
import { createVault, openVault, vaultExists } from "./vault.ts";

let directory: string;
let path: string;
let identity: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-vault-"));
  path = join(directory, "cluster.vault");
  identity = join(directory, "identity.txt");
  // The person who runs the tests has an environment and files of their own.
  for (const name of ["KUBEDOS_PASSPHRASE", "KUBEDOS_PASSPHRASE_FILE", "KUBEDOS_IDENTITY"]) vi.stubEnv(name, "");
  vi.stubEnv("KUBEDOS_CONFIG", join(directory, "config"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

/** The error of a call, for its message and hint together. */
async function errorOf(promise: Promise<unknown>): Promise<{ code: string; text: string }> {
  const error = await promise.then(() => undefined).catch((cause: unknown) => cause);
  if (!(error instanceof KubedosError)) throw new Error(`expected a KubedosError, got ${String(error)}`);
  return { code: error.code, text: `${error.message}\nhint: ${error.hint}` };
}

function file(name: string, content: string | Uint8Array, mode = 0o600): string {
  const made = join(directory, name);
  writeFileSync(made, content, { mode });
  return made;
}

async function lockedForIdentity(): Promise<Vault> {
  const { recipient } = await ensureIdentity(identity);
  return createVault(path, { recipients: [recipient] });
}

describe("with an identity", () => {
  test("what was made is what is opened", async () => {
    const made = await lockedForIdentity();
    const opened = await openVault(path, { identities: [identity] });
    expect(JSON.stringify(opened)).toBe(JSON.stringify(made));
    expect(await vaultExists(path)).toBe(true);
  });

  test("the file is private, armored and alone in its directory", async () => {
    const made = await lockedForIdentity();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const text = readFileSync(path, "latin1");
    expect(text).toMatch(/^-----BEGIN AGE ENCRYPTED FILE-----\n/);
    expect(text).not.toContain(Buffer.from(made.foundrySecret).toString("base64"));
    expect(readdirSync(directory).toSorted()).toEqual(["cluster.vault", "identity.txt"]);
  });

  test("the default identity opens it without being named", async () => {
    const protection = await chooseProtection({});
    expect(protection.identityCreated).toBe(join(directory, "config", "identity.txt"));
    await createVault(path, protection);
    await openVault(path);
    expect((await chooseProtection({})).identityCreated).toBeUndefined();
  });

  test("any of several recipients opens it", async () => {
    const second = join(directory, "second.txt");
    const recipients = [(await ensureIdentity(identity)).recipient, (await ensureIdentity(second)).recipient];
    await createVault(path, { recipients });
    const [first, other] = [
      await openVault(path, { identities: [identity] }),
      await openVault(path, { identities: [second] }),
    ];
    expect(first.foundrySecret).toEqual(other.foundrySecret);
  });

  test("another identity does not open it", async () => {
    await lockedForIdentity();
    const wrong = join(directory, "wrong.txt");
    await ensureIdentity(wrong);
    const { text } = await errorOf(openVault(path, { identities: [wrong] }));
    expect(text).toMatch(/is not encrypted for any identity of .*wrong\.txt\nhint: .*--identity FILE/);
  });

  test("no identity at all", async () => {
    await lockedForIdentity();
    const { code, text } = await errorOf(openVault(path));
    expect(code).toBe("usage");
    expect(text).toMatch(/there is no .*identity\.txt\nhint: .*--identity FILE/);
  });

  test.each([
    ["missing", () => undefined, /there is no identity file/],
    ["open to others", () => chmodSync(identity, 0o644), /can be read by other users\nhint: chmod 600/],
    ["empty", () => writeFileSync(identity, "# nothing\n"), /holds no identity/],
    [
      "an SSH key",
      () => writeFileSync(identity, "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
      /not an age identity\nhint:/,
    ],
    ["encrypted", () => writeFileSync(identity, "-----BEGIN AGE ENCRYPTED FILE-----\n"), /is itself encrypted\nhint: /],
  ])("an identity file that is %s", async (what, change, expected) => {
    await lockedForIdentity();
    if (what === "missing") rmSync(identity);
    change();
    expect((await errorOf(openVault(path, { identities: [identity] }))).text).toMatch(expected);
  });

  test("a wrong line of an identity file is not quoted", async () => {
    await lockedForIdentity();
    const secret = readFileSync(identity, "utf8").match(/AGE-SECRET-KEY-\S+/)![0];
    writeFileSync(identity, `${secret.slice(0, -1)}\n`);
    const { text } = await errorOf(openVault(path, { identities: [identity] }));
    expect(text).not.toContain(secret.slice(20, 40));
  });

  test("the identity is kept when there is one", async () => {
    const first = await ensureIdentity(identity);
    expect(first.created).toBe(true);
    expect(await ensureIdentity(identity)).toEqual({ recipient: first.recipient, created: false });
    expect(statSync(identity).mode & 0o777).toBe(0o600);
    expect(await readIdentities(identity)).toHaveLength(1);
  });

  test("a wrong recipient", async () => {
    const { code, text } = await errorOf(createVault(path, { recipients: ["age1nobody"] }));
    expect(code).toBe("usage");
    expect(text).toMatch(/not an age recipient: age1nobody\nhint: /);
    expect(await vaultExists(path)).toBe(false);
  });
});

describe("with a passphrase", () => {
  const passphrase = "correct horse battery";

  test("from a file, from the environment's file and from the environment", async () => {
    const made = await createVault(path, await chooseProtection({ passphraseFile: file("pass", `${passphrase}\n`) }));
    const opened = await openVault(path, { passphraseFile: file("pass", `${passphrase}\r\n`) });
    expect(opened.foundrySecret).toEqual(made.foundrySecret);
    vi.stubEnv("KUBEDOS_PASSPHRASE", passphrase);
    await openVault(path);
    vi.stubEnv("KUBEDOS_PASSPHRASE", "not this one");
    vi.stubEnv("KUBEDOS_PASSPHRASE_FILE", file("pass", passphrase));
    await openVault(path);
  });

  test("the wrong one, or none", async () => {
    await createVault(path, { passphrase });
    const wrong = await errorOf(openVault(path, { passphraseFile: file("wrong", `${passphrase} \n`) }));
    expect(wrong.text).toMatch(/wrong passphrase for .*cluster\.vault \(from .*wrong\)\nhint: /);
    expect(wrong.text).not.toContain(passphrase);
    const none = await errorOf(openVault(path));
    expect(none.code).toBe("usage");
    expect(none.text).toMatch(/none was given\nhint: .*--passphrase-file/);
    expect((await errorOf(openVault(path, { passphraseFile: "/nowhere" }))).text).toMatch(
      /no passphrase file \/nowhere/,
    );
    expect((await errorOf(openVault(path, { passphraseFile: file("empty", "\n") }))).text).toMatch(/is empty/);
  });

  test("one that is too short is refused before anything is written", async () => {
    expect((await errorOf(chooseProtection({ passphraseFile: file("pass", "short") }))).text).toMatch(/shorter than 8/);
    expect((await errorOf(chooseProtection({ askPassphrase: true }))).text).toMatch(/no terminal/);
  });
});

describe("a file that is", () => {
  test("there already is not overwritten", async () => {
    file("cluster.vault", "precious");
    const { text } = await errorOf(createVault(path, { passphrase: "correct horse" }));
    expect(text).toMatch(/exists already\nhint: an existing vault is never overwritten/);
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  test("made by two at once has one winner and nothing is left over", async () => {
    const { recipient } = await ensureIdentity(identity);
    const results = await Promise.allSettled([1, 2, 3].map(() => createVault(path, { recipients: [recipient] })));
    expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(1);
    const winner = results.find((result) => result.status === "fulfilled")!;
    const opened = await openVault(path, { identities: [identity] });
    expect(opened.foundrySecret).toEqual(winner.value.foundrySecret);
    expect(readdirSync(directory).toSorted()).toEqual(["cluster.vault", "identity.txt"]);
  });

  test.each([
    ["missing", undefined, /there is no vault .*\nhint: `kubedos init`/],
    ["empty", "", /is not an age-encrypted file\nhint: /],
    ["something else", "apiVersion: kubedos/v1\n", /is not an age-encrypted file\nhint: /],
    ["of a later age", "age-encryption.org/v2\n-> X25519 a\nb\n--- c\n", /unknown version v2/],
  ])("%s", async (_what, content, expected) => {
    if (content !== undefined) file("cluster.vault", content);
    expect((await errorOf(openVault(path, { identities: [identity] }))).text).toMatch(expected);
  });

  test("cut off or altered anywhere is never opened", async () => {
    await lockedForIdentity();
    const whole = readFileSync(path);
    const open = () => errorOf(openVault(path, { identities: [identity] }));
    for (const length of [40, 100, 400, whole.length - 40, whole.length - 3]) {
      writeFileSync(path, whole.subarray(0, length));
      expect((await open()).text).toMatch(/is damaged or cut off: .*\nhint: restore it from a backup/);
    }
    for (const at of [90, 200, 1000, whole.length - 60]) {
      const altered = Buffer.from(whole);
      altered[at] = altered[at] === 0x41 ? 0x42 : 0x41;
      writeFileSync(path, altered);
      await open();
    }
  });

  test("of a newer kubedos, or not a vault inside", async () => {
    const made = await lockedForIdentity();
    const { recipient } = await ensureIdentity(identity);
    const content = JSON.parse(encodeContent(made)) as Record<string, unknown>;
    const reopened = async (text: string) => {
      writeFileSync(path, await ageEncrypt(text, { recipients: [recipient] }));
      return (await errorOf(openVault(path, { identities: [identity] }))).text;
    };
    expect(await reopened(JSON.stringify({ ...content, version: 2, more: 1 }))).toMatch(
      /has format version 2; this kubedos reads up to 1\nhint: /,
    );
    expect(await reopened("a shopping list")).toMatch(/is not a kubedos vault/);
    expect(await reopened(JSON.stringify({ ...content, foundrySecret: "AAAA" }))).toMatch(/3 bytes instead of 32/);
    expect(await reopened(JSON.stringify({ ...content, signingSeed: 7 }))).toMatch(/wrong or missing: signingSeed/);
  });
});

test("age itself opens a vault", async () => {
  const made = await lockedForIdentity();
  const text = execFileSync("age", ["-d", "-i", identity, path], { encoding: "utf8" });
  expect(text).toBe(encodeContent(made));
});

describe("Secure Boot keys", () => {
  let vault: Vault;
  beforeAll(async () => {
    const made = mkdtempSync(join(tmpdir(), "kubedos-sb-"));
    vault = await createVault(join(made, "vault"), {
      recipients: [(await ensureIdentity(join(made, "id"))).recipient],
    });
    rmSync(made, { recursive: true });
  });

  test("are three different RSA-2048 keys with certificates that fit", () => {
    const serials = new Set<string>();
    for (const [name, { key, certificate }] of Object.entries(vault.secureBoot)) {
      const x509 = new X509Certificate(certificate);
      expect(x509.checkPrivateKey(createPrivateKey(key)), name).toBe(true);
      expect(x509.verify(x509.publicKey), name).toBe(true);
      expect(x509.publicKey.asymmetricKeyDetails).toMatchObject({ modulusLength: 2048 });
      expect([x509.validFrom, x509.validTo]).toEqual(["Jan  1 00:00:00 2020 GMT", "Dec 31 23:59:59 2049 GMT"]);
      expect(x509.ca).toBe(false);
      serials.add(x509.serialNumber);
    }
    expect(serials.size).toBe(3);
  });

  test("openssl reads them", () => {
    const { key, certificate } = vault.secureBoot.db;
    const text = execFileSync("openssl", ["x509", "-noout", "-text"], { input: certificate, encoding: "utf8" });
    expect(text).toContain("Signature Algorithm: sha256WithRSAEncryption");
    expect(text).toContain("Code Signing");
    const check = execFileSync("openssl", ["pkey", "-check", "-noout"], { input: key, encoding: "utf8" });
    expect(check).toContain("Key is valid");
  });
});
