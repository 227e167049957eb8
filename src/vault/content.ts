import { z } from "zod";
import { KubedosError } from "../../shared/error.ts";
import { publicFromRaw } from "./raw-keys.ts";
import type { Vault } from "./types.ts";

const formatName = "kubedos-vault";
const formatVersion = 1;

const envelopeSchema = z.object({ format: z.literal(formatName), version: z.number().int().positive() });

const secureBootKeySchema = z.strictObject({
  key: z.string().startsWith("-----BEGIN PRIVATE KEY-----"),
  certificate: z.string().startsWith("-----BEGIN CERTIFICATE-----"),
});

const contentSchema = z.strictObject({
  format: z.literal(formatName),
  version: z.literal(formatVersion),
  /** Base64 of 32 bytes each. */
  foundrySecret: z.base64(),
  signingSeed: z.base64(),
  secureBoot: z.strictObject({ pk: secureBootKeySchema, kek: secureBootKeySchema, db: secureBootKeySchema }),
});

/** JSON text that goes into the encrypted file. */
export function encodeContent(vault: Vault): string {
  const content: z.infer<typeof contentSchema> = {
    format: formatName,
    version: formatVersion,
    foundrySecret: Buffer.from(vault.foundrySecret).toString("base64"),
    signingSeed: Buffer.from(vault.signing.seed).toString("base64"),
    secureBoot: vault.secureBoot,
  };
  return `${JSON.stringify(content, undefined, 2)}\n`;
}

/**
 * Reads the decrypted text; messages never quote it.
 *
 * @throws KubedosError when it is of a newer version or not the content of a vault
 */
export function decodeContent(text: string, path: string): Vault {
  const json = parseJson(text);
  const envelope = envelopeSchema.safeParse(json);
  if (!envelope.success) throw notAVault(path, "its content is not that of a vault");
  if (envelope.data.version > formatVersion) {
    throw new KubedosError(
      "failed",
      `${path} has format version ${envelope.data.version}; this kubedos reads up to ${formatVersion}`,
      { hint: "use the version of kubedos that wrote it, or a newer one" },
    );
  }
  const parsed = contentSchema.safeParse(json);
  if (!parsed.success) {
    throw notAVault(path, `wrong or missing: ${parsed.error.issues.map((issue) => issue.path.join(".")).join(", ")}`);
  }
  const { foundrySecret, signingSeed, secureBoot } = parsed.data;
  const seed = key32(signingSeed, "signingSeed", path);
  return {
    foundrySecret: key32(foundrySecret, "foundrySecret", path),
    signing: { seed, publicKey: publicFromRaw("Ed25519", seed) },
    secureBoot,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the parser's message would quote the text
  }
}

function key32(base64: string, field: string, path: string): Buffer {
  const bytes = Buffer.from(base64, "base64");
  if (bytes.length !== 32) throw notAVault(path, `${field} has ${bytes.length} bytes instead of 32`);
  return bytes;
}

function notAVault(path: string, why: string): KubedosError {
  return new KubedosError("failed", `${path} was decrypted, but is not a kubedos vault: ${why}`, {
    hint: "name the vault that `kubedos init` made for this spec",
  });
}
