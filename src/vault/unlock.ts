import { KubedosError } from "../../shared/error.ts";
import { environmentValue } from "../host/environment.ts";
import { fileExists, readSmallFile } from "../host/private-file.ts";
import { askSecret } from "../host/prompt.ts";
import { canAsk } from "../host/terminal.ts";
import type { AgeKey, AgeLock } from "./age.ts";
import { defaultIdentityPath, ensureIdentity, readIdentities } from "./identity.ts";
import type { UnlockOptions, VaultProtection } from "./types.ts";

/** What opens a vault, and how messages call it. */
export interface FoundKey {
  key: AgeKey;
  what: string;
}

const shortestPassphrase = 8;

/**
 * Finds what opens a vault. Passphrase: --passphrase-file, KUBEDOS_PASSPHRASE_FILE, KUBEDOS_PASSPHRASE, the terminal.
 * Identity: --identity, KUBEDOS_IDENTITY, ~/.config/kubedos/identity.txt. The first that is there counts.
 *
 * @throws KubedosError (code `usage`) when there is none
 */
export async function findKey(lock: AgeLock, path: string, options: UnlockOptions): Promise<FoundKey> {
  return lock === "passphrase" ? findPassphrase(path, options) : findIdentities(path, options);
}

/**
 * How a new vault is to be encrypted: with the passphrase that the same places give (or the terminal asks for, twice,
 * where `askPassphrase` is set), for the given recipients, else for the default identity, which is made if needed.
 */
export async function chooseProtection(
  options: UnlockOptions & { askPassphrase?: boolean; recipients?: readonly string[] },
): Promise<VaultProtection & { identityCreated?: string }> {
  if (options.recipients !== undefined && options.recipients.length > 0) return { recipients: options.recipients };
  const given = await givenPassphrase(options);
  if (given !== undefined) return { passphrase: longEnough(given.passphrase) };
  if (options.askPassphrase === true) return { passphrase: await askTwice(options.signal) };
  const [explicit] = identityPaths(options);
  const path = explicit ?? defaultIdentityPath();
  const { recipient, created } = await ensureIdentity(path);
  return { recipients: [recipient], ...(created ? { identityCreated: path } : {}) };
}

async function findPassphrase(path: string, options: UnlockOptions): Promise<FoundKey> {
  const given = await givenPassphrase(options);
  if (given !== undefined) return { key: { passphrase: given.passphrase }, what: given.from };
  if (canAsk()) {
    const passphrase = await askSecret(`Passphrase for ${path}`, options.signal);
    return { key: { passphrase }, what: "typed" };
  }
  throw new KubedosError("usage", `${path} is locked with a passphrase, and none was given`, {
    hint: "set KUBEDOS_PASSPHRASE_FILE, use --passphrase-file FILE, or run on a terminal to be asked",
  });
}

async function givenPassphrase(options: UnlockOptions): Promise<{ passphrase: string; from: string } | undefined> {
  const file = options.passphraseFile ?? environmentValue("KUBEDOS_PASSPHRASE_FILE");
  if (file !== undefined) {
    const bytes = await readSmallFile(file, "passphrase file", "check --passphrase-file or KUBEDOS_PASSPHRASE_FILE");
    const passphrase = bytes.toString("utf8").replace(/\r?\n$/, "");
    if (passphrase === "") throw new KubedosError("usage", `passphrase file ${file} is empty`);
    return { passphrase, from: `from ${file}` };
  }
  const passphrase = environmentValue("KUBEDOS_PASSPHRASE");
  return passphrase === undefined ? undefined : { passphrase, from: "from KUBEDOS_PASSPHRASE" };
}

async function findIdentities(path: string, options: UnlockOptions): Promise<FoundKey> {
  const named = identityPaths(options);
  const paths = named.length > 0 ? named : [defaultIdentityPath()];
  if (named.length === 0 && !(await fileExists(paths[0]!))) {
    throw new KubedosError("usage", `${path} is locked for an age identity, and there is no ${paths[0]}`, {
      hint: "name the identity file that the vault was made with: --identity FILE",
    });
  }
  const identities = (await Promise.all(paths.map(readIdentities))).flat();
  return { key: { identities }, what: paths.join(", ") };
}

function identityPaths(options: UnlockOptions): readonly string[] {
  if (options.identities !== undefined && options.identities.length > 0) return options.identities;
  const path = environmentValue("KUBEDOS_IDENTITY");
  return path === undefined ? [] : [path];
}

async function askTwice(signal: AbortSignal | undefined): Promise<string> {
  if (!canAsk()) {
    throw new KubedosError("usage", "a passphrase was asked for, and there is no terminal to type it on", {
      hint: "use --passphrase-file FILE or set KUBEDOS_PASSPHRASE_FILE",
    });
  }
  const passphrase = longEnough(await askSecret("New passphrase for the vault", signal));
  if ((await askSecret("The same again", signal)) !== passphrase) {
    throw new KubedosError("usage", "the two passphrases differ", { hint: "nothing was written: try again" });
  }
  return passphrase;
}

function longEnough(passphrase: string): string {
  if (passphrase.length >= shortestPassphrase) return passphrase;
  throw new KubedosError("usage", `the passphrase is shorter than ${shortestPassphrase} characters`, {
    hint: "whoever has the vault's file can guess as often as they like: use five random words or more",
  });
}
