import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { run } from "../host/run.ts";
import { chooseSigners } from "../lifecycle/signers.ts";
import { publicFromRaw } from "../vault/raw-keys.ts";
import { makeSecureBootKeys } from "../vault/secure-boot.ts";
import { signifyPublicKeyBase64 } from "../vault/signify.ts";
import type { Vault } from "../vault/types.ts";
import { keyFingerprint } from "./dsse.ts";
import { pendingSignatures, signPending } from "./pending.ts";
import { parseRevoked } from "./revoked.ts";
import { certificateFingerprint, commandSigner, outsideSigners, vaultSigners } from "./signer.ts";

let directory: string;
let vault: Pick<Vault, "signing" | "secureBoot">;
beforeAll(async () => {
  const seed = Buffer.alloc(32, 7);
  vault = { signing: { seed, publicKey: publicFromRaw("Ed25519", seed) }, secureBoot: await makeSecureBootKeys("x") };
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-signer-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const { signal } = new AbortController();
const message = Buffer.from([0, 1, 2, 255, 10]);
const trust = (change: object) => ({
  trust: { generation: 1, secureBoot: true, shim: false, certificateDays: 90, revoked: [], operators: [], ...change },
});
const publicKeys = () => ({ foundry: vault.signing.publicKey, certificate: vault.secureBoot.db.certificate });

describe("a command that signs", () => {
  test("openssl with the same keys gives the vault's bytes; it gets the message as it is", async () => {
    const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), vault.signing.seed]);
    await writeFile(
      join(directory, "foundry"),
      `-----BEGIN PRIVATE KEY-----\n${der.toString("base64")}\n-----END PRIVATE KEY-----\n`,
    );
    await writeFile(join(directory, "secure-boot"), vault.secureBoot.db.key);
    const wanted = vaultSigners(vault);
    const rsa = outsideSigners(
      publicKeys(),
      commandSigner(["openssl", "dgst", "-sha256", "-sign", join(directory, "{key}")], signal),
      "openssl",
    );
    expect(await rsa.boot.sign(message)).toEqual(await wanted.boot.sign(message));
    // openssl 3.0 signs ed25519 from a file only: cat stands in for a program that reads standard input.
    const file = join(directory, "message");
    await writeFile(file, message);
    const words = ["pkeyutl", "-sign", "-rawin", "-inkey", join(directory, "{key}"), "-in", file];
    const ed25519 = outsideSigners(publicKeys(), commandSigner(["openssl", ...words], signal), "openssl");
    expect(await ed25519.foundry.sign(message)).toEqual(await wanted.foundry.sign(message));
  });

  test("what it gives is checked: nothing, noise and a signature of something else never get into an artifact", async () => {
    const other = await vaultSigners(vault).foundry.sign(Buffer.from("something else"));
    await writeFile(join(directory, "other"), other);
    for (const command of [["true"], ["head", "-c", "64", "/dev/zero"], ["cat", join(directory, "other")]]) {
      const signers = outsideSigners(publicKeys(), commandSigner(command, signal), `the command ${command[0]}`);
      await expect(signers.foundry.sign(message), command[0]).rejects.toThrow(
        "that are no signature by the key foundry",
      );
      await expect(signers.boot.sign(message), command[0]).rejects.toThrow(
        "that are no signature by the key secure-boot",
      );
    }
    const failing = outsideSigners(
      publicKeys(),
      commandSigner(["sh", "-c", "echo no token >&2; exit 3"], signal),
      "sh",
    );
    await expect(failing.foundry.sign(message)).rejects.toThrow("no token");
  });
});

describe("a directory that goes to the keys and comes back", () => {
  test("each message waits, is signed once, and its signature is taken", async () => {
    const pending = pendingSignatures(directory);
    const signers = outsideSigners(publicKeys(), pending.sign, "the directory");
    await expect(signers.foundry.sign(message)).rejects.toMatchObject({ code: "gate" });
    await expect(signers.boot.sign(message)).rejects.toMatchObject({ code: "gate" });
    expect(pending.waiting).toHaveLength(2);
    expect((await signPending(directory, vaultSigners(vault))).map(({ key }) => key)).toEqual([
      "foundry",
      "secure-boot",
    ]);
    expect(await signPending(directory, vaultSigners(vault))).toEqual([]);
    expect(await signers.foundry.sign(message)).toEqual(await vaultSigners(vault).foundry.sign(message));
    expect(await signers.boot.sign(message)).toEqual(await vaultSigners(vault).boot.sign(message));
  });

  test("an altered message is not signed, a foreign signature not taken", async () => {
    const pending = pendingSignatures(directory);
    const signers = outsideSigners(publicKeys(), pending.sign, "the directory");
    await expect(signers.foundry.sign(message)).rejects.toMatchObject({ code: "gate" });
    const file = join(directory, (await readdir(directory))[0]!);
    await writeFile(file, "pay me instead");
    await expect(signPending(directory, vaultSigners(vault))).rejects.toThrow("its name is not of its content");
    await writeFile(file.replace(".tbs", ".sig"), Buffer.alloc(64));
    await expect(signers.foundry.sign(message)).rejects.toThrow("the directory gave 64 bytes");
    expect(await readFile(file, "utf8")).toBe("pay me instead");
  });
});

describe("who signs", () => {
  const signing = () => ({
    foundryKey: signifyPublicKeyBase64(vault.signing.publicKey),
    certificate: vault.secureBoot.db.certificate,
  });

  test("keys elsewhere and nobody to ask is an error that names the way", async () => {
    const signers = chooseSigners(trust({ signing: signing() }), vault, signal);
    await expect(signers.foundry.sign(message)).rejects.toMatchObject({
      code: "spec",
      hint: expect.stringContaining("--unsigned") as string,
    });
  });

  test("a certificate that is none, or of another kind of key", async () => {
    const choose = (certificate: string) => () =>
      chooseSigners(trust({ signing: { ...signing(), certificate } }), vault, signal);
    expect(choose("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")).toThrow("it is not a certificate");
    const made = ["req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x"];
    expect(choose((await run("openssl", made)).stdout)).toThrow("its key is ed25519");
  });

  test("a revoked key signs nothing, however it is written", () => {
    const { publicKey } = vault.signing;
    const lists = [
      keyFingerprint(publicKey),
      signifyPublicKeyBase64(publicKey),
      certificateFingerprint(vault.secureBoot.db.certificate),
    ];
    for (const one of lists) {
      expect(() => chooseSigners(trust({ revoked: ["0".repeat(64), one] }), vault, signal), one).toThrow(
        "is in trust.revoked",
      );
    }
    expect(() => chooseSigners(trust({ revoked: ["0".repeat(64)] }), vault, signal)).not.toThrow();
  });
});

test("a list of revoked keys: comments and empty lines; a line that is no key is an error with its place", () => {
  const fingerprint = "ab".repeat(32);
  expect([...parseRevoked(`# lost in 2031\n\n${fingerprint} # laptop\n`, "revoked")]).toEqual([fingerprint]);
  expect(() => parseRevoked(`${fingerprint}\n${fingerprint.toUpperCase()}\n`, "revoked")).toThrow(
    expect.objectContaining({ code: "usage", at: { file: "revoked", line: 2 } }) as Error,
  );
});
