import type { ClusterLayer, LayerNode } from "../../../shared/cluster-layer.ts";
import { pkiFile } from "../../../shared/pki.ts";
import { planeAddress } from "../../../shared/render/peers.ts";
import { servicePorts } from "../../../shared/services.ts";
import { nowMs } from "../../host/clock.ts";
import { poll } from "./poll.ts";
import type { Gate, GateCheck, GateContext } from "./types.ts";

const healthLimitSeconds = 120;
/** Long enough for another leader and a write, on a slow machine too. */
const cutSeconds = 15;
const key = "/kubedos/gate";

interface EndpointStatus {
  Endpoint: string;
  Status: { header: { member_id: number }; leader: number };
}

/**
 * All members are there and have one leader; then the leader is cut off from the others for a while: a write still
 * succeeds, nothing is lost, and the lost member has it when it is back.
 */
export const etcdGate: Gate = {
  name: "etcd",
  summary: "etcd has its quorum, and a write survives the loss of the leader",
  async run(context) {
    const { layer, observer } = context;
    const members = layer.nodes.filter((node) => node.roles.includes("core"));
    const backend = layer.planes.find((plane) => plane.purpose === "backend");
    const [first] = members;
    if (first === undefined || backend === undefined) {
      return [{ what: "members", ok: false, evidence: "no node has the role core, or there is no backend plane" }];
    }
    // 1. Quorum.
    const all = await poll(
      context,
      healthLimitSeconds,
      () => statuses(context, first, members),
      (seen) => seen.length === members.length && leaderOf(seen, members, layer) !== undefined,
    );
    const leader = leaderOf(all, members, layer);
    const checks: GateCheck[] = [
      {
        what: "quorum",
        ok: all.length === members.length && leader !== undefined,
        evidence: `${all.length} of ${members.length} members answer, leader ${leader?.name ?? "none"}`,
      },
    ];
    if (leader === undefined || members.length < 3) {
      const why = leader === undefined ? "there is no leader to lose" : "fewer than three members survive no loss";
      return [...checks, { what: "loss of the leader", ok: false, evidence: why }];
    }
    // 2. Loss of the leader.
    const others = members.filter((member) => member.name !== leader.name);
    const client = others[0]!;
    const stamp = String(nowMs());
    const before = await etcdctl(context, client, others, ["put", `${key}/before`, stamp]);
    checks.push({ what: "write before the loss", ok: before.status === 0, evidence: said(before) });
    await observer.ask(leader.name, { command: "isolate", plane: backend.name, seconds: cutSeconds }, 30_000);
    const began = nowMs();
    const during = await poll(
      context,
      cutSeconds - 2,
      () => etcdctl(context, client, others, ["put", `${key}/during`, stamp]),
      ({ status }) => status === 0,
    );
    const seconds = (nowMs() - began) / 1000;
    checks.push({
      what: `write without ${leader.name}, the leader`,
      ok: during.status === 0 && seconds < cutSeconds,
      evidence: `${said(during)} after ${seconds.toFixed(1)} s, cut off for ${cutSeconds} s`,
    });
    const kept = await etcdctl(context, client, others, ["get", "--print-value-only", `${key}/before`]);
    checks.push({ what: "read without it", ok: kept.stdout.trim() === stamp, evidence: said(kept) });
    // 3. It comes back and has what it missed: a read that only its own data answers.
    const local = ["get", "--consistency=s", "--print-value-only", `${key}/during`];
    const caught = await poll(
      context,
      cutSeconds + healthLimitSeconds,
      () => etcdctl(context, leader, [leader], local),
      ({ stdout }) => stdout.trim() === stamp,
    );
    checks.push({
      what: `${leader.name} is back and has the write`,
      ok: caught.stdout.trim() === stamp,
      evidence: said(caught),
    });
    await etcdctl(context, client, others, ["del", "--prefix", key]);
    return checks;
  },
};

function etcdctl(context: GateContext, from: LayerNode, endpoints: readonly LayerNode[], args: readonly string[]) {
  return context.shell(from.name, [
    "sudo",
    "etcdctl",
    `--endpoints=${endpoints.map((member) => clientUrl(context.layer, member)).join(",")}`,
    `--cacert=${pkiFile("etcd", "ca.crt")}`,
    `--cert=${pkiFile("etcd", "crt")}`,
    `--key=${pkiFile("etcd", "key")}`,
    "--dial-timeout=2s",
    "--command-timeout=4s",
    ...args,
  ]);
}

async function statuses(context: GateContext, from: LayerNode, members: readonly LayerNode[]) {
  const { stdout } = await etcdctl(context, from, members, ["endpoint", "status", "--write-out=json"]);
  const text = stdout.trim().split("\n").at(-1) ?? "";
  return text === "" ? [] : (JSON.parse(text) as EndpointStatus[]);
}

function leaderOf(
  seen: readonly EndpointStatus[],
  members: readonly LayerNode[],
  layer: ClusterLayer,
): LayerNode | undefined {
  const leading = seen.find(({ Status }) => Status.leader !== 0 && Status.leader === Status.header.member_id);
  return members.find((member) => clientUrl(layer, member) === leading?.Endpoint);
}

function clientUrl(layer: ClusterLayer, member: LayerNode): string {
  const backend = layer.planes.find((plane) => plane.purpose === "backend")!;
  return `https://${planeAddress(backend, member)}:${servicePorts.etcdClient}`;
}

function said({ stdout, stderr }: { stdout: string; stderr: string }): string {
  return (stdout.trim() || stderr.trim().split("\n").at(-1)) ?? "";
}
