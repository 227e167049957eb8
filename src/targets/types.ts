import type { Stage } from "../assemble/engine.ts";
import type { Tools } from "../assemble/tools.ts";
import type { MediumParts } from "./iso.ts";
import type { InstallerStages, NetinstParts } from "./netinst/index.ts";
import type { Spec, TargetName } from "../spec/types.ts";

/** What a target is made from. */
export interface SealedParts {
  spec: Spec;
  root: Stage;
  /** The boot image before it is signed (`unsigned`). */
  uki: Stage;
  esp: Stage;
  tools: Tools;
  /** The raw image's stage, once for all targets that start from it. */
  raw: Stage;
  /** Firmware variables with the foundry's keys. */
  firmware: Stage;
  /** For what installs the image on machines; the same at each call. */
  medium(): MediumParts;
  /** For Debian's installer. */
  netinst(): NetinstParts & InstallerStages;
}

/** One output format. */
export interface Target {
  name: TargetName;
  /** What it is, and for whom. */
  summary: string;
  /** What a machine must have, or its operator must do, before it boots. */
  needs: string;
  /** Ending of the artifact's file name. */
  extension: string;
  /** The stage that makes it; its output is called `image`. */
  stage(parts: SealedParts): Stage;
}
