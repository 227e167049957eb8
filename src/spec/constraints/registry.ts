import { hubExists, meshSize, nodeCount, oddQuorum, oneRoleField, planePurposes } from "./cluster.ts";
import { uniqueItems, uniqueNodes } from "./duplicates.ts";
import { aptSources, blobs, images } from "./sources.ts";
import { pythonRequests } from "./inputs.ts";
import { explicitDestroy, featureClosure, featurePlanes, possibleGatesOnly } from "./features.ts";
import { installDisk, installRepository, shimSecureBoot, uniqueHardware } from "./install.ts";
import { interfaceNames, labels } from "./names.ts";
import { networkSyntax, overlaps } from "./networks.ts";
import { planeSize } from "./plane-size.ts";
import { extraFiles, foundryKey, mirrorUrls, packageNames, signingKeys } from "./platform.ts";
import { openings, planeMtu, planePorts } from "./ports.ts";
import { baseline, edge, enrollment, etcdMembers, gateFeatures } from "./services.ts";
import type { Constraint } from "./types.ts";
import { possibleTargets } from "./targets.ts";
import { gatewayAndDns, nodeAddresses } from "./underlay.ts";

/** Every constraint over a spec whose shape is right. */
export const constraints: readonly Constraint[] = [
  labels,
  interfaceNames,
  uniqueNodes,
  uniqueItems,
  networkSyntax,
  overlaps,
  planeSize,
  nodeAddresses,
  gatewayAndDns,
  nodeCount,
  oneRoleField,
  hubExists,
  oddQuorum,
  meshSize,
  planePurposes,
  featureClosure,
  featurePlanes,
  possibleGatesOnly,
  gateFeatures,
  etcdMembers,
  edge,
  enrollment,
  baseline,
  explicitDestroy,
  installDisk,
  installRepository,
  shimSecureBoot,
  uniqueHardware,
  possibleTargets,
  planePorts,
  openings,
  planeMtu,
  extraFiles,
  packageNames,
  pythonRequests,
  blobs,
  images,
  aptSources,
  mirrorUrls,
  foundryKey,
  signingKeys,
];
