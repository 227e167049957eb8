import { KubedosError } from "../../shared/error.ts";

/** The KubedosError that this work ends with. @throws Error when it ends with none */
export async function errorOf(work: Promise<unknown>): Promise<KubedosError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof KubedosError) return error;
  throw new Error(`no KubedosError but ${String(error)}`);
}
