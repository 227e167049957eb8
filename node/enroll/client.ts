import { X509Certificate } from "node:crypto";
import { request as httpsRequest } from "node:https";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { enrollPort, keyHeader, type JoinAnswer, type JoinRequest } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { memberOf, trustOf, type Material } from "../agent/members.ts";

const timeoutMs = 15_000;
const mostBytes = 16 * 1024;

/**
 * Asks a hub how this node's request stands or, with `body`, to take its key.
 *
 * @throws KubedosError when it does not answer, or is not that hub by its certificate
 */
export async function askHub(
  layer: ClusterLayer,
  { hub, address, port = enrollPort }: { hub: string; address: string; port?: number },
  material: Material,
  fingerprint: string,
  body?: JoinRequest,
): Promise<JoinAnswer> {
  const trust = trustOf(layer);
  const authority = new X509Certificate(trust.authority);
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        ...trust.tls,
        ...material,
        host: address,
        port,
        path: "/enrollment",
        method: text === undefined ? "GET" : "POST",
        headers: {
          [keyHeader]: fingerprint,
          ...(text !== undefined && {
            "content-type": "application/json",
            "content-length": Buffer.byteLength(text),
          }),
        },
        agent: false,
        timeout: timeoutMs,
        // Any node's certificate names its own addresses; this one has to be the hub's.
        checkServerIdentity: (_host, certificate) =>
          memberOf(new X509Certificate(certificate.raw), authority) === hub
            ? undefined
            : new Error(`who answers is not ${hub}`),
      },
      (response) => {
        let answer = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => {
          if (answer.length <= mostBytes) answer += part;
        });
        response.on("error", reject);
        response.on("end", () => {
          const value = parse(answer);
          if (value !== undefined) return resolve(value);
          reject(new KubedosError("failed", `${hub} answers ${response.statusCode}: ${answer.trim().slice(0, 200)}`));
        });
      },
    );
    request.on("timeout", () => request.destroy(new Error("no answer in time")));
    request.on("error", reject);
    request.end(text);
  });
}

function parse(text: string): JoinAnswer | undefined {
  try {
    const value = JSON.parse(text) as Partial<JoinAnswer> | null;
    return value?.window !== undefined && value.state !== undefined ? (value as JoinAnswer) : undefined;
  } catch {
    return undefined;
  }
}
