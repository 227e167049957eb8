import { generateKeyPair, randomBytes } from "node:crypto";
import { promisify } from "node:util";

/** Fresh bytes from the operating system's generator. */
export function freshBytes(count: number): Buffer {
  return randomBytes(count);
}

/** A fresh RSA private key, PKCS#8 in DER. */
export async function freshRsaKey(modulusBits: number): Promise<Buffer> {
  const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: modulusBits });
  return privateKey.export({ format: "der", type: "pkcs8" });
}
