import { createPrivateKey, createPublicKey, generateKeyPairSync, hkdfSync, type KeyObject, sign } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import {
  enrollCredential,
  enrollPaths,
  type JoinAnswer,
  type JoinRequest,
  possessionText,
  tokenInfo,
  tokenPattern,
  tokenSalt,
} from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { controlPlane, isHub, planeAddress } from "../../shared/render/peers.ts";
import { readCredential } from "../agent/credentials.ts";
import { keyFingerprint } from "../agent/enrollment.ts";
import { exec } from "../agent/exec.ts";
import { readMaterial } from "../agent/http.ts";
import { readIdentity } from "../agent/identity.ts";
import type { NodePaths } from "../agent/paths.ts";
import { messageOf, readText, sleep } from "../agent/text.ts";
import { askHub } from "./client.ts";

const minionUnit = "salt-minion.service";
/** What Salt itself makes. */
const modulusLength = 2048;
const shortestMs = 1_000;
const longestMs = 10_000;
/** A hub that does not answer keeps no node away from the others for longer. */
const otherHubsMs = 30_000;

/** The node's side of one hub's enrollment. */
export interface JoinTarget {
  hub: string;
  address: string;
}

/** A node's own key. */
export interface OwnKey {
  privateKey: KeyObject;
  publicKey: string;
  fingerprint: string;
}

/** What a node does next at a hub, by how its request stands there. Pure. */
export function nextStep(
  answer: JoinAnswer,
  fingerprint: string,
  token: { there: boolean; spent: boolean },
): { step: "done" | "ask" | "wait"; say: string } {
  if (answer.state === "accepted" && answer.fingerprint === fingerprint) return { step: "done", say: "is enrolled" };
  if (answer.state === "waiting" && answer.fingerprint === fingerprint) {
    return { step: "wait", say: "waits for an operator: kubedos enroll approve" };
  }
  const needsToken = "needs a token: kubedos enroll token";
  if (answer.state === "denied" && answer.fingerprint === fingerprint && (token.spent || !token.there)) {
    return { step: "wait", say: `was denied by an operator, and ${needsToken}` };
  }
  if (!token.there) return { step: "wait", say: needsToken };
  if (token.spent) return { step: "wait", say: `${answer.refused ?? "its token is used"}; it ${needsToken}` };
  if (answer.window === "closed") return { step: "wait", say: "waits for an enrollment window: kubedos enroll open" };
  return { step: "ask", say: "asks to be enrolled" };
}

/** Makes the key where there is none, and asks every hub until it has taken it. Ends when all have. */
export async function joinCluster(paths: NodePaths, environment: NodeJS.ProcessEnv): Promise<void> {
  const { layer, node } = readIdentity(paths, environment);
  const key = ownKey(paths.at(enrollPaths.join));
  const secret =
    readText(join(paths.at(enrollPaths.join), "token")) ?? readCredential(paths, environment, enrollCredential);
  if (secret !== undefined && !tokenPattern.test(secret)) throw new KubedosError("failed", "the token is damaged");
  say(`the Salt key of ${node.name} is sha256 ${key.fingerprint}`);
  const control = controlPlane(layer);
  const hubs = layer.nodes.filter(isHub).map((hub) => ({ hub: hub.name, address: planeAddress(control, hub) }));
  let enrolled = 0;
  let first: number | undefined;
  let started = false;
  function startMinion(): void {
    started = true;
    const file = paths.at(enrollPaths.enrolled);
    // A minion that runs with the key that the node had before has to take up the new one.
    const verb = [undefined, key.fingerprint].includes(readText(file)) ? "start" : "restart";
    writeFileSync(file, `${key.fingerprint}\n`, { mode: 0o644 });
    void exec("systemctl", [verb, "--no-block", minionUnit]).then(({ status, stderr }) => {
      if (status !== 0) say(`the minion does not start: ${stderr.trim()}`);
    });
  }
  const late = setInterval(() => {
    if (!started && first !== undefined && Date.now() - first > otherHubsMs) startMinion();
  }, shortestMs);
  await Promise.all(
    hubs.map(async (target) => {
      await joinHub(paths, layer, node.name, target, key, secret);
      enrolled += 1;
      first ??= Date.now();
      // A minion that began without this hub has ended if the hub refused its key meanwhile.
      if (started || enrolled === hubs.length) startMinion();
    }),
  );
  clearInterval(late);
}

async function joinHub(
  paths: NodePaths,
  layer: ClusterLayer,
  node: string,
  target: JoinTarget,
  key: OwnKey,
  secret: string | undefined,
): Promise<void> {
  let said = "";
  let spent = false;
  let waitMs = shortestMs;
  let refusal: JoinAnswer["refused"];
  for (;;) {
    let text: string;
    try {
      const material = readMaterial(paths);
      if (material === undefined) throw new Error("the seed holds no certificate");
      const stands = await askHub(layer, target, material, key.fingerprint);
      const next = nextStep({ ...stands, ...(refusal !== undefined && { refused: refusal }) }, key.fingerprint, {
        there: secret !== undefined,
        spent,
      });
      text = next.say;
      if (next.step === "ask") {
        const made = joinRequest(secret!, key, {
          cluster: layer.cluster,
          clusterId: layer.clusterId,
          hub: target.hub,
          node,
        });
        const answer = await askHub(layer, target, material, key.fingerprint, made);
        refusal = answer.refused;
        // An answer that was lost leaves it open; a window that closed meanwhile has not looked at it.
        spent = refusal !== "closed";
        waitMs = shortestMs;
        if (answer.refused !== undefined) text = `was refused: ${answer.refused}`;
        else if (answer.state === "accepted") text = "is enrolled";
      }
      if (text !== said) say(`${target.hub}: ${node} ${text}`);
      said = text;
      if (text === "is enrolled") return;
    } catch (error) {
      text = messageOf(error);
      if (text !== said) say(`${target.hub} cannot be asked: ${text}`);
      said = text;
    }
    await sleep(waitMs);
    waitMs = Math.min(waitMs * 1.5, longestMs);
  }
}

/** What a node shows one hub for its key. */
export function joinRequest(
  secret: string,
  { privateKey, publicKey }: Pick<OwnKey, "privateKey" | "publicKey">,
  to: { cluster: string; clusterId: string; hub: string; node: string },
): JoinRequest {
  const token = hubToken(secret, to);
  const proof = sign("sha256", Buffer.from(possessionText(to.clusterId, to.hub, to.node, token)), privateKey);
  return { token, publicKey, proof: proof.toString("base64") };
}

/** A hub's token of a node's secret. */
export function hubToken(
  secret: string,
  { cluster, hub, node }: { cluster: string; hub: string; node: string },
): string {
  const bytes = hkdfSync("sha256", Buffer.from(secret, "base64url"), tokenSalt, tokenInfo(cluster, hub, node), 32);
  return Buffer.from(bytes).toString("base64url");
}

/** The key in a directory, made there at first. @throws KubedosError when it is damaged: it is never made anew silently */
export function ownKey(directory: string): OwnKey {
  const file = join(directory, "minion.pem");
  if (!existsSync(file)) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength });
    writePrivate(file, privateKey.export({ format: "pem", type: "pkcs8" }) as string);
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(readFileSync(file));
  } catch {
    throw new KubedosError("failed", `${file} is damaged`, {
      hint: "remove it; the node then needs a new token: kubedos enroll token",
    });
  }
  const publicKey = createPublicKey(privateKey).export({ format: "pem", type: "spki" }) as string;
  writePrivate(join(directory, "minion.pub"), publicKey);
  return { privateKey, publicKey, fingerprint: keyFingerprint(publicKey) };
}

/** Takes a token that an operator has sent, and asks again. */
export async function takeToken(paths: NodePaths, text: string): Promise<void> {
  const token = text.trim();
  if (!tokenPattern.test(token)) throw new KubedosError("failed", "standard input is not a token");
  mkdirSync(paths.at(enrollPaths.join), { recursive: true, mode: 0o700 });
  writePrivate(join(paths.at(enrollPaths.join), "token"), `${token}\n`);
  const { status, stderr } = await exec("systemctl", ["restart", "--no-block", "kubedos-join.service"]);
  if (status !== 0) throw new KubedosError("failed", stderr.trim());
}

function writePrivate(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600, flush: true });
  renameSync(`${file}.new`, file);
}

function say(text: string): void {
  writeSync(1, `kubedos: ${text}\n`);
}
