import { createPrivateKey, X509Certificate } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { pkiCredential, pkiFile, type PkiPurpose, pkiPurposes, pkiUnits } from "../../shared/pki.ts";
import type { RenderedFile } from "../../shared/render/render.ts";
import { exec } from "./exec.ts";
import type { Identity } from "./identity.ts";
import type { NodePaths } from "./paths.ts";
import { writeRendered } from "./render.ts";

const mostBytes = 256 * 1024;

/**
 * New certificates from standard input, as JSON: credential name → PEM. All are checked before the first is written;
 * then the services that use them are restarted.
 *
 * @throws KubedosError when one is not this node's, not of this cluster's authority, or does not fit its key
 */
export async function takeCertificates(paths: NodePaths, identity: Identity, text: string): Promise<void> {
  const values = parse(text);
  const taken = pkiPurposes.filter((purpose) => values[pkiCredential(purpose, "crt")] !== undefined);
  if (taken.length === 0) throw new KubedosError("failed", "no certificate was given");
  writeRendered(
    paths,
    taken.flatMap((purpose) => checked(identity, purpose, values)),
    { keepNetworks: true },
  );
  const units = taken.flatMap((purpose) => pkiUnits[purpose]);
  // Those that this node does not have are passed over.
  for (const unit of units) await exec("systemctl", ["try-restart", "--no-block", unit]);
}

function checked({ layer, node }: Identity, purpose: PkiPurpose, values: Record<string, string>): RenderedFile[] {
  const [crt, key] = [values[pkiCredential(purpose, "crt")] ?? "", values[pkiCredential(purpose, "key")] ?? ""];
  const refused = (why: string) => new KubedosError("failed", `the ${purpose} certificate is refused: ${why}`);
  const authority = layer.pki?.authorities[purpose];
  if (authority === undefined) throw refused("the cluster layer has no authority for it");
  let certificate: X509Certificate;
  let fits: boolean;
  try {
    certificate = new X509Certificate(crt);
    fits = certificate.checkPrivateKey(createPrivateKey(key));
  } catch (error) {
    throw refused((error as Error).message);
  }
  if (!certificate.verify(new X509Certificate(authority).publicKey)) throw refused("it is of another authority");
  if (!certificate.subject.split("\n").includes(`CN=${node.name}`)) throw refused("it is not this node's");
  if (!fits) throw refused("its private key does not fit");
  if (Date.parse(certificate.validTo) <= Date.now()) throw refused(`it ended ${certificate.validTo}`);
  return [
    { path: pkiFile(purpose, "crt"), mode: 0o644, content: crt },
    { path: pkiFile(purpose, "key"), mode: 0o600, content: key },
  ];
}

function parse(text: string): Record<string, string> {
  if (text.length > mostBytes) throw new KubedosError("failed", "standard input is too long");
  try {
    const value: unknown = JSON.parse(text);
    if (value !== null && typeof value === "object" && Object.values(value).every((one) => typeof one === "string")) {
      return value as Record<string, string>;
    }
  } catch {
    // the parser's message would quote the text
  }
  throw new KubedosError("failed", "standard input is not a JSON object of texts");
}
