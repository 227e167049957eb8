import { sandbox } from "./image.ts";
import type { BuiltLab } from "./support.ts";

/** Unpacks an ISO 9660 image with its Rock Ridge names and links. @returns `out` */
export async function copyFromIso(lab: Pick<BuiltLab, "project">, iso: string, out: string): Promise<string> {
  const extract = "xorriso -osirrox on -indev /in/iso -extract / /out 2>&1 && chmod -R u+w /out";
  await sandbox(lab, ["sh", "-c", extract], { iso }, out);
  return out;
}
