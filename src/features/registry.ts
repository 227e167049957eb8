import type { FeatureName } from "../spec/types.ts";
import { feature as agent } from "./agent/index.ts";
import { feature as ansible } from "./ansible/index.ts";
import { feature as base } from "./base/index.ts";
import { feature as firewall } from "./firewall/index.ts";
import { feature as kernel } from "./kernel/index.ts";
import { feature as nodeMetrics } from "./node-metrics/index.ts";
import { feature as planes } from "./planes/index.ts";
import { feature as salt } from "./salt/index.ts";
import { feature as repository } from "./repository/index.ts";
import { feature as ssh } from "./ssh/index.ts";
import { feature as time } from "./time/index.ts";
import { feature as containerd } from "./containerd/index.ts";
import { feature as ebpf } from "./ebpf/index.ts";
import { feature as edge } from "./edge/index.ts";
import { feature as etcd } from "./etcd/index.ts";
import { feature as journal } from "./journal/index.ts";
import { feature as observability } from "./observability/index.ts";
import { feature as security } from "./security/index.ts";
import type { Feature } from "./types.ts";

/** Every feature by its name in the spec. */
export const features = {
  base,
  kernel,
  planes,
  ssh,
  firewall,
  time,
  agent,
  "node-metrics": nodeMetrics,
  ansible,
  etcd,
  containerd,
  ebpf,
  edge,
  observability,
  journal,
  security,
  salt,
  repository,
} satisfies Record<FeatureName, Feature>;
