import { createPublicKey, verify } from "node:crypto";
import { enrollLimits, type JoinRequest, possessionText, tokenPattern } from "../../shared/enroll.ts";
import { keyFingerprint } from "../agent/enrollment.ts";
import type { CheckedRequest } from "./state.ts";
import { sha256 } from "./store.ts";

const proofPattern = /^[A-Za-z0-9+/]{100,1000}={0,2}$/;
/** PEM of a SubjectPublicKeyInfo, as Salt compares it: nothing before, between or after. */
const pemPattern = /^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]{100,2000}\n-----END PUBLIC KEY-----\n?$/;

/** Who asks whom. */
export interface Parties {
  clusterId: string;
  hub: string;
  /** By its certificate. */
  node: string;
}

/** Looks at the form of a request and at whether the node has the private key. Never throws. */
export function checkRequest(body: string, parties: Parties): CheckedRequest | "malformed" | "wrong key" {
  const request = parseRequest(body);
  if (request === undefined) return "malformed";
  const key = readKey(request, parties);
  if (key === undefined) return "wrong key";
  const { node } = parties;
  return { node, hash: sha256(request.token), publicKey: key, fingerprint: keyFingerprint(key) };
}

function parseRequest(body: string): JoinRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) return undefined;
  if (Object.keys(value).toSorted().join() !== "proof,publicKey,token") return undefined;
  const { token, publicKey, proof } = value as Record<string, unknown>;
  if (typeof token !== "string" || !tokenPattern.test(token)) return undefined;
  if (typeof proof !== "string" || !proofPattern.test(proof)) return undefined;
  if (typeof publicKey !== "string" || !pemPattern.test(publicKey)) return undefined;
  return { token, publicKey, proof };
}

/** The key as PEM in one way of writing it; undefined: not one to accept, or not the node's. */
function readKey({ token, publicKey, proof }: JoinRequest, { clusterId, hub, node }: Parties): string | undefined {
  try {
    const key = createPublicKey(publicKey);
    const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
    const { least, most } = enrollLimits.keyBits;
    if (key.asymmetricKeyType !== "rsa" || modulusLength < least || modulusLength > most) return undefined;
    if (publicExponent !== 65537n) return undefined;
    const text = Buffer.from(possessionText(clusterId, hub, node, token));
    if (!verify("sha256", text, key, Buffer.from(proof, "base64"))) return undefined;
    return (key.export({ format: "pem", type: "spki" }) as string).trimEnd();
  } catch {
    return undefined;
  }
}
