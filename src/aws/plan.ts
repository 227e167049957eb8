import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { hashFile } from "../store/store.ts";
import { type AmiPlan, amiPlanSchema } from "../targets/ami.ts";

/** A plan with the raw image that it describes. */
export interface OpenedPlan {
  plan: AmiPlan;
  /** sha256 of the raw image: the artifact's name in tags. */
  artifact: string;
  raw: string;
}

/**
 * Reads NAME.ami.json and finds the raw image beside it, or in the store.
 *
 * @param stored path of a store object by its hash
 * @throws KubedosError when it is no plan, or the image is missing or another one
 */
export async function openPlan(
  file: string,
  stored: (sha256: string) => string,
  signal: AbortSignal,
): Promise<OpenedPlan> {
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    throw new KubedosError("failed", `cannot read ${file}: ${cause.message}`, {
      cause,
      hint: "`kubedos build --target ami` makes it",
    });
  });
  const plan = parsePlan(text, file);
  const beside = join(dirname(file), `${basename(file).replace(/\.ami\.json$/, "")}.raw`);
  for (const raw of [beside, stored(plan.raw.sha256)]) {
    const size = await stat(raw).then(
      (info) => info.size,
      () => undefined,
    );
    if (size !== plan.raw.sizeBytes) continue;
    if ((await hashFile(raw, signal)) === plan.raw.sha256) return { plan, artifact: plan.raw.sha256, raw };
  }
  throw new KubedosError("failed", `the raw image of ${file} (sha256 ${plan.raw.sha256}) is not there`, {
    hint: "run `kubedos build --target raw,ami` again",
  });
}

function parsePlan(text: string, file: string): AmiPlan {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new KubedosError("failed", `${file} is not JSON`, { cause, hint: "name the NAME.ami.json of a build" });
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > 1) {
    throw new KubedosError("failed", `${file} has format ${format}; this kubedos knows 1`, {
      hint: "use a newer kubedos",
    });
  }
  const parsed = amiPlanSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new KubedosError("failed", `${file}: ${issue?.path.join(".")}: ${issue?.message}`, {
    hint: "build it again: `kubedos build --target ami`",
  });
}
