import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { completionVerb } from "./completion.ts";
import { doctorVerb } from "./doctor.ts";
import { storeVerb } from "./store.ts";

/** All verbs in the order that `--help` shows: the way from nothing to a running cluster, then the rest. */
export const verbs: readonly (() => CommandUnknownOpts)[] = [storeVerb, doctorVerb, completionVerb];
