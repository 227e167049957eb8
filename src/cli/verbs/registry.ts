import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { auditVerb } from "./audit.ts";
import { amiVerb } from "./ami.ts";
import { buildVerb } from "./build.ts";
import { capsuleVerb } from "./capsule.ts";
import { checkVerb } from "./check.ts";
import { completionVerb } from "./completion.ts";
import { consoleVerb } from "./console.ts";
import { convergeVerb } from "./converge.ts";
import { diffVerb } from "./diff.ts";
import { doctorVerb } from "./doctor.ts";
import { downVerb } from "./down.ts";
import { enrollVerb } from "./enroll.ts";
import { initVerb } from "./init.ts";
import { lockVerb } from "./lock.ts";
import { logsVerb } from "./logs.ts";
import { pkiVerb } from "./pki.ts";
import { planVerb } from "./plan.ts";
import { repoVerb } from "./repo.ts";
import { schemaVerb } from "./schema.ts";
import { serveNetbootVerb } from "./serve-netboot.ts";
import { seedVerb } from "./seed.ts";
import { signVerb } from "./sign.ts";
import { sshVerb } from "./ssh.ts";
import { statusVerb } from "./status.ts";
import { storeVerb } from "./store.ts";
import { targetsVerb } from "./targets.ts";
import { upVerb } from "./up.ts";
import { verifyVerb } from "./verify.ts";
import { writeVerb } from "./write.ts";

/** All verbs in the order that `--help` shows: the way from nothing to a running cluster, then the rest. */
export const verbs: readonly (() => CommandUnknownOpts)[] = [
  initVerb,
  checkVerb,
  lockVerb,
  planVerb,
  buildVerb,
  verifyVerb,
  writeVerb,
  serveNetbootVerb,
  seedVerb,
  auditVerb,
  signVerb,
  diffVerb,
  upVerb,
  statusVerb,
  convergeVerb,
  logsVerb,
  sshVerb,
  consoleVerb,
  downVerb,
  capsuleVerb,
  pkiVerb,
  enrollVerb,
  amiVerb,
  repoVerb,
  storeVerb,
  doctorVerb,
  targetsVerb,
  schemaVerb,
  completionVerb,
];
